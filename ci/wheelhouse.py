"""Putting a finished wheel into the wheelhouse, whole or not at all."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from ci.errors import FactoryError, UsageError
from ci.manifest import NAME, Manifest, WheelRecord, read_manifest, write_manifest

CHOOSE = "Choose another folder with --wheelhouse, or move its files away: a build replaces it all."


def check_wheelhouse(wheelhouse: Path) -> None:
    """Refuse a folder that `publish` cannot replace, or would lose somebody else's files of.

    Fit are a new or empty folder, and one of this project's wheels with their manifest. A
    wheelhouse that a killed `publish` had moved aside is moved back first.
    """
    _check_place(wheelhouse)
    if not wheelhouse.exists():
        _restore(wheelhouse)
    if not wheelhouse.exists():
        return
    if not wheelhouse.is_dir():
        raise UsageError(f"{wheelhouse} is not a folder.", hint="Choose one with --wheelhouse.")
    found = {path.name for path in wheelhouse.iterdir()}
    kinds = ("mlc_llm-*.whl", "mlc_llm-*.tar.gz")
    ours = {path.name for kind in kinds for path in wheelhouse.glob(kind) if path.is_file()}
    if foreign := sorted(found - ours - {NAME}):
        raise UsageError(f"{wheelhouse} holds {foreign[0]}, which no build put there.", hint=CHOOSE)
    if found and not _is_ours(wheelhouse / NAME):
        raise UsageError(f"{wheelhouse} holds other files and no manifest of mlc_llm.", hint=CHOOSE)


def publish(
    wheel: Path, record: WheelRecord, sdist: Path, manifest: Manifest, wheelhouse: Path
) -> Path:
    """Add `wheel` and the `sdist` that it was built from to `wheelhouse`; return its place there.

    `manifest` describes the source; wheels of other lanes stay if they come from the same one.
    The new folder is complete before it takes the old one's place. Raises FactoryError for a
    folder that `check_wheelhouse` refuses.
    """
    check_wheelhouse(wheelhouse)
    kept = _kept(wheelhouse, record.lane, manifest)
    new, old = _beside(wheelhouse, "new"), _beside(wheelhouse, "old")
    for folder in (new, old):
        shutil.rmtree(folder, ignore_errors=True)
    new.mkdir(parents=True)
    try:
        for other in kept:
            shutil.copy2(wheelhouse / other.file, new)
        shutil.copy2(wheel, new)
        shutil.copy2(sdist, new)
        write_manifest(new, replace(manifest, wheels=(*kept, record)))
        if wheelhouse.exists():
            wheelhouse.rename(old)
        new.rename(wheelhouse)
    finally:
        _restore(wheelhouse)
        shutil.rmtree(new, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
    return wheelhouse / wheel.name


def _check_place(wheelhouse: Path) -> None:
    """Refuse a place where `publish` could not make the new folder, once all is built."""
    new = _beside(wheelhouse.resolve(), "new")
    try:
        new.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"no folder can be made at {wheelhouse}: {error.strerror}.",
            hint="Choose another with --wheelhouse.",
        ) from error
    with suppress(OSError):  # another build may be filling it
        new.rmdir()


def _beside(wheelhouse: Path, state: str) -> Path:
    """Return where the new wheelhouse is made, or the old one waits: on the same disk."""
    return wheelhouse.parent / f".{wheelhouse.name}.{state}"


def _restore(wheelhouse: Path) -> None:
    """Move the old wheelhouse back if nothing took its place."""
    old = _beside(wheelhouse, "old")
    if old.exists() and not wheelhouse.exists():
        old.rename(wheelhouse)


def _is_ours(manifest: Path) -> bool:
    """Whether `manifest` is one of this project's, be it of another schema or outdated."""
    try:
        document = json.loads(manifest.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return False
    return isinstance(document, dict) and document.get("project") == Manifest.project


def _kept(wheelhouse: Path, lane: str, manifest: Manifest) -> list[WheelRecord]:
    if not (wheelhouse / NAME).exists():
        return []
    try:
        before = read_manifest(wheelhouse)
    except FactoryError as error:
        print(f"The old wheelhouse is replaced: {error}")
        return []
    if replace(before, wheels=()) != replace(manifest, wheels=()):
        return []
    return [other for other in before.wheels if other.lane != lane]
