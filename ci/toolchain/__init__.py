"""The hermetic toolchain: everything that compiles and repairs a wheel, from one lock."""

from __future__ import annotations

import base64
import csv
import hashlib
import os
import re
import stat
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import uv

from ci.errors import FactoryError
from ci.lanes import Lane
from ci.paths import LOCKS, cache_dir, made_whole
from ci.process import run_logged

LOCK = LOCKS / "toolchain.txt"
PHASE = "toolchain"
WARM_PROJECT = Path(__file__).with_name("warm")
CMAKE_FILE = Path(__file__).with_name("zig.cmake")

# What is run or loaded, besides all that is executable: compared by hash. For the other 20000
# files, nearly all of them headers, the size must do: their hashes take two to five seconds.
HASHED = {".py", ".so", ".cmake"}
# What uv and Python leave beside the packages.
UNLISTED = {".lock", "__pycache__"}


@dataclass(frozen=True)
class Toolchain:
    """A directory for PYTHONPATH, made from the lock with digest `digest`."""

    directory: Path
    digest: str

    @property
    def programs(self) -> tuple[Path, ...]:
        """The folders of its programs, for PATH.

        CMake's own comes first: the other's scripts need the Python that installed them, which may
        be gone, and then PATH would go on to a cmake of the system.
        """
        return self.directory / "cmake" / "data" / "bin", self.directory / "bin"

    @property
    def ctest(self) -> Path:
        """CMake's program that runs tests."""
        return self.programs[0] / "ctest"


def lock_digest(lock: Path = LOCK) -> str:
    """Return the sha256 of the toolchain's lock: its identity in manifests and images."""
    return hashlib.sha256(lock.read_bytes()).hexdigest()


def ensure_toolchain(
    lane: Lane, log: Path, lock: Path = LOCK, *, compiler: bool = True
) -> Toolchain:
    """Return the toolchain, installed; with its `compiler` warm for `lane`, at first in minutes.

    Raises FactoryError when it cannot be installed, or when the installed files are damaged.
    """
    digest = lock_digest(lock)
    # tvm_ffi's CMake files run its Python half, whose extension is for one CPython only.
    directory = cache_dir() / "toolchain" / f"{digest[:16]}-{sys.implementation.cache_tag}"
    if directory.exists():
        check_files(directory, "ziglang")
    else:
        print(f"Installing the toolchain into {directory} (once) ...", flush=True)
        _install(lock, directory, lane, log)
    toolchain = Toolchain(directory, digest)
    if compiler:
        _warm(toolchain, lane, log)
    return toolchain


def ensure_tvm_ffi(lane: Lane, log: Path, lock: Path = LOCK) -> Path:
    """Return the folder of the lane's apache-tvm-ffi, as locked, for another platform than this.

    Raises FactoryError when it cannot be installed, or when the installed files are damaged.
    """
    directory = cache_dir() / "tvm_ffi" / f"{lock_digest(lock)[:16]}-{lane.platform}"
    if directory.exists():
        check_files(directory, "tvm_ffi")
    else:
        options = ("--python-platform", lane.uv_platform)
        _install(lock, directory, lane, log, *options, only="apache-tvm-ffi")
    return directory


def toolchain_env(toolchain: Toolchain, lane: Lane) -> dict[str, str]:
    """Return the variables that zig.cmake and the build steps read."""
    return {
        "MLC_LLM_TOOLCHAIN": os.fspath(toolchain.directory),
        "MLC_LLM_LANE": lane.id,
        "MLC_LLM_ZIG_TARGET": lane.zig_target,
        "MLC_LLM_ZIG_CPU": lane.cpu,
        "ZIG_GLOBAL_CACHE_DIR": os.fspath(cache_dir() / "zig"),
        "ZIG_LOCAL_CACHE_DIR": os.environ.get("MLC_LLM_OBJECTS") or str(cache_dir() / "objects"),
    }


def command_env(toolchain: Toolchain, lane: Lane) -> dict[str, str]:
    """Return this process's environment with the toolchain's modules and programs in front."""
    path = os.pathsep.join([*map(os.fspath, toolchain.programs), os.environ["PATH"]])
    front = {"PYTHONPATH": os.fspath(toolchain.directory), "PATH": path}
    return {**os.environ, **toolchain_env(toolchain, lane), **front}


