"""Repair a raw wheel: `python -m ci.repair RAW_WHEEL DEST_DIR`, the lane in $MLC_LLM_LANE.

auditwheel checks the glibc floor and sets the platform tag, delvewheel that nothing of Windows'
compilers is missing, delocate does both for macOS; repack then adds the bill of materials and makes
the bytes depend on the contents alone. Both cibuildwheel and the host engine call this.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from platform import machine

from ci import sbom
from ci.lanes import Lane, find_lane, load_lanes
from ci.libraries import read_library
from ci.repack import find_dist_info, repack
from ci.report.ninja import print_log

CROSS = Path(__file__).parent / "toolchain" / "cross"
Command = list[str | Path]
FOREIGN_AUDITWHEEL = """
import platform, sys
platform.machine = lambda: {!r}
from auditwheel.main import main
sys.exit(main())
"""


def auditwheel_command(wheel: Path, destination: Path, lane: Lane) -> Command:
    """Return the command that repairs `wheel` into `destination`."""
    excludes = [word for soname in lane.exclude for word in ("--exclude", soname)]
    # The system's compiler links the system's glibc: then the tag is whatever that allows.
    platform = os.environ.get("MLC_LLM_PLATFORM", lane.platform)
    plat = ["--plat", platform, "--only-plat"] if platform != "auto" else []
    # It takes the tags of the processor that it runs on for all that there are.
    foreign = lane.processor != machine().lower()
    program = ["-c", FOREIGN_AUDITWHEEL.format(lane.processor)] if foreign else ["-m", "auditwheel"]
    return [
        *(sys.executable, *program, "repair", *plat, *excludes),
        *("--wheel-dir", destination, wheel),
    ]


def delvewheel_command(wheel: Path, destination: Path, lane: Lane) -> Command:
    """Return the command that repairs `wheel`, for Windows, into `destination`."""
    return [
        # Without the first option it looks at extension modules alone, and there is none.
        *(sys.executable, "-m", "delvewheel", "repair", "--analyze-existing"),
        *("--exclude", os.pathsep.join(lane.exclude), "--wheel-dir", destination, wheel),
    ]


def delocate_command(wheel: Path, destination: Path, lane: Lane) -> Command:
    """Return the command that repairs `wheel`, for macOS, into `destination`."""
    excludes = [word for name in lane.exclude for word in ("--exclude", name)]
    # The system's compiler compiles for its own macOS: then the tag says so.
    known = "MLC_LLM_PLATFORM" not in os.environ
    minimum = ["--require-target-macos-version", lane.macos] if known else []
    return [
        *(sys.executable, "-m", "delocate.cmd.delocate_wheel", *excludes, *minimum),
        *("--wheel-dir", destination, wheel),
    ]


def variables(lane: Lane) -> dict[str, str]:
    """Return what delocate needs: an `otool`, which macOS has, and where to find TVM FFI."""
    if not lane.macos:
        return {}
    folder = os.environ.get("MLC_LLM_TVM_FFI") or os.environ["MLC_LLM_TOOLCHAIN"]
    tvm_ffi = Path(folder) / "tvm_ffi" / "lib"
    path = [os.environ["PATH"]]
    if sys.platform != "darwin":
        path.insert(0, os.fspath(CROSS))
    return {"PATH": os.pathsep.join(path), "DYLD_FALLBACK_LIBRARY_PATH": os.fspath(tvm_ffi)}


COMMANDS: dict[str, Callable[[Path, Path, Lane], Command]] = {
    "linux": auditwheel_command,
    "windows": delvewheel_command,
    "macos": delocate_command,
}


def main(arguments: list[str]) -> int:
    """Repair the wheel that `arguments` names."""
    wheel, destination = map(Path, arguments)
    lane = find_lane(os.environ["MLC_LLM_LANE"], load_lanes())
    epoch = int(os.environ["SOURCE_DATE_EPOCH"])

    def bill(files: Mapping[str, bytes]) -> dict[str, bytes]:
        needed = read_library(files[lane.library], lane).needed
        toolchain = Path(os.environ["MLC_LLM_TOOLCHAIN"])
        document = sbom.make_sbom(files, needed, lane, epoch, toolchain)
        return {f"{find_dist_info(files)}/{sbom.NAME}": document}

    command = COMMANDS[lane.system](wheel, destination, lane)
    status = subprocess.call(command, env=os.environ | variables(lane))
    if status == 0:
        (repaired,) = destination.glob("*.whl")
        # What the system's compiler links in is not known; its wheel leaves no machine anyhow.
        known = "MLC_LLM_PLATFORM" not in os.environ
        repack(repaired, epoch, bill if known else None)
        print_log()
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
