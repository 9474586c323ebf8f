"""`nox -s tests`: build the core with its C++ tests, run ctest, then pytest on everything."""

from __future__ import annotations

import argparse
import os
import secrets
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

import uv

from ci import shell
from ci.engines import check_host
from ci.errors import UsageError
from ci.failed_tests import PLUGIN, failed_in_ctest, failed_in_pytest
from ci.lanes import DEFAULT_LANE, load_lanes
from ci.paths import LOCKS, ROOT, WORK
from ci.process import call_step, run_logged
from ci.record import SEED
from ci.session import run_session
from ci.toolchain import CMAKE_FILE, command_env, ensure_toolchain, toolchain_env
from ci.version import check_source

WORK_DIR = WORK / "tests"


def build_wheel(env: dict[str, str], log: Path) -> Path:
    """Build the checkout's wheel with the C++ tests beside it in the build directory."""
    settings = {
        "build-dir": WORK_DIR / "cmake",
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


def make_parser() -> argparse.ArgumentParser:
    """Return what answers --help, before anything is built."""
    parser = argparse.ArgumentParser(
        prog="nox -s tests --",
        usage="nox -s tests -- [-h] [WORDS FOR PYTEST ...]",
        description=__doc__,
        epilog="All words are pytest's: a file for the tests in it, `-x` to stop at the first "
        "failure. The C++ tests run first, always.",
        allow_abbrev=False,
    )
    parser.add_argument("-k", metavar="WORD", help="only tests with that in their names")
    parser.add_argument("-m", metavar="MARK", help="tests with a mark of those in docs/build.md")
    return parser


def check_files(words: Iterable[str]) -> None:
    """Refuse a file that pytest would not find, once all is built."""
    for word in words:
        file, _, _ = word.partition("::")
        if file.endswith(".py") and not file.startswith("-") and not (ROOT / file).is_file():
            raise UsageError(f"there is no {file}.", hint="Name it from the top of the checkout.")


def main(arguments: list[str]) -> int:
    """Run the C++ tests, and pytest with `arguments`; raise FactoryError at the first bad step."""
    _, words = make_parser().parse_known_args(arguments)  # ends with --help
    check_files(words)
    check_source(ROOT)
    lane = load_lanes()[DEFAULT_LANE]
    check_host(lane)
    shutil.rmtree(WORK_DIR, ignore_errors=True)
    WORK_DIR.mkdir(parents=True)
    log = WORK_DIR / "build.log"
    print("Building the core and its C++ tests ...", flush=True)
    toolchain = ensure_toolchain(lane, log)
    own = shell.without_wish(os.environ)
    seed = os.environ[SEED] = own.setdefault(SEED, str(secrets.randbelow(2**32)))
    env = own | toolchain_env(toolchain, lane)
    build_env = command_env(toolchain, lane)
    wheel = build_wheel(build_env, log)

    cmake = WORK_DIR / "cmake"
    ctest: list[str | Path] = [toolchain.ctest, "--output-on-failure", "--test-dir", cmake]
    call_step("ctest", ctest, build_env, failed=lambda: failed_in_ctest(cmake))
    install = [uv.find_uv_bin(), "pip", "install", "--quiet", "--python", sys.executable]
    call_step("install", [*install, "--require-hashes", "-r", LOCKS / "smoke-newest.txt"], env)
    call_step("install", [*install, "--no-deps", "--reinstall", wheel], env)
    pytest = [sys.executable, "-m", "pytest", *PLUGIN, f"--hypothesis-seed={seed}"]
    call_step("pytest", [*pytest, *arguments], env, failed=failed_in_pytest)
    return 0


if __name__ == "__main__":
    run_session(main)
