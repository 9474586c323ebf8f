"""``mlc_llm.Model``: chunks, batches, sequences, threads and refusals; logits: test_reference."""

from __future__ import annotations

import gc
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from model_cases import ModelMaker, make_tokens

from mlc_llm._library import load
from mlc_llm.model import Model
from mlc_llm.plan import page_bytes
from mlc_llm.weights import load_model_dir

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

TOKENS = make_tokens(70)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ModelMaker(tmp_path_factory.mktemp("models")).mlc("mistral", "q4f16_1")


@pytest.fixture(scope="module")
def model(directory: Path) -> Model:
    return Model.load(directory, max_rows=64)


@pytest.fixture(scope="module")
def expected(model: Model) -> NDArray[np.float32]:
    return model.logits(TOKENS)


def test_logits_are_float32_for_each_token(model: Model, expected: NDArray[np.float32]) -> None:
    assert expected.dtype == np.float32
    assert expected.shape == (len(TOKENS), model.config.vocab)
    assert np.isfinite(expected).all()
    assert expected.std() > 0


@pytest.mark.parametrize("max_rows", [1, 7, 128])
def test_logits_do_not_depend_on_max_rows(
    directory: Path, expected: NDArray[np.float32], max_rows: int
) -> None:
    assert np.array_equal(Model.load(directory, max_rows=max_rows).logits(TOKENS), expected)


def test_sequences_of_different_lengths_run_together(
    model: Model, expected: NDArray[np.float32]
) -> None:
    first, second, third = model.sequence(), model.sequence(), model.sequence()
    results = [
        model.extend([(first, TOKENS[:33]), (second, TOKENS[:1])]),
        model.extend([(second, TOKENS[1:40]), (third, TOKENS[:50]), (first, TOKENS[33:34])]),
    ]
    assert [len(first), len(second), len(third)] == [34, 40, 50]
    assert np.array_equal(np.concatenate([results[0][0], results[1][2]]), expected[:34])
    assert np.array_equal(np.concatenate([results[0][1], results[1][0]]), expected[:40])
    assert np.array_equal(results[1][1], expected[:50])


def test_threads_take_turns(model: Model, expected: NDArray[np.float32]) -> None:
    with ThreadPoolExecutor(4) as pool:
        lengths = [5, 70, 33, 1] * 2
        for length, found in zip(
            lengths, pool.map(model.logits, [TOKENS[:n] for n in lengths]), strict=True
        ):
            assert np.array_equal(found, expected[:length])


def test_progress_is_told_in_bytes(directory: Path) -> None:
    loaded = load_model_dir(directory)
    told: list[tuple[str, int, int]] = []
    Model(loaded, progress=lambda *told_now: told.append(told_now))
    (total,) = {total for _, _, total in told}
    done = [done for _, done, _ in told]
    assert done[0] == 0
    assert done == sorted(set(done))
    assert done[-1] == total
    assert total == sum(tensor.nbytes for tensor in loaded.tensors.values() if tensor.ndim > 1)
    assert [told[0][0], told[-1][0]] == ["embed", ""]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), LookupError("no such window")])
def test_what_progress_raises_comes_back(directory: Path, error: BaseException) -> None:
    def fail(*_: object) -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        Model(load_model_dir(directory), progress=fail)
    assert caught.value is error


def test_dropped_sequences_free_their_pages(model: Model) -> None:
    model.logits(TOKENS)
    gc.collect()
    free = len(model._free_pages)
    sequence = model.sequence()
    model.extend([(sequence, TOKENS)])
    assert len(model._free_pages) == free - 3
    del sequence
    gc.collect()
    assert len(model._free_pages) == free
    assert sorted(model._free_pages) == list(range(free))


def test_a_full_cache_is_refused(model: Model) -> None:
    sequence = model.sequence()
    pages = model._free_pages[:]
    model._free_pages.clear()
    try:
        with pytest.raises(ValueError, match="3 pages of 32 tokens are needed, 0 are free"):
            model.extend([(sequence, TOKENS)])
    finally:
        model._free_pages.extend(pages)
    assert len(sequence) == 0


