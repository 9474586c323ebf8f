"""`nox -s tests`: build the core with its C++ tests, run ctest, then pytest on everything."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
from pathlib import Path

import uv

from ci import shell
from ci.engines import check_host
from ci.failed_tests import failed_in_ctest
from ci.lanes import DEFAULT_LANE, load_lanes
from ci.paths import LOCKS, ROOT, WORK
from ci.process import call_step, run_logged
from ci.pytest_words import check_words, run_pytest
from ci.record import SEED
from ci.session import run_session
from ci.toolchain import CMAKE_FILE, command_env, ensure_toolchain, toolchain_env
from ci.version import check_source

WORK_DIR = WORK / "tests"
CMAKE_DIR = WORK / "cmake"  # where the source of a wheel has it, so that both compile the same
EPILOG = """\
A file chooses the tests in it, `-x` stops at the first failure, and `-m` takes the marks that
docs/build.md lists. The C++ tests run first, always.
"""


def build_wheel(env: dict[str, str], log: Path) -> Path:
    """Build the checkout's wheel with the C++ tests beside it in the build directory."""
    settings = {
        "build-dir": CMAKE_DIR,
        "cmake.toolchain-file": CMAKE_FILE,
        "cmake.define.MLC_LLM_BUILD_TESTS": "ON",
    }
    run_logged(
        [
            *(sys.executable, "-m", "build", "--wheel", "--no-isolation", f"--outdir={WORK_DIR}"),
            *(f"--config-setting={key}={value}" for key, value in settings.items()),
            ROOT,
        ],
        log=log,
        lane=DEFAULT_LANE,
        phase="build",
        cwd=ROOT,
        env=env,
    )
    (wheel,) = WORK_DIR.glob("*.whl")
    return wheel


def main(arguments: list[str]) -> int:
    """Run the C++ tests, and pytest with `arguments`; raise FactoryError at the first bad step."""
    check_words(arguments, "tests", __doc__, EPILOG)
    check_source(ROOT)
    lane = load_lanes()[DEFAULT_LANE]
    check_host(lane)
    for folder in (WORK_DIR, CMAKE_DIR):
        shutil.rmtree(folder, ignore_errors=True)
    WORK_DIR.mkdir(parents=True)
    log = WORK_DIR / "build.log"
    print("Building the core and its C++ tests ...", flush=True)
    toolchain = ensure_toolchain(lane, log)
    own = shell.without_wish(os.environ)
    seed = os.environ[SEED] = own.setdefault(SEED, str(secrets.randbelow(2**32)))
    env = own | toolchain_env(toolchain, lane)
    build_env = command_env(toolchain, lane)
    wheel = build_wheel(build_env, log)

    ctest: list[str | Path] = [toolchain.ctest, "--output-on-failure", "--test-dir", CMAKE_DIR]
    call_step("ctest", ctest, build_env, failed=lambda: failed_in_ctest(CMAKE_DIR))
    install = [uv.find_uv_bin(), "pip", "install", "--quiet", "--python", sys.executable]
    call_step("install", [*install, "--require-hashes", "-r", LOCKS / "smoke-newest.txt"], env)
    call_step("install", [*install, "--no-deps", "--reinstall", wheel], env)
    run_pytest([f"--hypothesis-seed={seed}", *arguments], env)
    return 0


if __name__ == "__main__":
    run_session(main)
