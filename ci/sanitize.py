"""`nox -s sanitize`: the core under clang's sanitizers, and its fuzzer (`-- --seconds N`)."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ci.engines import check_host
from ci.errors import FactoryError
from ci.lanes import DEFAULT_LANE, load_lanes
from ci.paths import ROOT, WORK
from ci.process import call_patiently, run_logged
from ci.session import run_session
from ci.toolchain import Toolchain, command_env, ensure_toolchain

WORK_DIR = WORK / "sanitize"
FUZZ = ROOT / "tests" / "fuzz"
PARSERS = ("safetensors", "tensor_cache", "config", "chat_config", "tokenizer")
COMPILERS = ("clang++-14", "clang++")

# A hostile size must end in an error of ours, as where memory runs out, and not in the sanitizer's.
# Python itself leaks; libraries are judged by the C++ tests.
OPTIONS = {
    "ASAN_OPTIONS": "allocator_may_return_null=1:strict_string_checks=1",
    "UBSAN_OPTIONS": "print_stacktrace=1",
    "TSAN_OPTIONS": "second_deadlock_stack=1",
}
PYTHON_OPTIONS = {"ASAN_OPTIONS": OPTIONS["ASAN_OPTIONS"] + ":detect_leaks=0"}
# What has threads; the rest of a build with the thread sanitizer would find nothing.
THREADED_TESTS = (
    "attention",
    "engine",
    "engine_pages",
    "engine_scheduler",
    "thread_pool",
    "transformer",
)
PYTHON_TESTS = ("tests/python/test_fuzz_parsers.py", "tests/python/test_linear.py")


def find_compiler() -> tuple[str, Path]:
    """Return clang and its shared address sanitizer, or raise FactoryError."""
    hint = "Install them: on Debian, `apt-get install clang-14 libclang-rt-14-dev`."
    compiler = next(filter(shutil.which, COMPILERS), None)
    if compiler is None:
        raise FactoryError("clang is not installed.", hint=hint)
    name = "libclang_rt.asan-x86_64.so"
    found = subprocess.run(
        [compiler, f"-print-file-name={name}"], check=True, capture_output=True, text=True
    ).stdout.strip()
    if not Path(found).is_absolute():
        raise FactoryError(f"{compiler} has no sanitizer runtime ({name}).", hint=hint)
    return compiler, Path(found)


def build(sanitizer: str, compiler: str, env: dict[str, str]) -> Path:
    """Build the library, the C++ tests and the fuzzer; return the folder.

    For `thread`, only THREADED_TESTS.
    """
    directory = WORK_DIR / sanitizer
    tvm_ffi = subprocess.run(
        [sys.executable, "-m", "tvm_ffi.config", "--cmakedir"],
        check=True,
        capture_output=True,
        text=True,
        env=env,
    ).stdout.strip()
    settings = {
        "CMAKE_CXX_COMPILER": compiler,
        "CMAKE_BUILD_TYPE": "",
        "CMAKE_CXX_FLAGS": "-O1",
        "MLC_LLM_BUILD_TESTS": "ON",
        "MLC_LLM_SANITIZE": sanitizer,
        "tvm_ffi_DIR": tvm_ffi,
    }
    targets = [f"test_{name}" for name in THREADED_TESTS] if sanitizer == "thread" else []
    if targets:
        targets.insert(0, "--target")
    options = [f"-D{key}={value}" for key, value in settings.items()]
    print(f"Building for the {sanitizer} sanitizer ...", flush=True)
    commands: tuple[list[str | Path], ...] = (
        ["cmake", "-S", ROOT, "-B", directory, "-G", "Ninja", *options],
        ["cmake", "--build", directory, *targets],
    )
    for command in commands:
        run_logged(
            command,
            log=WORK_DIR / "build.log",
            lane=DEFAULT_LANE,
            phase="build",
            cwd=ROOT,
            env=env,
        )
    return directory


def make_package(directory: Path) -> Path:
    """Lay out the Python package with the sanitized library; return the folder to import from."""
    site = directory / "site"
    shutil.rmtree(site, ignore_errors=True)
    shutil.copytree(ROOT / "python" / "mlc_llm", site / "mlc_llm")
    (site / "mlc_llm" / "lib").mkdir()
    shutil.copy2(directory / "libmlc_llm.so", site / "mlc_llm" / "lib")
    metadata = site / "mlc_llm-0.0.0.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: mlc_llm\nVersion: 0.0.0\n", encoding="utf-8")
    return site


def call(title: str, command: Sequence[str | Path], env: dict[str, str]) -> bool:
    """Run one step, and return whether it was clean."""
    print(f"\n{title}", flush=True)
    return call_patiently(command, cwd=ROOT, env=env) == 0


def fuzz(name: str, program: Sequence[str | Path], seconds: int, env: dict[str, str]) -> bool:
    """Fuzz one target from its corpus, which stays as it is; return whether nothing was found."""
    with tempfile.TemporaryDirectory() as new:  # takes what is found
        options = [f"-max_total_time={seconds}", f"-artifact_prefix={WORK_DIR}/{name}-"]
        options += ["-rss_limit_mb=4096", "-verbosity=0"]
        command = [*program, new, FUZZ / "corpus" / name, *options]
        return call(f"Fuzzing {name}, {seconds} s", command, env)


def run_all(toolchain: Toolchain, seconds: int) -> list[str]:
    """Run every step; return the names of those that failed."""
    compiler, runtime = find_compiler()
    env = {**command_env(toolchain, load_lanes()[DEFAULT_LANE]), **OPTIONS}
    preload = {"LD_PRELOAD": os.fspath(runtime)}
    failed = []
    for sanitizer in ("address", "thread"):
        directory = build(sanitizer, compiler, env)
        # zig_target checks CMake files; a Vulkan driver's threads and leaks are not ours to judge.
        # ctest's own process is not sanitized.
        chosen = ["-E", "^(zig_target|vulkan)$"]
        if sanitizer == "thread":
            chosen = ["-R", f"^({'|'.join(THREADED_TESTS)})$"]
        ctest: list[str | Path] = ["ctest", "--test-dir", directory, "--output-on-failure"]
        tests_env = {**env, "LD_LIBRARY_PATH": os.fspath(runtime.parent)}
        if not call(f"C++ tests, {sanitizer}", [*ctest, *chosen], tests_env):
            failed.append(f"C++ tests under {sanitizer}")
    address = WORK_DIR / "address"
    ffi: list[str | Path] = [address / "tests/fuzz/fuzz_ffi", "-max_len=400"]
    if not fuzz("ffi", ffi, seconds, {**env, **preload}):
        failed.append("fuzzing the FFI")
    for parser in PARSERS:
        program: list[str | Path] = [sys.executable, FUZZ / "fuzz_parsers.py", parser]
        if not fuzz(parser, program, max(1, seconds // len(PARSERS)), env):
            failed.append(f"fuzzing {parser}")
    python_env = {**os.environ, **OPTIONS, **PYTHON_OPTIONS, **preload}
    python_env["PYTHONPATH"] = os.fspath(make_package(address))
    pytest = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *PYTHON_TESTS]
    if not call("Python, address", pytest, python_env):
        failed.append("Python tests under address")
    return failed


def main(arguments: list[str]) -> int:
    """Run the sanitizers; raise FactoryError if one of them has found something."""
    parser = argparse.ArgumentParser(prog="nox -s sanitize --", description=__doc__)
    parser.add_argument("--seconds", type=int, default=25, help="how long to fuzz")
    seconds = parser.parse_args(arguments).seconds
    if seconds < 1:
        parser.error("--seconds must be at least 1")
    lane = load_lanes()[DEFAULT_LANE]
    check_host(lane)
    WORK_DIR.mkdir(parents=True, exist_ok=True)
    log = WORK_DIR / "build.log"
    log.unlink(missing_ok=True)
    failed = run_all(ensure_toolchain(lane, log, compiler=False), seconds)
    if failed:
        raise FactoryError(f"{', '.join(failed)} failed.", failed=failed)
    print("\nall clean")
    return 0


if __name__ == "__main__":
    run_session(main)
