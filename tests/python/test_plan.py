from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from mlc_llm.memory import available_memory
from mlc_llm.models import ModelConfig
from mlc_llm.placement import Memory, Placement
from mlc_llm.plan import PAGE_TOKENS, Plan, make_plan, page_bytes, place
from mlc_llm.weights import load_model_dir

ROOT = Path(__file__).parents[2]
GIB = 1 << 30
WEIGHTS = 600 << 20
CPU = Placement("cpu", "as asked for")
GPUS = [Placement("vulkan:0", "fast"), Placement("vulkan:1", "slow")]


@pytest.fixture
def config(tiny_model: Path) -> ModelConfig:
    """A model of 1.1 billion parameters: 22 KiB of cache for each token."""
    tiny = load_model_dir(tiny_model).config
    return dataclasses.replace(
        tiny,
        hidden=2048,
        intermediate=5632,
        layers=22,
        heads=32,
        kv_heads=4,
        head_dim=64,
        vocab=32000,
        context_window=4096,
        half_cache=True,
    )


def plan(config: ModelConfig, available: int, **wanted: int) -> Plan:
    return make_plan(config, CPU, Memory(16 * GIB, available), weight_bytes=WEIGHTS, **wanted)


def test_page_of_the_cache(config: ModelConfig) -> None:
    assert page_bytes(config) == 32 * 22 * 2 * 4 * 64 * 2
    assert page_bytes(dataclasses.replace(config, half_cache=False)) == 2 * page_bytes(config)


def test_pages_are_those_of_the_core(config: ModelConfig) -> None:
    text = (ROOT / "cpp" / "runtime" / "backend.h").read_text(encoding="utf-8")
    core = {name: int(value) for name, value in re.findall(r"\b(k\w+) = (\d+);", text)}
    assert core["kPageTokens"] == PAGE_TOKENS
    config = dataclasses.replace(config, layers=1, kv_heads=1, head_dim=1, half_cache=True)
    assert page_bytes(config) == 2 * core["kHeadAlign"] * core["kPageTokens"] * 2


def test_all_that_is_wanted_when_it_fits(config: ModelConfig) -> None:
    chosen = plan(config, 8 * GIB)
    assert (chosen.context, chosen.sequences, chosen.pages) == (4096, 8, 8 * 128)
    assert chosen.cache_bytes == 8 * 128 * page_bytes(config)
    assert "all that the model knows" in str(chosen)


@pytest.mark.parametrize("available", [700 << 20, 1 * GIB, 2 * GIB, 8 * GIB])
def test_half_of_what_the_weights_leave_is_not_exceeded(
    config: ModelConfig, available: int
) -> None:
    chosen = plan(config, available)
    left = available - WEIGHTS - chosen.working_bytes
    assert 0 < chosen.cache_bytes <= left / 2
    assert chosen.context == min(4096, chosen.pages * PAGE_TOKENS)


def test_what_does_not_fit_is_said(config: ModelConfig) -> None:
    chosen = plan(config, 700 << 20)
    assert chosen.context < 4096
    assert "the model's 4096 do not fit" in str(chosen)


def test_context_that_was_asked_for_may_take_more(config: ModelConfig) -> None:
    by_itself = plan(config, 720 << 20)
    asked = plan(config, 720 << 20, max_context=by_itself.context * 3 // 2)
    assert asked.context == by_itself.context * 3 // 2
    assert asked.pages > by_itself.pages
    assert "as asked for" in str(asked)


@pytest.mark.parametrize(
    ("available", "wanted", "message"),
    [
        (500 << 20, {}, r"needs .* cache of 32 tokens .*500\.0 MiB of the device's 16\.0 GiB"),
        (700 << 20, {"max_context": 4096}, r"cache of 4096 tokens 88\.0 MiB"),
        (0, {}, r"but 0\.0 MiB"),
        (8 * GIB, {"max_context": 4097}, "max_context must be a whole number from 1 to 4096"),
        (8 * GIB, {"max_context": 0}, "max_context must be"),
        (8 * GIB, {"max_sequences": 0}, "max_sequences must be a whole number from 1 to 512"),
        (8 * GIB, {"prefill_chunk": 0}, "prefill_chunk must be"),
    ],
)
def test_plan_that_cannot_be_is_refused(
    config: ModelConfig, available: int, wanted: dict[str, int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        plan(config, available, **wanted)


@pytest.mark.parametrize(
    ("available", "device", "why"),
    [
        ({"vulkan:0": 8, "vulkan:1": 8, "cpu": 8}, "vulkan:0", "fast"),
        ({"vulkan:0": 0, "vulkan:1": 8, "cpu": 8}, "vulkan:1", "slow"),
        ({"vulkan:0": 0, "vulkan:1": 0, "cpu": 8}, "cpu", "the model does not fit on vulkan:1"),
    ],
)
def test_the_first_device_that_fits_is_taken(
    config: ModelConfig, available: dict[str, int], device: str, why: str
) -> None:
    def measure(one: str) -> Memory:
        return Memory(16 * GIB, available[one] * GIB)

    chosen = place([*GPUS, CPU], config, measure=measure, weight_bytes=WEIGHTS)
    assert (chosen.device, chosen.device_why) == (device, why)
    assert str(chosen).startswith(f"On {device} ({why}): context of 4096 tokens")


def test_buffers_limit_the_cache(config: ModelConfig) -> None:
    memory = Memory(16 * GIB, 8 * GIB, page_bytes(config) // 44 * 20)
    wishes = {"weight_bytes": WEIGHTS, "prefill_chunk": 8}
    assert make_plan(config, CPU, memory, **wishes).pages == 20
    with pytest.raises(ValueError, match=r"The cache .* does not fit into the device's buffers"):
        make_plan(config, CPU, memory, **wishes, max_context=641)


def test_buffers_limit_the_prefill_chunk(config: ModelConfig) -> None:
    memory = Memory(16 * GIB, 8 * GIB, 4 * 5632 * 100)
    chosen = make_plan(config, CPU, memory, weight_bytes=WEIGHTS, max_sequences=100)
    assert chosen.prefill_chunk == 100
    with pytest.raises(ValueError, match=r"rows of 101 requests do not fit .*: 100 do"):
        make_plan(config, CPU, memory, weight_bytes=WEIGHTS, max_sequences=101)


def test_memory_of_this_machine() -> None:
    total, available = available_memory()
    assert 0 < available <= total
