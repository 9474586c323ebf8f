"""The kernels on arm64's processors: their C++ tests, cross-built, under qemu."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from ci.lanes import load_lanes
from ci.paths import ROOT, WORK
from ci.smoke.qemu import EMULATOR, OLDEST, get_root
from ci.toolchain import CMAKE_FILE, command_env, ensure_toolchain, ensure_tvm_ffi

TESTS = ("attention", "engine", "engine_pages", "float16", "isa", "matmul", "transformer")
DIRECTORY = WORK / "tests" / "arm64"

pytestmark = pytest.mark.qemu


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    """Build TESTS; return the environment in which ctest is found and runs them."""
    lane = load_lanes()["linux-aarch64"]
    log = WORK / "tests" / "arm64.log"
    toolchain = ensure_toolchain(lane, log)
    env = command_env(toolchain, lane)
    programs = toolchain.directory / "cmake" / "data" / "bin"
    env["PATH"] = os.pathsep.join((os.fspath(programs), env["PATH"]))
    env["MLC_LLM_TVM_FFI"] = os.fspath(ensure_tvm_ffi(lane, log))
    settings = {
        "CMAKE_BUILD_TYPE": "Release",
        "CMAKE_TOOLCHAIN_FILE": CMAKE_FILE,
        "CMAKE_CROSSCOMPILING_EMULATOR": f"{EMULATOR};-L;{get_root()}",
        "MLC_LLM_BUILD_TESTS": "ON",
    }
    options = [f"-D{key}={value}" for key, value in settings.items()]
    targets = [f"test_{name}" for name in TESTS]
    shutil.rmtree(DIRECTORY, ignore_errors=True)  # nothing tells Ninja of a changed header
    configure: list[str | Path] = ["cmake", "-G", "Ninja", "-S", ROOT, "-B", DIRECTORY, *options]
    build: list[str | Path] = ["cmake", "--build", DIRECTORY, "--target", *targets]
    for command in (configure, build):
        subprocess.run(command, check=True, env=env)
    return env


@pytest.mark.parametrize(
    ("processor", "tests"),
    [(OLDEST, ["isa"]), ("cortex-a76", TESTS)],
    ids=["without dot products", "with dot products"],
)
def test_kernels(processor: str, tests: list[str], environment: dict[str, str]) -> None:
    chosen = ["-R", f"^({'|'.join(tests)})$", "--no-tests=error", "--parallel", "2"]
    ctest: list[str | Path] = ["ctest", "--test-dir", DIRECTORY, "--output-on-failure", *chosen]
    subprocess.run(ctest, check=True, env=environment | {"QEMU_CPU": processor})
