"""Reference and engine against transformers: runs in `nox -s reference`, which installs torch.

Errors are as `error_of` measures them: the largest difference by the largest logit.
"""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from model_cases import CASES, ModelMaker, convert, error_of, make_tokens
from numpy.typing import NDArray
from reference import Reference

from mlc_llm.model import Model

if TYPE_CHECKING:
    from pathlib import Path

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

BOUND = 1e-4
LENGTHS = (1, 7, 33, 77, 127)


class Maker(ModelMaker):
    """Makes models of two sources: this project's NumPy, and transformers itself."""

    def _make_hf(self, case: str) -> Path:
        name, _, source = case.partition(" ")
        if source != "saved":
            return super()._make_hf(name)
        directory = self._root / name / "saved"
        config = transformers.AutoConfig.from_pretrained(self.hf(name))
        torch.manual_seed(0)
        model = transformers.AutoModelForCausalLM.from_config(config)
        for parameter in model.parameters():
            noise = torch.randn_like(parameter)  # biases begin as 0, and norms as 0 or 1
            parameter.data += noise * (0.2 if parameter.ndim == 1 else 0.1)
        model.save_pretrained(directory)
        for path in self.hf(name).glob("*token*.json"):
            (directory / path.name).write_bytes(path.read_bytes())
        return directory

    def load(self, case: str, length: int) -> Model:
        """Load the engine's model for `length` tokens.

        LongRoPE has two tables. transformers takes the long one from the moment a sequence is
        longer than those of the training; the engine, whose cache would hold both kinds then, takes
        the one for the context that it is loaded with.
        """
        config = json.loads((self.hf(case) / "config.json").read_text())
        trained = config.get("original_max_position_embeddings", 0)
        context = trained if length <= trained else config["max_position_embeddings"]
        output = self._root / case / f"q0f32-{context}"
        return Model.load(convert(self.hf(case), "q0f32", output, context_window_size=context))


@pytest.fixture(scope="module")
def maker(tmp_path_factory: pytest.TempPathFactory) -> Maker:
    return Maker(tmp_path_factory.mktemp("models"))


@pytest.fixture(params=[f"{case}{source}" for source in ("", " saved") for case in CASES])
def case(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@cache
def load_transformers(directory: Path) -> Any:
    """Load a model in float32, with the attention that can do everything."""
    model = transformers.AutoModelForCausalLM.from_pretrained(
        directory, dtype=torch.float32, attn_implementation="eager"
    )
    return model.eval()


def expected_logits(directory: Path, tokens: list[int]) -> NDArray[np.float32]:
    with torch.no_grad():
        logits: NDArray[np.float32] = (
            load_transformers(directory)(torch.tensor([tokens])).logits[0].numpy()
        )
    return logits


@pytest.mark.parametrize("length", LENGTHS)
def test_the_reference_agrees(case: str, length: int, maker: Maker) -> None:
    tokens = make_tokens(length)
    expected = expected_logits(maker.hf(case), tokens)
    assert error_of(Reference(maker.hf(case)).logits(tokens), expected) <= BOUND


@pytest.mark.parametrize("length", LENGTHS)
def test_prefill_agrees(case: str, length: int, maker: Maker) -> None:
    tokens = make_tokens(length)
    expected = expected_logits(maker.hf(case), tokens)
    assert error_of(maker.load(case, length).logits(tokens), expected) <= BOUND


@pytest.mark.parametrize("chunk", [1, 5, 32, 50])
def test_prefill_in_chunks_agrees(case: str, chunk: int, maker: Maker) -> None:
    tokens = make_tokens(77)
    model = maker.load(case, len(tokens))
    sequence = model.sequence()
    parts = [
        model.extend([(sequence, tokens[begin : begin + chunk])])[0]
        for begin in range(0, len(tokens), chunk)
    ]
    assert error_of(np.concatenate(parts), expected_logits(maker.hf(case), tokens)) <= BOUND


def test_a_batch_of_mixed_lengths_agrees(case: str, maker: Maker) -> None:
    prompts = [make_tokens(length, seed=length) for length in (33, 77, 47, 35)]
    model = maker.load(case, 77)
    sequences = [model.sequence() for _ in prompts]
    split = [len(prompt) - 3 * index for index, prompt in enumerate(prompts)]
    heads = model.extend([(s, p[:n]) for s, p, n in zip(sequences, prompts, split, strict=True)])
    tails = model.extend(
        [(s, p[n:]) for s, p, n in zip(sequences[1:], prompts[1:], split[1:], strict=True)]
    )
    for index, prompt in enumerate(prompts):
        found = np.concatenate([heads[index], *tails[index - 1 : index]])
        assert error_of(found, expected_logits(maker.hf(case), prompt)) <= BOUND


def continue_greedily(directory: Path, prompt: list[int], count: int) -> list[int]:
    """Return `prompt` and the `count` tokens that transformers, with its cache, puts behind it."""
    model, tokens, cache = load_transformers(directory), list(prompt), None
    with torch.no_grad():
        for _ in range(count):
            new = tokens if cache is None else tokens[-1:]
            output = model(torch.tensor([new]), past_key_values=cache, use_cache=True)
            cache = output.past_key_values
            tokens.append(int(output.logits[0, -1].argmax()))
    return tokens


def test_64_greedy_tokens_are_the_same(case: str, maker: Maker) -> None:
    prompt = make_tokens(39)
    model = maker.load(case, len(prompt) + 64)
    sequence = model.sequence()
    tokens, (logits,) = list(prompt), model.extend([(sequence, prompt)])
    while len(tokens) < len(prompt) + 64:
        tokens.append(int(logits[-1].argmax()))
        (logits,) = model.extend([(sequence, tokens[-1:])])
    assert tokens == continue_greedily(maker.hf(case), prompt, 64)
