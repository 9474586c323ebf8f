"""Every family at every quantization on a Vulkan device, with its fast paths and without.

Bounds are those of test_reference.py for exact arithmetic on the weights that a quantization keeps:
float32 sums (q0f32), keys and values in float16 (q0f16, q4f16_1). On a GPU with matrix units,
prompts are multiplied in float16 as well, which rounds by 5e-4 each time.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from model_cases import CASES, ModelMaker, convert, error_of, make_tokens
from reference import Reference
from small_models import make_hf_model
from vulkan_device import first_gpu
from vulkan_faults import fault
from vulkan_layers import validation
from vulkan_worker import LENGTH, START, TOKENS

from mlc_llm import Device, list_devices
from mlc_llm.model import Model

if TYPE_CHECKING:
    from numpy.typing import NDArray

WORKER = Path(__file__).with_name("vulkan_worker.py")
# Against 4-bit weights x counts as 16-bit integers.
BOUNDS = {"q0f32": 1e-4, "q0f16": 5e-3, "q4f16_1": 5e-3, "q4f32_1": 1e-3}
MATRIX_BOUND = 5e-2
EVERYTHING = (
    "subgroup-shuffle,subgroup-size-control,float16,integer-dot-product,cooperative-matrix,"
    "memory-budget,overlapping-dispatches,"
    "buffer-range=16384,invocations=128,shared-bytes=16384,operations=100000"
)
HIDDEN = {"used": "", "hidden": EVERYTHING}
OVERLAPS = "overlaps=3"  # the fault that makes dispatches overlap on any device
# (fast paths, case, quantization): without them, and with dispatches that overlap, one quantization
# each, in turn.
RUNS = [("used", case, name) for case in CASES for name in BOUNDS] + [
    (paths, case, name)
    for paths in ("hidden", "overlapping")
    for case, name in zip(CASES, itertools.cycle(BOUNDS), strict=False)
]
Logits = dict[str, "NDArray[Any]"]


@pytest.fixture(scope="module")
def gpu() -> Device:
    """The device that "vulkan" means."""
    return first_gpu()


@pytest.fixture(scope="module")
def maker(tmp_path_factory: pytest.TempPathFactory) -> ModelMaker:
    return ModelMaker(tmp_path_factory.mktemp("models"))


def compute(models: dict[str, str], out: Path, **variables: str) -> Logits:
    command = [sys.executable, str(WORKER), json.dumps(models), str(out)]
    run = subprocess.run(
        command, env=os.environ | variables, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    return dict(np.load(out))


@pytest.fixture(scope="module")
def logits_of(
    gpu: Device,  # noqa: ARG001 - skips
    maker: ModelMaker,
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[str], Logits]:
    """What the device computes by the fast paths of RUNS, by "case:quantization:way"."""

    @cache
    def compute_all(paths: str) -> Logits:
        runs = [run[1:] for run in RUNS if run[0] == paths]
        models = {":".join(run): str(maker.mlc(*run)) for run in runs}
        out = tmp_path_factory.mktemp("logits") / "logits.npz"
        if paths == "overlapping":
            return compute(models, out, **fault(OVERLAPS))
        return compute(models, out, MLC_LLM_VULKAN_HIDE=HIDDEN[paths])

    return compute_all


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("paths", HIDDEN)
def test_no_validation_message(paths: str, maker: ModelMaker, tmp_path: Path) -> None:
    variables, log = validation(tmp_path)
    cases = [("qwen2", "q4f16_1"), ("gemma2", "q0f16"), ("phi3-partial", "q0f32")]
    models = {"/".join(case): str(maker.mlc(*case)) for case in cases}
    variables["MLC_LLM_VULKAN_HIDE"] += "," + HIDDEN[paths]
    compute(models, tmp_path / "logits.npz", **variables)
    if log.exists() or os.environ.get("MLC_LLM_REQUIRE_VULKAN") == "1":
        assert log.read_text(encoding="utf-8") == ""


@pytest.mark.parametrize(("paths", "case", "quantization"), RUNS)
def test_logits_are_those_of_the_reference(
    paths: str,
    case: str,
    quantization: str,
    maker: ModelMaker,
    logits_of: Callable[[str], Logits],
) -> None:
    logits = logits_of(paths)
    config = json.loads((maker.mlc(case, quantization) / "mlc-chat-config.json").read_text())
    reference = Reference(maker.hf(case), quantization)
    expected = reference.logits(TOKENS, config["context_window_size"])
    bound = BOUNDS[quantization]
    if paths != "hidden" and "cooperative-matrix" in list_devices()[1].features:
        bound = max(bound, MATRIX_BOUND)  # decoding sees the keys and values of a prompt
    assert error_of(logits[f"{case}:{quantization}:prompt"], expected) <= bound
    assert error_of(logits[f"{case}:{quantization}:decode"], expected[START:]) <= bound


@pytest.mark.parametrize("way", ["prompt", "decode"])
@pytest.mark.parametrize(("paths", "case", "quantization"), RUNS)
def test_what_runs_beside_changes_no_bit(
    paths: str, case: str, quantization: str, way: str, logits_of: Callable[[str], Logits]
) -> None:
    logits = logits_of(paths)
    name = f"{case}:{quantization}:{way}"
    assert len(logits[name]) == LENGTH - (START if way == "decode" else 0)
    assert np.array_equal(logits[name], logits[f"{name} beside"])


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("quantization", ["q0f32", "q0f16"])
@pytest.mark.parametrize("case", ["llama", "qwen2-window"])
def test_parts_of_a_long_context_are_merged(
    case: str, quantization: str, maker: ModelMaker
) -> None:
    tokens = make_tokens(300)  # a workgroup of attend_one.comp takes at most 256
    found = {}
    for device in ("cpu", "vulkan"):
        model = Model.load(maker.mlc(case, quantization), device=device)
        sequence = model.sequence()
        model.extend([(sequence, tokens[:-2])])
        found[device] = np.concatenate([model.extend([(sequence, [t])])[0] for t in tokens[-2:]])
    assert error_of(found["vulkan"], found["cpu"]) <= BOUNDS[quantization]


SUBMISSIONS = """
import sys
from mlc_llm.model import Model
from mlc_llm.work import last_work
model = Model.load(sys.argv[1], device="vulkan")
for tokens in map(int, sys.argv[2:]):
    (logits,) = model.extend([(model.sequence(), [i * 7 % 97 for i in range(tokens)])])
    print(last_work(model, tokens).submissions, logits.tobytes().hex())