@pytest.mark.parametrize(
    ("token_ids", "message"),
    [
        ([], "at least one integer"),
        ([[1, 2]], r"shape \(1, 2\)"),
        ([1.5], "dtype float64"),
        ([0, -1], "reach from -1 to 0"),
        ([10**6], "reach from 1000000"),
        ([1] * 10**6, "do not fit the model's context window"),
    ],
)
def test_wrong_tokens_are_refused(model: Model, token_ids: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        model.logits(token_ids)


def test_a_sequence_twice_in_a_batch_is_refused(model: Model) -> None:
    sequence = model.sequence()
    with pytest.raises(ValueError, match="only once"):
        model.extend([(sequence, [1]), (sequence, [2])])


def test_a_sequence_of_another_model_is_refused(directory: Path, model: Model) -> None:
    sequence = Model.load(directory).sequence()
    with pytest.raises(ValueError, match="another model"):
        model.extend([(sequence, [1])])
    assert len(sequence) == 0


@pytest.mark.parametrize("device", ["vulkan:99", "vulkan:", "vulkan:0x", "cuda", ""])
def test_the_core_refuses_devices_that_are_not_there(device: str) -> None:
    with pytest.raises(ValueError, match="There is no device"):
        load()("model_create")(device, 8)


def test_page_bytes_is_what_two_halves_of_every_head_take(model: Model) -> None:
    config = model.config
    assert config.half_cache
    assert page_bytes(config) == config.layers * config.kv_heads * config.head_dim * 2 * 2 * 32


def native_pairs(directory: Path) -> dict[str, Any]:
    loaded = load_model_dir(directory)
    pairs = loaded.config.to_native()
    return {**dict(zip(pairs[::2], pairs[1::2], strict=True)), **loaded.tensors}


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"hidden": 0}, ValueError, "hidden must be from 1"),
        ({"hidden": 2**40}, ValueError, "hidden must be from"),
        ({"hidden": "many"}, TypeError, "hidden must be an integer"),
        ({"kv_heads": 3}, ValueError, "heads must be a multiple of kv_heads"),
        ({"norm_epsilon": float("nan")}, ValueError, "norm_epsilon must be a finite number"),
        ({"attention_scale": -1.0}, ValueError, "attention_scale must be a finite number"),
        ({"activation": "relu"}, ValueError, "silu or gelu_tanh"),
        ({"windows": np.zeros(1, np.int32)}, ValueError, "windows must be one number for each"),
        ({"windows": np.zeros(3, np.int64)}, TypeError, "windows must be int32"),
        ({"rotary_tables": np.full(3, 1, np.int32)}, ValueError, "rotary_tables must be from 0"),
        ({"weight:norm": None}, ValueError, 'lacks the weight "norm"'),
        ({"weight:extra": np.ones(4, np.float32)}, ValueError, 'no place for the weight "extra"'),
        ({"weight:norm": np.ones(4, np.float32)}, ValueError, '"norm" must have .* it has 4'),
        ({"weight:embed": np.ones((2, 2), np.float32)}, ValueError, r"shape \[2, 2\]"),
        ({"surprise": 1}, ValueError, "no argument surprise"),
    ],
)
def test_the_core_refuses_wrong_models(
    directory: Path, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    arguments = native_pairs(directory) | changes
    for name in changes:
        if name.startswith("weight:"):
            arguments.pop(name.replace("weight:", "scale:"), None)
    pairs = [part for pair in arguments.items() if pair[1] is not None for part in pair]
    with pytest.raises(error, match=message):
        load()("model_create")("cpu", 8, *pairs)


def test_the_core_refuses_wrong_batches(model: Model) -> None:
    cache = load()("cache_create")(model.handle, 2)
    out = np.empty((1, model.config.vocab), np.float32)

    def run(**changes: Any) -> None:
        arguments = {
            "tokens": np.array([1, 2], np.int32),
            "sequences": np.array([[2, 31, 0]], np.int32),
            "pages": np.array([0, 1], np.int32),
            "logit_rows": np.array([1], np.int32),
            "out": out,
        } | changes
        load()("model_forward")(model.handle, cache, *arguments.values())

    run()
    run(logit_rows=None, out=None)
    for name, value, message in (
        ("tokens", [1, 10**6], "no token 1000000"),
        ("sequences", [[2, 31, 1]], "more pages than there are"),
        ("sequences", [[2, 31, -1]], "nothing negative"),
        ("sequences", [[2, 2**31 - 1, 0]], "more pages than there are"),
        ("sequences", [[3, 0, 0]], "3 rows for 2 tokens"),
        ("pages", [0, 2], "no page 2"),
        ("pages", [1, 1], "written by two rows"),
        ("logit_rows", [2], "rows of the batch"),
        ("logit_rows", None, "both"),
        ("out", None, "both"),
    ):
        wrong = value if value is None else np.array(value, np.int32)
        with pytest.raises(ValueError, match=message):
            run(**{name: wrong})
    run()
