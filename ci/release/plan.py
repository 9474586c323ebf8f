"""What a release is: a tag, its notes and its files, each with the digest that it must have."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ci.manifest import hash_file

SUMS = "SHA256SUMS"
NOTES = "NOTES.md"


@dataclass(frozen=True)
class Asset:
    """One file of the release; `size` in bytes."""

    path: Path
    size: int
    sha256: str

    @property
    def name(self) -> str:
        """The file's name in the release."""
        return self.path.name

    @property
    def digest(self) -> str:
        """The sum as GitHub states it."""
        return f"sha256:{self.sha256}"


@dataclass(frozen=True)
class Release:
    """A whole release, staged in one folder: every file of it but NOTES.md is an asset."""

    tag: str
    version: str
    commit: str
    prerelease: bool
    folder: Path
    notes: str
    assets: tuple[Asset, ...]


def describe(path: Path) -> Asset:
    """Return the asset that the file `path` is."""
    return Asset(path, path.stat().st_size, hash_file(path))
