"""The engine's logits against `reference.py`, for every family and quantization.

Against exact arithmetic on the weights that a quantization keeps, what may differ is

- q0f32: float32 sums. Bound 1e-4 of the largest logit; measured 3e-6 at most.
- q0f16: keys and values in float16, each rounded by 5e-4 at most. Bound 5e-3; measured 2.2e-3.
- q4: what is multiplied with 4-bit weights is int8. In a group of 32 with the largest magnitude m
  the error is m / 254 at most, for normal values 0.5% of their norm; a dozen products in a row add
  up to 2%, and these random models amplify. Bound 0.1 of the norm; measured 0.02 to 0.05.

That says little of a 4-bit kernel, so that there is a second judge, which rounds as the engine
does. The two agree to 1e-7 until a value that lies between two integers falls to the other side,
which moves what follows by 1e-2; so the median of many short sequences' rows is what is bounded.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from model_cases import CASES, TRAITS, ModelMaker, distance, error_of, make_tokens
from reference import Reference

from mlc_llm.model import Model

if TYPE_CHECKING:
    from pathlib import Path

BOUNDS = {
    "q0f32": (error_of, 1e-4),
    "q0f16": (error_of, 5e-3),
    "q4f16_1": (distance, 0.1),
    "q4f32_1": (distance, 0.1),
}
ROUNDED_BOUNDS = {"q0f16": 2e-4, "q4f16_1": 1e-5, "q4f32_1": 1e-5}
LENGTH = 77  # beyond every window and two pages of the cache


@pytest.fixture(scope="module")
def maker(tmp_path_factory: pytest.TempPathFactory) -> ModelMaker:
    return ModelMaker(tmp_path_factory.mktemp("models"))


@pytest.mark.parametrize("quantization", BOUNDS)
@pytest.mark.parametrize("case", CASES)
def test_logits_are_those_of_the_reference(case: str, quantization: str, maker: ModelMaker) -> None:
    model = Model.load(maker.mlc(case, quantization))
    tokens = make_tokens(LENGTH)
    reference = Reference(maker.hf(case), quantization)
    expected = reference.logits(tokens, model.config.context_window)
    measure, bound = BOUNDS[quantization]
    assert measure(model.logits(tokens), expected) <= bound


@pytest.mark.parametrize("quantization", ROUNDED_BOUNDS)
@pytest.mark.parametrize("case", CASES)
def test_nothing_but_the_intended_rounding_is_lost(
    case: str, quantization: str, maker: ModelMaker
) -> None:
    model = Model.load(maker.mlc(case, quantization))
    reference = Reference(maker.hf(case), quantization, rounded=True)
    errors = []
    for seed in range(6):
        tokens = make_tokens(24, seed)
        expected = reference.logits(tokens, model.config.context_window)
        errors += [distance(*rows) for rows in zip(model.logits(tokens), expected, strict=True)]
    assert np.median(errors) <= ROUNDED_BOUNDS[quantization]


@pytest.mark.parametrize("quantization", BOUNDS)
@pytest.mark.parametrize("case", CASES)
def test_any_way_through_a_sequence_gives_the_same_bits(
    case: str, quantization: str, maker: ModelMaker
) -> None:
    model = Model.load(maker.mlc(case, quantization), max_rows=48)
    first, second, third = make_tokens(61, 1), make_tokens(13, 2), make_tokens(1, 3)
    together = [model.sequence() for _ in range(3)]
    parts = [
        # Prefill in chunks of odd lengths, beside others that begin, go on or decode.
        model.extend([(together[0], first[:7])]),
        model.extend([(together[0], first[7:40]), (together[1], second[:5])]),
        model.extend([(together[1], second[5:6]), (together[2], third), (together[0], first[40:])]),
        *(model.extend([(together[1], second[i : i + 1])]) for i in range(6, len(second))),
    ]
    found = {
        0: np.concatenate([parts[0][0], parts[1][0], parts[2][2]]),
        1: np.concatenate([parts[1][1], parts[2][0], *(part[0] for part in parts[3:])]),
        2: parts[2][1],
    }
    for index, tokens in enumerate((first, second, third)):
        assert np.array_equal(found[index], model.logits(tokens))


@pytest.mark.parametrize("case", CASES)
def test_greedy_tokens_are_those_of_the_reference(case: str, maker: ModelMaker) -> None:
    model = Model.load(maker.mlc(case, "q0f32"))
    reference = Reference(maker.hf(case))
    prompt = make_tokens(9)
    sequence = model.sequence()
    tokens, (logits,) = list(prompt), model.extend([(sequence, prompt)])
    for _ in range(64):
        tokens.append(int(logits[-1].argmax()))
        (logits,) = model.extend([(sequence, tokens[-1:])])
    # The reference sees all of the tokens at once: each must be its own choice at that place.
    expected = reference.logits(tokens[:-1], model.config.context_window)[len(prompt) - 1 :]
    assert tokens[len(prompt) :] == expected.argmax(axis=1).tolist()


def with_config(source: Path, directory: Path, changes: dict[str, object]) -> Path:
    """Return a copy of a model directory with another config.json."""
    config = {**json.loads((source / "config.json").read_text()), **changes}
    (directory / "config.json").write_text(json.dumps(config))
    (directory / "model.safetensors").symlink_to(source / "model.safetensors")
    return directory


@pytest.mark.parametrize(
    ("case", "without"), TRAITS, ids=[f"{case}-{next(iter(change))}" for case, change in TRAITS]
)
def test_every_trait_of_a_case_matters(
    case: str, without: dict[str, object], maker: ModelMaker, tmp_path: Path
) -> None:
    tokens = make_tokens(LENGTH)
    other = Reference(with_config(maker.hf(case), tmp_path, without)).logits(tokens)
    assert error_of(other, Reference(maker.hf(case)).logits(tokens)) > 1e-2


@pytest.mark.parametrize("case", ["qwen2", "gemma3_text"])
def test_biases_and_norms_matter(case: str, maker: ModelMaker) -> None:
    tokens = make_tokens(9)
    reference = Reference(maker.hf(case))
    before = reference.logits(tokens)
    names = [name for name, weight in reference.weights.items() if weight.ndim == 1]
    assert len(names) >= 4 * reference.layers
    for name in names:
        kept = reference.weights[name]
        reference.weights[name] = kept[::-1]
        assert error_of(reference.logits(tokens), before) > 1e-3, name
        reference.weights[name] = kept
