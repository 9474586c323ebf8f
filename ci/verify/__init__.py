"""Checks with teeth on a finished wheel: pure inspection, nothing of it is run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from ci.checks import FAILED, PASSED, Check
from ci.errors import FactoryError
from ci.lanes import Lane
from ci.repack import read_wheel
from ci.verify import files, linux, macos, windows
from ci.verify.subject import Subject

OF_SYSTEM = {"linux": linux.CHECKS, "windows": windows.CHECKS, "macos": macos.CHECKS}


def verify_wheel(
    wheel: Path,
    lane: Lane,
    version: str,
    *,
    tvm_ffi: Path | None,
    forbidden: Iterable[str] = (),
) -> list[Check]:
    """Return every check's result for `wheel`, built for `lane` as `version` (PEP 440).

    `tvm_ffi` is the folder that holds the lane's package of that name; `forbidden` are strings that
    no file may contain, such as the build's own folders. Never raises for a bad wheel: a check that
    cannot run has failed, and a file that is no wheel gives one failed check.
    """
    try:
        held = read_wheel(wheel)
    except FactoryError as error:
        return [Check("archive", FAILED, str(error))]
    subject = Subject(wheel, lane, version, tvm_ffi, tuple(forbidden), held)
    archive = Check("archive", PASSED, f"{len(held)} files")
    return [archive, *(_run(name, check, subject) for name, check in checks_of(lane).items())]


def checks_of(lane: Lane) -> dict[str, Callable[[Subject], str]]:
    """Return the checks of the lane's wheels by name."""
    return files.CHECKS | OF_SYSTEM[lane.system]


def _run(name: str, check: Callable[[Subject], str], subject: Subject) -> Check:
    try:
        return Check(name, PASSED, check(subject))
    except Exception as error:  # noqa: BLE001 - a check that cannot run has failed
        kind = "" if isinstance(error, (ValueError, FactoryError)) else f"{type(error).__name__}: "
        return Check(name, FAILED, f"{kind}{error}")
