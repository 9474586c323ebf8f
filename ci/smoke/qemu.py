"""An arm64 machine on x86-64 Linux: Debian's Python for it, run by qemu's user emulation."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ci.debian import Package, PackageSet, unpacked
from ci.errors import FactoryError
from ci.lanes import find_lane, load_lanes
from ci.paths import LOCKS, cache_dir, made_whole
from ci.smoke.cases import Case
from ci.smoke.checks import VulkanState
from ci.smoke.host import drivers
from ci.smoke.process import run_cleanly, uv

LOCK = LOCKS / "smoke-newest.txt"
EMULATOR = "qemu-aarch64-static"
SUITE, PYTHON = "trixie", "3.13"
# All checks but one run on the oldest of arm64's processors: nothing may need a newer one. It also
# knows no pointer authentication, whose emulation takes five times as long as all else.
OLDEST = "cortex-a53"
PROCESSORS = {
    "an arm64 processor with dot products": {
        "QEMU_CPU": "cortex-a76",
        "MLC_LLM_CPU_ISA": "neon_dotprod",
    }
}
PACKAGES = (
    *("libbz2-1.0", "libc6", "libexpat1", "libffi8", "libgcc-s1", "liblzma5"),
    *("libpython3.13-minimal", "libpython3.13-stdlib", "libssl3t64", "libstdc++6", "libuuid1"),
    *("libvulkan1", "libzstd1", "python3.13-minimal", "zlib1g"),
)


@dataclass(frozen=True)
class QemuEnvironment:
    """A virtual environment on an arm64 root, with the wheel and its dependencies in it."""

    root: Path
    directory: Path
    label: str

    def run(self, command: str, *arguments: str | Path, **variables: str) -> str:
        """Run `python`, or `mlc_llm` as its module, and return what it printed."""
        module = [] if command == "python" else ["-m", command]
        python = self.directory / "bin" / "python3"
        return run_cleanly(
            [EMULATOR, "-L", self.root, python, *module, *arguments],
            cwd=self.directory,
            **{"QEMU_CPU": OLDEST, **variables},
        )


@contextlib.contextmanager
def cases(root: Path, wheel: Path) -> Iterator[list[Case]]:
    """Give the newest TVM FFI on Debian's Python; x86-64 has met the other combinations."""
    label = f"python {PYTHON} under qemu, newest apache-tvm-ffi"
    if shutil.which(EMULATOR) is None:
        reason = "this machine has no qemu for arm64: `apt-get install qemu-user-static`"
        yield [Case(label, reason)]
        return
    try:
        system = get_root()
    except FactoryError as error:
        yield [Case(label, str(error))]
        return
    make = partial(make_environment, system, root / "arm64", label, wheel)
    none = str(root / "none")
    states = [
        VulkanState("no Vulkan loader", {"MLC_LLM_VULKAN_LOADER": none}),
        VulkanState("a Vulkan loader and no device", drivers(root / "none")),
    ]
    yield [Case(label, make=make, vulkan=states, processors=PROCESSORS)]


def get_root() -> Path:
    """Return a folder with Debian's Python for arm64, and the libraries that it and wheels load.

    Raises FactoryError where its packages cannot be had.
    """
    root = cache_dir() / "qemu" / f"{SUITE}-arm64"
    if not root.exists():
        packages = PackageSet(SUITE, tuple(map(Package, PACKAGES)), "arm64")
        with unpacked(packages, cache_dir()) as files, made_whole(root) as staging:
            shutil.copytree(files, staging, symlinks=True, dirs_exist_ok=True)
            (staging / "lib").symlink_to("usr/lib")  # where programs look for the dynamic linker
    return root


def make_environment(root: Path, directory: Path, label: str, wheel: Path) -> QemuEnvironment:
    """Create a virtual environment by hand, with the locked dependencies and `wheel`."""
    programs = root / "usr" / "bin"
    (directory / "bin").mkdir(parents=True)
    (directory / "bin" / "python3").symlink_to(programs / f"python{PYTHON}")
    (directory / "pyvenv.cfg").write_text(f"home = {programs}\n", encoding="utf-8")
    packages = directory / "lib" / f"python{PYTHON}" / "site-packages"
    lane = find_lane(os.environ["MLC_LLM_LANE"], load_lanes())
    platform = ("--python-platform", lane.uv_platform, "--python-version", PYTHON)
    where = (*platform, "--only-binary", ":all:", "--target", packages)
    uv("pip", "install", *where, "--require-hashes", "-r", LOCK)
    uv("pip", "install", *where, "--no-deps", wheel)
    return QemuEnvironment(root, directory, label)