"""


def count_submissions(model: Path, prompts: Sequence[int], operations: int | None) -> list[str]:
    """Return how many submissions each prompt took, and its logits, where one may do so much."""
    command = [sys.executable, "-c", SUBMISSIONS, str(model), *map(str, prompts)]
    hidden = f"operations={operations}" if operations else ""
    environment = os.environ | {"MLC_LLM_VULKAN_HIDE": hidden}
    return subprocess.check_output(command, env=environment, text=True).split()


@pytest.mark.usefixtures("gpu")
def test_a_prompt_that_takes_long_is_several_submissions(maker: ModelMaker) -> None:
    model = maker.mlc("llama", "q0f16")
    found = [count_submissions(model, (40, 1), most) for most in (None, 1_000_000, 20_000)]
    prompts = [int(submissions) for submissions, *_ in found]
    assert prompts[0] == 1 < prompts[1] < prompts[2]
    assert prompts[2] > 1 + 5 * 3  # a layer has five operators: attention itself is cut
    assert [one[2] for one in found[:2]] == ["1", "1"]
    assert found[0][1::2] == found[1][1::2] == found[2][1::2]


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("quantization", ["q0f32", "q4f16_1"])
def test_a_product_that_takes_long_is_several_submissions(
    quantization: str, tmp_path: Path
) -> None:
    hf = make_hf_model(tmp_path / "hf", "llama", num_hidden_layers=2, intermediate_size=2048)
    model = convert(hf, quantization, tmp_path / "mlc")
    whole, cut = (count_submissions(model, [300], most) for most in (None, 60_000_000))
    assert whole[0] == "1"
    assert int(cut[0]) > 1 + 2 * 2  # two products of a layer have so much to do, and nothing else
    assert cut[1] == whole[1]


@pytest.mark.usefixtures("gpu")
def test_a_long_prompt_with_long_heads_is_seen_whole(tmp_path: Path) -> None:
    sizes: dict[str, Any] = {"head_dim": 512, "num_attention_heads": 1, "num_key_value_heads": 1}
    sizes |= {"num_hidden_layers": 1, "max_position_embeddings": 1024}
    hf = make_hf_model(tmp_path / "hf", "llama", **sizes)
    model = convert(hf, "q0f16", tmp_path / "mlc")
    tokens = make_tokens(1000)
    last = {
        device: Model.load(model, device=device).logits(tokens)[-1:] for device in ("cpu", "vulkan")
    }
    assert error_of(last["vulkan"], last["cpu"]) <= BOUNDS["q0f16"]


DECODE = """
import sys
from mlc_llm.model import Model
from mlc_llm.work import last_work
model = Model.load(sys.argv[1], device="vulkan")
sequence = model.sequence()
for tokens in ([5] * 9, [5]):
    (logits,) = model.extend([(sequence, tokens)])
