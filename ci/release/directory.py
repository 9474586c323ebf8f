"""A release as a directory: there as a whole, or not there."""

from __future__ import annotations

from pathlib import Path

from ci.errors import FactoryError
from ci.manifest import hash_file
from ci.release.plan import Release


def publish(release: Release, target: Path) -> str:
    """Move the staged release to `target` in one step and say so.

    A release that is there already is compared and left as it is. Raises FactoryError, with the
    file's name, where it differs.
    """
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        try:
            release.folder.rename(target)
        except OSError:
            if not target.exists():
                raise
            # Another run was first: what it made is compared like any other.
        else:
            return f"{release.tag} is complete in {target}"
    if name := _difference(release.folder, target):
        raise FactoryError(
            f"{target} holds another release: {name} differs.",
            hint="A finished release is never altered: choose another folder with --to.",
        )
    return f"{release.tag} is in {target} already, the same in every byte"


def _difference(ours: Path, theirs: Path) -> str:
    """Return the name of the first file that one lacks or that differs; empty if there is none."""
    if not theirs.is_dir():
        return theirs.name
    names = sorted({path.name for folder in (ours, theirs) for path in folder.iterdir()})
    for name in names:
        pair = [folder / name for folder in (ours, theirs)]
        if not all(path.is_file() for path in pair) or len({*map(hash_file, pair)}) > 1:
            return name
    return ""
