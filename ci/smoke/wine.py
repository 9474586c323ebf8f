"""A Windows machine on Linux: a real Windows Python under Wine, and Vulkan through an X display.

What Wine 8 (Debian 12) needs is told in docs/decisions/windows.md.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from ci.lanes import find_lane, load_lanes
from ci.paths import LOCKS, cache_dir, made_whole
from ci.smoke.cases import Case
from ci.smoke.checks import VulkanState
from ci.smoke.host import LAVAPIPE, drivers
from ci.smoke.process import clean_env, run_cleanly, uv
from ci.smoke.windows_python import PYTHON, get_python

LOCK_OF = {"oldest": LOCKS / "smoke-oldest.txt", "newest": LOCKS / "smoke-wine.txt"}
WANTED = {"wine": "wine", "wineserver": "wine64", "Xvfb": "xvfb"}  # programs, Debian's packages
# Nothing that asks to be installed, no debugger that waits for somebody.
OVERRIDES = "mscoree=;mshtml=;winedbg.exe=d"
SETTINGS = {"WINEDEBUG": "-all", "WINEDLLOVERRIDES": OVERRIDES, "WINEARCH": "win64"}


@dataclass(frozen=True)
class Machine:
    """A booted Wine: a folder with its disk and registry, and the X display that it draws on."""

    prefix: Path
    display: str

    @property
    def variables(self) -> dict[str, str]:
        """What a program needs to run in it."""
        return SETTINGS | {"WINEPREFIX": os.fspath(self.prefix), "DISPLAY": self.display}

    def start(self, *command: str) -> subprocess.Popen[bytes]:
        """Start one of Wine's own commands, mute: services that it starts keep its output open."""
        return subprocess.Popen(
            command,
            env=clean_env() | self.variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def call(self, *command: str) -> None:
        """Run one of Wine's own commands; raises OSError when it fails."""
        process = self.start(*command)
        process.communicate()
        if process.returncode:
            raise OSError(f"`{' '.join(command)}` failed with exit status {process.returncode}")


@dataclass(frozen=True)
class WineEnvironment:
    """A Windows Python with the wheel and its dependencies in `Lib/site-packages`."""

    machine: Machine
    directory: Path
    label: str

    def run(self, command: str, *arguments: str | Path, **variables: str) -> str:
        """Run `python`, or `mlc_llm` as its module, and return what it printed."""
        module = [] if command == "python" else ["-m", command]
        words = [spell(word) if isinstance(word, Path) else word for word in arguments]
        return run_cleanly(
            ["wine", self.directory / "python.exe", *module, *words],
            cwd=self.directory,
            **self.machine.variables | variables,
        )


def spell(path: Path) -> str:
    """Return `path` of this machine as Windows programs name it under Wine."""
    return "Z:" + str(PurePosixPath(path)).replace("/", "\\")


@contextlib.contextmanager
def cases(root: Path, wheel: Path) -> Iterator[list[Case]]:
    """Give the oldest and the newest TVM FFI on one Windows Python; the last meets Vulkan too."""
    missing = sorted({package for program, package in WANTED.items() if not shutil.which(program)})
    if missing:
        reason = f"this machine lacks what Wine needs: `apt-get install {' '.join(missing)}`"
        yield [Case("Windows under Wine", reason)]
        return
    with booted(root / "machine") as machine:
        found = []
        for tvm_ffi in LOCK_OF:
            label = f"python {PYTHON} under Wine, {tvm_ffi} apache-tvm-ffi"
            place = root / tvm_ffi
            make = partial(make_environment, machine, place, label, tvm_ffi, wheel)
            vulkan = vulkan_states(root) if tvm_ffi == "newest" else ()
            found.append(Case(label, make=make, vulkan=vulkan))
        yield found


def vulkan_states(root: Path) -> list[VulkanState]:
    """Return every state that Vulkan can be in: Wine's own loader passes on what Linux has."""
    lavapipe = drivers(LAVAPIPE[0]) if LAVAPIPE else {}
    return [
        VulkanState("no Vulkan loader", {"WINEDLLOVERRIDES": f"{OVERRIDES};vulkan-1="}),
        VulkanState("a Vulkan loader and no device", drivers(root / "none")),
        VulkanState(
            "Mesa lavapipe",
            lavapipe,
            device=True,
            unavailable="" if lavapipe else "this machine has no Mesa lavapipe",
        ),
    ]


@contextlib.contextmanager
def booted(folder: Path) -> Iterator[Machine]:
    """Give a machine with its disk in `folder`, up until the end: programs start at once then."""
    with display() as name:
        machine = Machine(folder, name)
        copy_prefix(make_prefix(name), folder)
        waiting = machine.start("wine", "cmd", "/c", "pause")  # while one runs, services stay
        try:
            yield machine
        finally:
            machine.start("wineserver", "-k").communicate()
            waiting.communicate()


@contextlib.contextmanager
def display() -> Iterator[str]:
    """Give the name of an X display of our own: Wine's Vulkan loader works with one only."""
    read, write = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(write), "-screen", "0", "640x480x24", "-nolisten", "tcp"],
        pass_fds=[write],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(write)
    try:
        with os.fdopen(read) as numbers:
            yield f":{numbers.readline().strip()}"
    finally:
        server.terminate()
        server.wait()


def make_prefix(display_name: str) -> Path:
    """Return a disk as Wine makes it, which takes it 15 seconds: kept, and copied for each use."""
    words = run_cleanly(["wine", "--version"]).split()  # a remark on 32-bit programs comes first
    prefix = cache_dir() / "wine" / next(word for word in words if word.startswith("wine-"))
    if not prefix.exists():
        with made_whole(prefix) as staging:
            machine = Machine(staging, display_name)
            machine.call("wine", "wineboot", "--init")
            # Its default is Windows 7, which Python 3.12 no longer runs on.
            machine.call("wine", "winecfg", "-v", "win10")
            machine.call("wineserver", "-w")
    return prefix


def copy_prefix(prefix: Path, folder: Path) -> None:
    """Copy a disk; programs, which nobody writes to, are linked where the file system can."""

    def link(source: str, target: str) -> None:
        if Path(source).suffix != ".reg":
            with contextlib.suppress(OSError):
                os.link(source, target)
                return
        shutil.copy2(source, target)

    shutil.copytree(prefix, folder, symlinks=True, copy_function=link)


def make_environment(
    machine: Machine, directory: Path, label: str, tvm_ffi: str, wheel: Path
) -> WineEnvironment:
    """Create a Windows Python with the locked dependencies and `wheel`."""
    shutil.copytree(get_python(), directory)
    packages = directory / "Lib" / "site-packages"
    lane = find_lane(os.environ["MLC_LLM_LANE"], load_lanes())
    platform = ("--python-platform", lane.uv_platform, "--python-version", PYTHON)
    where = (*platform, "--only-binary", ":all:", "--target", packages)
    uv("pip", "install", *where, "--require-hashes", "-r", LOCK_OF[tvm_ffi])
    uv("pip", "install", *where, "--no-deps", wheel)
    return WineEnvironment(machine, directory, label)