def check_files(directory: Path, wanted: str) -> None:
    """Compare the installed files with the RECORD of their package.

    Every size, and the hash of what is run or loaded; nothing else may lie at the top, from where
    Python would import it, and the package `wanted` must. Raises FactoryError.
    """
    wrong = []
    listed = UNLISTED | {wanted}
    for record in directory.glob("*.dist-info/RECORD"):
        with record.open(newline="", encoding="utf-8") as rows:
            for name, digest, size in csv.reader(rows):
                listed.add(name.partition("/")[0])
                if digest and not _is_intact(directory / name, digest, int(size)):
                    wrong.append(name)
    wrong += sorted({path.name for path in directory.iterdir()} - listed)
    if not (directory / wanted).is_dir():
        wrong.append(wanted)
    if wrong:
        raise FactoryError(
            f"the toolchain in {directory} is damaged: {len(wrong)} of its files are missing, "
            f"changed or not its own ({wrong[0]}, ...).",
            phase=PHASE,
            hint="Remove that directory; the next build installs it again.",
        )


def _is_intact(path: Path, digest: str, size: int) -> bool:
    """Whether `path` has the `size` and, where it counts, the `digest` of its RECORD."""
    try:
        status = path.stat()
    except OSError:
        return False
    if status.st_size != size:
        return False
    if path.suffix not in HASHED and not status.st_mode & stat.S_IXUSR:
        return True
    algorithm, _, expected = digest.partition("=")
    actual = hashlib.new(algorithm, path.read_bytes()).digest()
    return base64.urlsafe_b64encode(actual).rstrip(b"=").decode() == expected


def _install(
    lock: Path, directory: Path, lane: Lane, log: Path, *options: str, only: str = ""
) -> None:
    with made_whole(directory) as staging:
        where = ["--target", os.fspath(staging), *options]
        install_lock(lock, where, only=only, lane=lane.id, phase=PHASE, log=log)


def locked_version(package: str, lock: Path = LOCK) -> str:
    """Return the version of `package` in `lock`; raises ValueError where it has none."""
    found = re.search(rf"^{package}==(\S+)", lock.read_text(encoding="utf-8"), re.MULTILINE)
    if found is None:
        raise ValueError(f"{lock.name} does not hold {package}")
    return found[1]


def install_lock(
    lock: Path, where: list[str], *, lane: str, phase: str, log: Path, only: str = ""
) -> None:
    """Install `lock`, or the one package `only` of it, with uv; `where` says into what.

    Hashes are required. Raises FactoryError that tells a wrong hash from an unreachable index.
    """
    start = log.stat().st_size if log.exists() else 0
    pinned = f"{only}=={locked_version(only, lock)}" if only else ""
    what = ["--no-deps", "-c", str(lock), pinned] if only else ["-r", str(lock)]
    try:
        run_logged(
            [
                *(uv.find_uv_bin(), "pip", "install", "--no-progress", "--require-hashes"),
                *("--only-binary=:all:", "--python", sys.executable, *where, *what),
            ],
            log=log,
            lane=lane,
            phase=phase,
            cwd=lock.parent,
            env=os.environ,
        )
    except FactoryError as error:
        printed = log.read_text(encoding="utf-8", errors="replace")[start:].lower()
        if "hash mismatch" in printed:
            error.message = f"a package's bytes are not those that {lock.name} promises."
            error.hint = (
                "Nothing was installed. Either the index or the lock was tampered with, or the "
                "lock was edited by hand: `nox -s locks` makes it again; read the difference."
            )
        elif "fetch" in printed or "connect" in printed or "dns" in printed:
            error.message = f"the packages of {lock.name} could not be downloaded."
            error.hint = (
                "Check the network and any proxy (HTTPS_PROXY, SSL_CERT_FILE) and run the same "
                "command again: what was already downloaded is kept."
            )
        raise


def _warm(toolchain: Toolchain, lane: Lane, log: Path) -> None:
    """Compile the C++ standard library for the lane, which zig does once per target."""
    stamp = cache_dir() / "zig" / f"warm-{lane.zig_target}-{toolchain.digest[:16]}"
    if stamp.exists():
        return
    print(
        f"Compiling the C++ standard library for {lane.zig_target} "
        "(once; one to three minutes) ...",
        flush=True,
    )
    stamp.parent.mkdir(parents=True, exist_ok=True)
    cmake = [sys.executable, "-m", "cmake"]
    with tempfile.TemporaryDirectory(prefix="mlc_llm-warm-") as build:
        source = ["-G", "Ninja", "-S", os.fspath(WARM_PROJECT), "-B", build]
        options = ["-DCMAKE_BUILD_TYPE=Release", f"-DCMAKE_TOOLCHAIN_FILE={CMAKE_FILE.as_posix()}"]
        for step in ([*cmake, *source, *options], [*cmake, "--build", build]):
            run_logged(
                step,
                log=log,
                lane=lane.id,
                phase=PHASE,
                cwd=WARM_PROJECT,
                env=command_env(toolchain, lane),
                hint=f"If it says nothing useful, remove {cache_dir()} and try again.",
            )
    stamp.touch()
