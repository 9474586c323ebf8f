"""Every family at every quantization on a Vulkan device, with its fast paths and without.

Bounds are those of test_reference.py for exact arithmetic on the weights that a quantization keeps:
float32 sums (q0f32), keys and values in float16 (q0f16, q4f16_1). On a GPU with matrix units,
prompts are multiplied in float16 as well, which rounds by 5e-4 each time.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from model_cases import CASES, ModelMaker, error_of
from reference import Reference
from vulkan_worker import LENGTH, TOKENS

from mlc_llm import Device, list_devices

if TYPE_CHECKING:
    from numpy.typing import NDArray

WORKER = Path(__file__).with_name("vulkan_worker.py")
# Against 4-bit weights x counts as 16-bit integers.
BOUNDS = {"q0f32": 1e-4, "q0f16": 5e-3, "q4f16_1": 5e-3, "q4f32_1": 1e-3}
MATRIX_BOUND = 5e-2
EVERYTHING = (
    "subgroup-arithmetic,subgroup-shuffle,subgroup-size-control,storage-16bit,storage-8bit,float16,"
    "integer-dot-product,cooperative-matrix,memory-budget,"
    "buffer-range=16384,invocations=128,shared-bytes=16384"
)
Logits = dict[str, "NDArray[Any]"]


@pytest.fixture(scope="module")
def gpu() -> Device:
    """The device that "vulkan" means."""
    devices = [device for device in list_devices() if device.id != "cpu"]
    if not devices:
        if os.environ.get("MLC_LLM_REQUIRE_VULKAN") == "1":
            pytest.fail("MLC_LLM_REQUIRE_VULKAN=1, but there is no Vulkan device")
        pytest.skip("there is no Vulkan device")
    return devices[0]


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


@pytest.fixture(scope="module", params=["", EVERYTHING], ids=["fast", "slow"])
def logits(
    request: pytest.FixtureRequest,
    gpu: Device,  # noqa: ARG001 - skips
    maker: ModelMaker,
    tmp_path_factory: pytest.TempPathFactory,
) -> Logits:
    """What the device computes for each case, quantization and way: "case:quantization:way"."""
    models = {f"{case}:{name}": str(maker.mlc(case, name)) for case in CASES for name in BOUNDS}
    out = tmp_path_factory.mktemp("logits") / "logits.npz"
    return compute(models, out, MLC_LLM_VULKAN_HIDE=request.param)


@pytest.mark.parametrize("quantization", BOUNDS)
@pytest.mark.parametrize("case", CASES)
def test_logits_are_those_of_the_reference(
    case: str, quantization: str, maker: ModelMaker, logits: Logits, gpu: Device
) -> None:
    config = json.loads((maker.mlc(case, quantization) / "mlc-chat-config.json").read_text())
    reference = Reference(maker.hf(case), quantization)
    expected = reference.logits(TOKENS, config["context_window_size"])
    bound = BOUNDS[quantization]
    assert error_of(logits[f"{case}:{quantization}:decode"], expected) <= bound
    if "cooperative-matrix" in gpu.features:
        bound = max(bound, MATRIX_BOUND)
    assert error_of(logits[f"{case}:{quantization}:prompt"], expected) <= bound


@pytest.mark.parametrize("quantization", BOUNDS)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("way", ["prompt", "decode"])
def test_what_runs_beside_changes_no_bit(
    way: str, case: str, quantization: str, logits: Logits
) -> None:
    name = f"{case}:{quantization}:{way}"
    assert len(logits[name]) == LENGTH
    assert np.array_equal(logits[name], logits[f"{name} beside"])
