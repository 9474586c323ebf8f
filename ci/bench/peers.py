"""The environments of the two sides: the wheel of wheelhouse/, and llama.cpp built from source."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import uv

from ci.errors import FactoryError
from ci.manifest import read_manifest
from ci.paths import LOCKS, ROOT, WHEELHOUSE, WORK, cache_dir
from ci.process import run_logged

LOCK = LOCKS / "peer.txt"
LOG = WORK / "bench" / "peer.log"
PHASE = "llama.cpp"
# Without uv's cache: a build that another machine left there could be for another processor.
FROM_SOURCE = ("--no-binary", "llama-cpp-python", "--no-cache")
# The projector of images takes minutes to compile, and is not measured.
CMAKE_ARGS = "-DLLAVA_BUILD=OFF"
# Whatever of these is set would change what llama.cpp's defaults are (-O3 -march=native).
UNWANTED = ("CFLAGS", "CXXFLAGS", "LDFLAGS", "SOURCE_DATE_EPOCH", "PYTHONPATH", "PYTHONHOME")


def ensure_llama_cpp() -> Path:
    """Return the Python of an environment with llama.cpp's binding; the first time, build it.

    It is compiled for this very processor, so the cache has one for each. Raises FactoryError.
    """
    directory = cache_dir() / "peers" / f"llama_cpp-{_key()}"
    if not directory.exists():
        check_compiler()
        print(f"Building llama.cpp into {directory} (once, for minutes) ...", flush=True)
        new = directory.with_suffix(".new")
        shutil.rmtree(new, ignore_errors=True)
        LOG.unlink(missing_ok=True)
        _run("venv", "--relocatable", "--python", sys.executable, new)
        install = ("pip", "install", "--python", _python(new), "--require-hashes", "-r", LOCK)
        _run(
            *install,
            "--build-constraints",
            LOCK,
            "--no-deps",
            "--no-binary",
            "llama-cpp-python",
            "--no-cache",
        )
        new.rename(directory)
    return _python(directory)


def install_wheel() -> Path:
    """Return the Python of a new environment with the wheel of wheelhouse/ and what it needs."""
    wheel = WHEELHOUSE / read_manifest(WHEELHOUSE).wheels[0].file
    directory = WORK / "bench" / "venv"
    shutil.rmtree(directory, ignore_errors=True)
    program = uv.find_uv_bin()
    subprocess.run([program, "venv", "--quiet", "--python", sys.executable, directory], check=True)
    install = [program, "pip", "install", "--quiet", "--python", os.fspath(_python(directory))]
    subprocess.run([*install, "-r", LOCKS / "smoke-newest.txt"], check=True)
    subprocess.run([*install, "--no-deps", wheel], check=True)
    return _python(directory)


def check_compiler() -> None:
    """Raise FactoryError when the system has no C and C++ compiler."""
    for kinds in (("cc", "gcc", "clang"), ("c++", "g++", "clang++")):
        if not any(map(shutil.which, kinds)):
            raise FactoryError(
                f"llama.cpp cannot be built for the comparison: there is no {kinds[0]} here.",
                phase=PHASE,
                hint="Install a C++ compiler (Debian: `apt-get install g++`), "
                "or measure without it: `nox -s bench -- core --alone`.",
            )


def _run(*arguments: str | Path) -> None:
    env = {name: value for name, value in os.environ.items() if name not in UNWANTED}
    run_logged(
        [uv.find_uv_bin(), *arguments],
        log=LOG,
        lane="",
        phase=PHASE,
        cwd=ROOT,
        env={**env, "CMAKE_ARGS": CMAKE_ARGS},
    )


def _python(environment: Path) -> Path:
    return environment / "bin" / "python"


def _key() -> str:
    processor = platform.processor() + platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        lines = information.read_text(encoding="utf-8").splitlines()
        processor = "\n".join(line for line in lines if line.startswith(("model name", "flags")))
    parts = LOCK.read_bytes(), CMAKE_ARGS.encode(), processor.encode()
    digest = hashlib.sha256(b"\0".join(parts)).hexdigest()
    return f"{digest[:16]}-{sys.implementation.cache_tag}"
