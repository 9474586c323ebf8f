"""What an index lists: the files of every release, as the release's own manifest has them."""

from __future__ import annotations

import datetime as dt
import email
import hashlib
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from packaging.version import Version

from ci.errors import FactoryError
from ci.manifest import NAME, read_manifest
from ci.repack import find_dist_info
from ci.version import tag_to_version


@dataclass(frozen=True)
class File:
    """A wheel or an sdist; `url` is relative to the top of the index, or absolute."""

    name: str
    url: str
    sha256: str
    size: int
    platform: str  # of a wheel: its platform tag; empty for the sdist
    metadata_sha256: str = ""  # of the wheel's METADATA, which lies at the url + ".metadata"


@dataclass(frozen=True)
class Release:
    """The files of one tag; `date` is the commit's."""

    tag: str
    version: Version
    date: dt.date
    requires_python: str
    files: tuple[File, ...]


def read_folder(folder: Path) -> tuple[Release, Path]:
    """Return the release that lies in `folder`, which is named as its tag."""
    tag = folder.name
    manifest = read_manifest(folder)
    if manifest.version != tag_to_version(tag):
        raise FactoryError(
            f"{folder} holds version {manifest.version}, and its name says {tag}.",
            hint="A release's folder is called like its tag; `nox -s release` makes it so.",
        )
    files = []
    requires = set()
    for wheel in manifest.wheels:
        metadata = read_metadata(folder / wheel.file)
        requires.add(str(email.message_from_bytes(metadata)["Requires-Python"]))
        files.append(
            File(
                name=wheel.file,
                url=f"files/{tag}/{wheel.file}",
                sha256=wheel.sha256,
                size=wheel.size,
                platform=platform_of(wheel.file),
                metadata_sha256=hashlib.sha256(metadata).hexdigest(),
            )
        )
    sdist = manifest.sdist
    files.append(File(sdist.file, f"files/{tag}/{sdist.file}", sdist.sha256, sdist.size, ""))
    date = dt.datetime.fromtimestamp(manifest.source_date_epoch, dt.timezone.utc).date()
    (requires_python,) = requires
    return Release(tag, Version(manifest.version), date, requires_python, tuple(files)), folder


def read_folders(top: Path) -> list[tuple[Release, Path]]:
    """Return every release below `top`, the newest first; raises FactoryError if there is none."""
    folders = sorted(path.parent for path in top.glob(f"v*/{NAME}"))
    if not folders:
        raise FactoryError(
            f"{top} holds no release.",
            hint=f"It should hold a folder per tag, each with its {NAME}: "
            "`nox -s release -- --tag v1.2.3 --to DIR/v1.2.3` makes one.",
        )
    return sorted(map(read_folder, folders), key=lambda pair: pair[0].version, reverse=True)


def platform_of(wheel: str) -> str:
    """Return the platform tag in a wheel's name."""
    return wheel.removesuffix(".whl").rpartition("-")[2]


def read_metadata(wheel: Path) -> bytes:
    """Return the METADATA of a wheel, byte for byte."""
    with zipfile.ZipFile(wheel) as archive:
        dist_info = find_dist_info(dict.fromkeys(archive.namelist(), b""))
        return archive.read(f"{dist_info}/METADATA")


def newest(releases: Iterable[Release]) -> Release:
    """Return the release that a person wants: the newest final one, else the newest of all."""
    listed = list(releases)
    final = [release for release in listed if not release.version.is_prerelease]
    return max(final or listed, key=lambda release: release.version)
