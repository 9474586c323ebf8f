"""The environments of the two sides: the wheel of wheelhouse/, and llama.cpp built from source."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uv

from ci.debian import LIBRARIES, Package, PackageSet, unpacked
from ci.errors import FactoryError
from ci.lanes import DEFAULT_LANE
from ci.manifest import read_manifest
from ci.paths import LOCKS, ROOT, WHEELHOUSE, WORK, cache_dir, made_whole
from ci.process import run_logged
from ci.shaders import PINS as SHADER_PINS
from ci.toml import read_toml

LOCK = LOCKS / "peer.txt"
LOG = WORK / "bench" / "peer.log"
PHASE = "llama.cpp"
# Without uv's cache: a build that another machine left there could be for another processor.
FROM_SOURCE = ("--no-binary", "llama-cpp-python", "--no-cache")
# The projector of images takes minutes to compile, and is not measured.
CMAKE_ARGS = "-DLLAVA_BUILD=OFF"
VULKAN_ARGS = ("-DGGML_VULKAN=ON", "-DGGML_NATIVE=OFF")
# Whatever of these is set would change what llama.cpp's defaults are (-O3 -march=native).
UNWANTED = ("CFLAGS", "CXXFLAGS", "LDFLAGS", "SOURCE_DATE_EPOCH", "PYTHONPATH", "PYTHONHOME")


def ensure_llama_cpp(*, vulkan: bool = False) -> Path:
    """Return the Python of an environment with llama.cpp's binding; the first time, build it.

    It is compiled for this very processor, so the cache has one for each; with `vulkan` for any
    x86-64-v3 one, so that it can be carried to a GPU. Raises FactoryError.
    """
    kind = "vulkan" if vulkan else "native"
    directory = cache_dir() / "peers" / f"llama_cpp-{kind}-{_key(vulkan=vulkan)}"
    if not directory.exists():
        check_compiler()
        print(f"Building llama.cpp into {directory} (once, for minutes) ...", flush=True)
        LOG.unlink(missing_ok=True)
        with made_whole(directory) as new, _cmake_args(vulkan=vulkan) as more:
            _run([], "venv", "--relocatable", "--python", sys.executable, new)
            install = ("pip", "install", "--python", _python(new), "--require-hashes", "-r", LOCK)
            constraints = ("--build-constraints", LOCK, "--no-deps")
            _run(more, *install, *constraints, *FROM_SOURCE)
    return _python(directory)


@contextmanager
def _cmake_args(*, vulkan: bool) -> Iterator[list[str]]:
    """Give CMake's arguments; for Vulkan, with the shader compiler that our shaders pin.

    An older one knows neither cooperative matrices nor integer dot products: an unfair peer.
    """
    if not vulkan:
        yield []
        return
    pinned = PackageSet.from_table(read_toml(SHADER_PINS))
    packages = (*pinned.packages, Package("spirv-headers"), Package("libvulkan1"))
    with unpacked(PackageSet(pinned.suite, packages), cache_dir()) as tools:
        compiler = tools / "glslc"
        libraries = tools / LIBRARIES
        compiler.write_text(
            f"#!/bin/sh\nexec {libraries}/ld-linux-x86-64.so.2 --library-path {libraries} "
            f'{tools}/usr/bin/glslc "$@"\n',
            encoding="utf-8",
        )
        compiler.chmod(0o755)
        yield [
            *VULKAN_ARGS,
            f"-DVulkan_GLSLC_EXECUTABLE={compiler}",
            f"-DVulkan_INCLUDE_DIR={tools}/usr/include",
            f"-DVulkan_LIBRARY={libraries}/libvulkan.so.1",
            f"-DSPIRV-Headers_DIR={tools}/usr/share/cmake/SPIRV-Headers",
        ]


def find_wheel() -> Path:
    """Return this machine's wheel of wheelhouse/; raise FactoryError where there is none."""
    for record in read_manifest(WHEELHOUSE).wheels:
        if record.lane == DEFAULT_LANE:
            return WHEELHOUSE / record.file
    raise FactoryError(
        f"wheelhouse/ has no wheel of the lane {DEFAULT_LANE} to measure.",
        phase="bench",
        hint=f"Make one: `nox -s wheels -- --lane {DEFAULT_LANE}`.",
    )


def install_wheel() -> Path:
    """Return the Python of a new environment with the wheel of wheelhouse/ and what it needs.

    It may be of another commit than the checkout, so it is named.
    """
    wheel = find_wheel()
    print(f"measuring {wheel.name}", flush=True)
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


def _run(cmake_args: list[str], *arguments: str | Path) -> None:
    env = {name: value for name, value in os.environ.items() if name not in UNWANTED}
    run_logged(
        [uv.find_uv_bin(), *arguments],
        log=LOG,
        lane="",
        phase=PHASE,
        cwd=ROOT,
        env={**env, "CMAKE_ARGS": " ".join([CMAKE_ARGS, *cmake_args])},
    )


def _python(environment: Path) -> Path:
    return environment / "bin" / "python"


def _key(*, vulkan: bool) -> str:
    parts = [LOCK.read_bytes(), CMAKE_ARGS.encode()]
    if vulkan:
        parts += [" ".join(VULKAN_ARGS).encode(), SHADER_PINS.read_bytes()]
    else:
        parts.append(_processor().encode())
    digest = hashlib.sha256(b"\0".join(parts)).hexdigest()
    return f"{digest[:16]}-{sys.implementation.cache_tag}"


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if not information.exists():
        return platform.processor() + platform.machine()
    lines = information.read_text(encoding="utf-8").splitlines()
    return "\n".join(line for line in lines if line.startswith(("model name", "flags")))