work = last_work(model, 9)
print(work.dispatches, work.barriers, logits.max())
"""


def decode(model: Path, variables: dict[str, str]) -> list[str]:
    """Return how many dispatches and barriers a token took, and its greatest logit."""
    command = [sys.executable, "-c", DECODE, str(model)]
    return subprocess.check_output(command, env=os.environ | variables, text=True).split()


@pytest.mark.usefixtures("gpu")
def test_dispatches_that_overlap_have_no_barrier_between(maker: ModelMaker) -> None:
    model = maker.mlc("llama", "q0f16")
    dispatches, barriers, _ = decode(model, {"MLC_LLM_VULKAN_HIDE": "overlapping-dispatches"})
    same, fewer, _ = decode(model, fault(OVERLAPS))
    assert same == dispatches
    assert int(barriers) - int(fewer) > 5  # of two layers with five dispatches each


def spoil(source: Path, model: Path, name: str, rows: int | slice) -> Path:
    """Copy a model, with NaN in some rows of the tensors whose name ends with `name`."""
    shutil.copytree(source, model)
    (shard,) = json.loads((model / "tensor-cache.json").read_text())["records"]
    path = model / shard["dataPath"]
    data = np.fromfile(path, np.uint8)
    for record in shard["records"]:
        if record["name"].endswith(name):
            first = record["byteOffset"]
            tensor = data[first : first + record["nbytes"]].reshape(record["shape"][0], -1)
            tensor[rows] = 0xFF
    data.tofile(path)
    return model


@pytest.mark.usefixtures("gpu")
def test_nobody_waits_for_a_result_that_is_not_a_number(maker: ModelMaker, tmp_path: Path) -> None:
    # Whatever is added to this NaN is the same NaN.
    model = spoil(maker.mlc("qwen2", "q0f32"), tmp_path / "model", "bias", slice(None))
    *_, greatest = decode(model, fault(OVERLAPS))
    assert greatest == "nan"


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("quantization", ["q0f16", "q0f32"])
def test_nan_in_a_page_is_not_seen_by_the_next_sequence(
    quantization: str, maker: ModelMaker, tmp_path: Path
) -> None:
    source = maker.mlc("llama", quantization)
    model = Model.load(spoil(source, tmp_path / "model", "embed_tokens.weight", 7), "vulkan")

    def compute(*prompts: list[int]) -> NDArray[Any]:
        sequence = model.sequence()
        return np.concatenate([model.extend([(sequence, prompt)])[0] for prompt in prompts])

    clean = ([5] * 9, [6], [8, 9, 10], [3])
    expected = compute(*clean)
    assert np.isnan(compute([7] * 60, [7])).all()
    np.testing.assert_array_equal(compute(*clean), expected)
