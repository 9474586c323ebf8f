"""Repair a raw wheel: `python -m ci.repair RAW_WHEEL DEST_DIR`, the lane in $MLC_LLM_LANE.

auditwheel checks the glibc floor and sets the platform tag, delvewheel that nothing of Windows'
compilers is missing; repack then adds the bill of materials and makes the bytes depend on the
contents alone. Both cibuildwheel and the host engine call this.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from platform import machine

from ci import elf, pe, sbom
from ci.lanes import Lane, find_lane, load_lanes
from ci.repack import find_dist_info, repack
from ci.report.ninja import print_log

FOREIGN_AUDITWHEEL = """
import platform, sys
platform.machine = lambda: {!r}
from auditwheel.main import main
sys.exit(main())
"""


def auditwheel_command(wheel: Path, destination: Path, lane: Lane) -> list[str | Path]:
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


def delvewheel_command(wheel: Path, destination: Path, lane: Lane) -> list[str | Path]:
    """Return the command that repairs `wheel`, for Windows, into `destination`."""
    return [
        # Without the first option it looks at extension modules alone, and there is none.
        *(sys.executable, "-m", "delvewheel", "repair", "--analyze-existing"),
        *("--exclude", os.pathsep.join(lane.exclude), "--wheel-dir", destination, wheel),
    ]


def main(arguments: list[str]) -> int:
    """Repair the wheel that `arguments` names."""
    wheel, destination = map(Path, arguments)
    lane = find_lane(os.environ["MLC_LLM_LANE"], load_lanes())
    epoch = int(os.environ["SOURCE_DATE_EPOCH"])
    windows = lane.system == "windows"

    def bill(files: Mapping[str, bytes]) -> dict[str, bytes]:
        needed = (pe if windows else elf).read_library(files[lane.library]).needed
        toolchain = Path(os.environ["MLC_LLM_TOOLCHAIN"])
        document = sbom.make_sbom(files, needed, lane, epoch, toolchain)
        return {f"{find_dist_info(files)}/{sbom.NAME}": document}

    repair_command = delvewheel_command if windows else auditwheel_command
    status = subprocess.call(repair_command(wheel, destination, lane))
    if status == 0:
        (repaired,) = destination.glob("*.whl")
        # What the system's compiler links in is not known; its wheel leaves no machine anyhow.
        known = "MLC_LLM_PLATFORM" not in os.environ
        repack(repaired, epoch, bill if known else None)
        print_log()
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
