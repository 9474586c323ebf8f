"""The Vulkan backend, on every device found, and the ways in which there can be none.

Without a loader or a device these tests are skipped, or fail where MLC_LLM_REQUIRE_VULKAN=1.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from vulkan_device import skip
from vulkan_layers import validation

from mlc_llm import Q4F16Linear, list_devices
from mlc_llm._library import library_path
from mlc_llm.selftest import measure_error, random_layer, run_case

DRIVERS = Path("/usr/share/vulkan/icd.d")
DEVICES = [device.id for device in list_devices() if device.id.startswith("vulkan:")]


@pytest.fixture(params=DEVICES or [""])
def device(request: pytest.FixtureRequest) -> str:
    if not request.param:
        skip("there is no Vulkan device")
    return str(request.param)


@pytest.fixture
def lavapipe() -> Path:
    """Mesa's software driver."""
    found = sorted(DRIVERS.glob("lvp_icd*.json"))
    if not found:
        skip("Mesa lavapipe is not installed")
    return found[0]


def run_cli(tmp_path: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `mlc_llm` in a fresh process, outside the checkout."""
    return subprocess.run(
        [sys.executable, "-m", "mlc_llm", *arguments],
        cwd=tmp_path,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
    )


def discover(tmp_path: Path, **variables: str) -> tuple[list[str], str]:
    """Return the ids that `mlc_llm devices` lists and its reason for no Vulkan device."""
    run = run_cli(tmp_path, "devices", "--json", **variables)
    assert run.returncode == 0, run.stderr
    found: dict[str, Any] = json.loads(run.stdout)
    return [device["id"] for device in found["devices"]], found["vulkan_reason"]


def drivers(*files: Path) -> dict[str, str]:
    """Return the environment in which these are the only drivers, for new and old loaders."""
    joined = os.pathsep.join(map(str, files))
    return {"VK_DRIVER_FILES": joined, "VK_ICD_FILENAMES": joined}


@pytest.mark.parametrize("in_features", [1, 7, 8, 31, 32, 33, 64, 255, 4096])
@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 17, 1000])
def test_product_matches_numpy(device: str, rows: int, in_features: int) -> None:
    result = run_case(device, (rows, in_features))
    assert result.passed, f"{result.error} of the allowed error; {result.message}"


def test_more_rows_than_a_dispatch_has_workgroups(device: str) -> None:
    # 65535 workgroups is the least that a device may offer; four rows each.
    assert run_case(device, (4 * 65535 + 3, 1)).passed


@pytest.mark.parametrize(
    ("nibble", "x", "expected"),
    [
        (8, 65504.0, 65504.0),  # the largest
        (15, 65504.0, np.inf),
        (8, 2.0**-24, 2.0**-24),  # the smallest subnormal
        (10, 2.0**-24, 3 * 2.0**-24),
        (6, 0.5, -0.5),
    ],
)
def test_extreme_values_are_rounded_to_float16(
    device: str, nibble: int, x: float, expected: float
) -> None:
    words = np.array([[nibble, 0, 0, 0]], np.uint32)
    scales = np.ones((1, 1), np.float16)
    linear = Q4F16Linear(words, scales, in_features=1, device=device)
    assert linear(np.array([x], np.float16))[0] == expected


def test_a_layer_serves_several_threads(device: str) -> None:
    words, scales, x = random_layer(100, 500)
    linear = Q4F16Linear(words, scales, in_features=500, device=device)
    errors: list[float] = []

    def work() -> None:
        errors.extend(measure_error(words, scales, x, linear(x), device=device) for _ in range(10))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(errors) == 40
    assert max(errors) <= 1


def test_the_weight_is_uploaded_once(device: str) -> None:
    words, scales, x = random_layer(5, 64)
    linear = Q4F16Linear(words, scales, in_features=64, device=device)
    before = linear(x)
    words[:] = 0
    assert np.array_equal(linear(x), before)


def test_no_validation_message(device: str, tmp_path: Path) -> None:
    variables, log = validation(tmp_path)
    run = run_cli(tmp_path, "selftest", "--device", device, **variables)
    assert run.returncode == 0, run.stdout + run.stderr
    if not log.exists():  # the layer makes it when it starts
        skip("the Vulkan validation layer is not installed")
    assert log.read_text(encoding="utf-8") == ""


@pytest.mark.parametrize(
    ("loader", "reason"),
    [
        (Path("missing.so"), "cannot be opened"),
        (library_path(), "is not a Vulkan loader"),
    ],
    ids=["missing", "no loader"],
)
def test_without_a_loader_there_is_a_reason(loader: Path, reason: str, tmp_path: Path) -> None:
    ids, why = discover(tmp_path, MLC_LLM_VULKAN_LOADER=str(loader))
    assert ids == ["cpu"]
    assert reason in why
    assert "MLC_LLM_VULKAN_LOADER" in why


def test_damaged_compiled_pipelines_are_made_again(device: str, tmp_path: Path) -> None:
    def run() -> bytes:
        done = run_cli(tmp_path, "selftest", "--device", device, XDG_CACHE_HOME=str(tmp_path))
        assert done.returncode == 0, done.stdout + done.stderr
        (path,) = (tmp_path / "mlc_llm").iterdir()
        assert path.name.startswith("vulkan-")
        return path.read_bytes()

    whole = run()
    (path,) = (tmp_path / "mlc_llm").iterdir()
    for damaged in (b"", whole[:-1], whole[:-1] + b"\xff" * 2, b"x" + whole[1:]):
        path.write_bytes(damaged)
        assert len(run()) == len(whole)


def test_compiled_pipelines_that_cannot_be_put_there_leave_nothing(
    device: str, tmp_path: Path
) -> None:
    def run() -> list[Path]:
        done = run_cli(tmp_path, "selftest", "--device", device, XDG_CACHE_HOME=str(tmp_path))
        assert done.returncode == 0, done.stdout + done.stderr
        return list((tmp_path / "mlc_llm").iterdir())

    (path,) = run()
    path.unlink()
    (path / "inside").mkdir(parents=True)
    assert run() == [path]


def test_no_place_for_compiled_pipelines_is_no_failure(device: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    run = run_cli(tmp_path, "selftest", "--device", device, XDG_CACHE_HOME=str(tmp_path / "file"))
    assert run.returncode == 0, run.stdout + run.stderr


def write_driver(path: Path, content: str) -> Path:
    path.write_text(content, encoding="utf-8")
    return path


BROKEN = {
    "damaged": "{broken",
    "library missing": json.dumps(
        {
            "file_format_version": "1.0.0",
            "ICD": {"library_path": "/nonexistent/driver.so", "api_version": "1.3.0"},
        }
    ),
}


@pytest.mark.usefixtures("device")
class TestDrivers:
    """What a working loader finds."""

    def test_no_driver_is_a_reason(self, tmp_path: Path) -> None:
        ids, reason = discover(tmp_path, **drivers(tmp_path / "none.json"))
        assert ids == ["cpu"]
        assert "install or repair the GPU's driver" in reason

    @pytest.mark.parametrize("kind", BROKEN)
    def test_a_broken_driver_is_a_reason(self, kind: str, tmp_path: Path) -> None:
        broken = write_driver(tmp_path / "broken.json", BROKEN[kind])
        ids, reason = discover(tmp_path, **drivers(broken))
        assert ids == ["cpu"]
        assert "install or repair the GPU's driver" in reason

    @pytest.mark.parametrize("kind", BROKEN)
    def test_a_broken_driver_beside_a_good_one(
        self, kind: str, lavapipe: Path, tmp_path: Path
    ) -> None:
        broken = write_driver(tmp_path / "broken.json", BROKEN[kind])
        ids, reason = discover(tmp_path, **drivers(broken, lavapipe))
        # Debian 12's loader gives up on a damaged file; then the reason names it.
        assert ids == ["cpu", "vulkan:0"] or (ids == ["cpu"] and str(broken) in reason)

    def test_an_unknown_device_is_refused(self) -> None:
        words, scales, _ = random_layer(1, 32)
        with pytest.raises(ValueError, match="vulkan:99"):
            Q4F16Linear(words, scales, device="vulkan:99")

    def test_a_weight_over_the_buffer_limit_is_split(self, tmp_path: Path) -> None:
        run = run_cli(tmp_path, "selftest", MLC_LLM_VULKAN_HIDE="buffer-range=4096")
        assert run.returncode == 0, run.stdout + run.stderr

    def test_what_cannot_be_hidden_is_a_reason(self, tmp_path: Path) -> None:
        ids, reason = discover(tmp_path, MLC_LLM_VULKAN_HIDE="float16,nonsense")
        assert ids == ["cpu"]
        assert 'knows no "nonsense": it takes subgroup-shuffle' in reason
