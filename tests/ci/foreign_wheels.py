"""Tiny wheels of other systems than Linux, each with one library, to be verified."""

from __future__ import annotations

from pathlib import Path

from wheels import (
    DIST_INFO,
    LIBRARY,
    NAMED,
    PLATFORM,
    VERSION,
    WHEEL,
    good_files,
    sbom,
    write_wheel,
)

from ci.checks import FAILED
from ci.lanes import Lane
from ci.repack import repack
from ci.verify import checks_of, verify_wheel


def write_tvm_ffi(folder: Path, name: str, library: bytes) -> Path:
    """Make a folder of the lane's TVM FFI that holds `library`, and return it."""
    path = folder / "target" / "tvm_ffi" / "lib" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(library)
    return folder / "target"


def failures(
    folder: Path, lane: Lane, library: bytes, tvm_ffi: Path, needed: tuple[str, ...]
) -> dict[str, str]:
    """Verify a wheel of `lane` whose bill of materials names `needed`: what failed, and why."""
    held = good_files(library)
    held[lane.library] = held.pop(LIBRARY)
    held[f"{DIST_INFO}/WHEEL"] = WHEEL.replace(PLATFORM, lane.platform).encode()
    held[f"{DIST_INFO}/sboms/mlc_llm.cdx.json"] = sbom(*NAMED, *needed)
    wheel = write_wheel(folder, held, f"mlc_llm-{VERSION}-py3-none-{lane.platform}.whl")
    repack(wheel, 1_700_000_000)
    checks = verify_wheel(wheel, lane, VERSION, tvm_ffi=tvm_ffi)
    assert [check.name for check in checks] == ["archive", *checks_of(lane)]
    return {check.name: check.detail for check in checks if check.status == FAILED}
