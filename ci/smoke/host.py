"""Environments on this machine: the oldest and newest Python by the oldest and newest TVM FFI."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ci.machine import LOADERS
from ci.paths import LOCKS, PROGRAMS
from ci.pythons import find_python, supported_pythons
from ci.smoke.cases import Case
from ci.smoke.checks import VulkanState
from ci.smoke.process import run_cleanly, uv

LOCK_OF = {"oldest": LOCKS / "smoke-oldest.txt", "newest": LOCKS / "smoke-newest.txt"}
LAVAPIPE = sorted(Path("/usr/share/vulkan/icd.d").glob("lvp_icd*.json"))
LOADER = LOADERS.get(sys.platform, "libvulkan.so.1")


@dataclass(frozen=True)
class HostEnvironment:
    """A virtual environment with the wheel in it."""

    directory: Path
    label: str

    def run(self, command: str, *arguments: str | Path, **variables: str) -> str:
        """Run one of the environment's commands from its own folder; return what it printed."""
        program = self.directory / PROGRAMS / command
        return run_cleanly([program, *arguments], cwd=self.directory, **variables)


def get_python(version: str) -> Path | None:
    """Return an interpreter of `version`: one that is here, else one that uv can download."""
    if here := find_python(version):
        return here
    with contextlib.suppress(subprocess.CalledProcessError, subprocess.TimeoutExpired):
        uv("python", "install", version, UV_HTTP_RETRIES="1")  # most who cannot have it are offline
        return Path(uv("python", "find", "--managed-python", version).splitlines()[-1])
    return None


def choose_pythons() -> dict[str, Path | None]:
    """Return the oldest and newest supported Python; this one too if either is missing."""
    supported = supported_pythons()
    pythons = {version: get_python(version) for version in (supported[0], supported[-1])}
    if None in pythons.values():
        pythons[f"{sys.version_info.major}.{sys.version_info.minor}"] = Path(sys.executable)
    return pythons


def make_environment(
    directory: Path, python: Path, label: str, tvm_ffi: str, wheel: Path
) -> HostEnvironment:
    """Create an environment for `python`, the locked dependencies and `wheel`, checked by pip."""
    interpreter = directory / PROGRAMS / "python"
    uv("venv", "--python", python, directory)
    uv("pip", "install", "--python", interpreter, "--require-hashes", "-r", LOCK_OF[tvm_ffi])
    uv("pip", "install", "--python", interpreter, "--no-deps", wheel)
    uv("pip", "check", "--python", interpreter)
    return HostEnvironment(directory, label)


def vulkan_states(directory: Path) -> list[VulkanState]:
    """Return every state that Vulkan can be in, with what brings it about in `directory`."""
    empty = directory / "no-drivers"
    empty.mkdir(parents=True)
    loader_missing = not has_vulkan_loader()
    absent = {} if loader_missing else {"MLC_LLM_VULKAN_LOADER": str(empty / "none")}
    lavapipe = LAVAPIPE and not loader_missing
    return [
        VulkanState("no Vulkan loader", absent),
        VulkanState(
            "a Vulkan loader and no device",
            drivers(empty),
            unavailable="this machine has no Vulkan loader" if loader_missing else "",
        ),
        VulkanState(
            "Mesa lavapipe",
            drivers(LAVAPIPE[0]) if LAVAPIPE else {},
            device=True,
            unavailable="" if lavapipe else "this machine has no Mesa lavapipe",
        ),
    ]


def drivers(place: Path) -> dict[str, str]:
    """Return the variables that let the Vulkan loader find drivers in `place` alone."""
    return dict.fromkeys(("VK_DRIVER_FILES", "VK_ICD_FILENAMES"), str(place))


def has_vulkan_loader() -> bool:
    """Whether the system finds the Vulkan loader (asked in a process of its own)."""
    probe = [sys.executable, "-c", f"import ctypes; ctypes.CDLL({LOADER!r})"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


@contextlib.contextmanager
def cases(root: Path, wheel: Path) -> Iterator[list[Case]]:
    """Give every combination; the last one that can be had meets Vulkan too."""
    found = []
    for python, interpreter in choose_pythons().items():
        for tvm_ffi in LOCK_OF:
            label = f"python {python}, {tvm_ffi} apache-tvm-ffi"
            place = root / f"{python}-{tvm_ffi}"
            if interpreter is None:
                reason = f"this machine has no Python {python}, and uv could not download one"
                found.append(Case(label, reason))
            else:
                make = partial(make_environment, place, interpreter, label, tvm_ffi, wheel)
                found.append(Case(label, make=make))
    last = max(number for number, case in enumerate(found) if case.make)
    found[last] = Case(found[last].label, make=found[last].make, vulkan=vulkan_states(root / "vk"))
    yield found
