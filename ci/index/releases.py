"""What an index lists: the files of every release, as the release's own manifest has them."""

from __future__ import annotations

import datetime as dt
import email
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from packaging.version import Version

from ci.errors import FactoryError, UsageError
from ci.manifest import NAME, hash_file, read_manifest
from ci.release.stage import read_dist_info
from ci.version import tag_to_version


@dataclass(frozen=True)
class File:
    """A wheel or an sdist; `url` is relative to the top of the index, or absolute."""

    name: str
    url: str
    sha256: str
    size: int
    platform: str  # of a wheel: its platform tag; empty for the sdist
    metadata_sha256: str = ""  # of a wheel: of its METADATA, which lies at the url + ".metadata"


@dataclass(frozen=True)
class Release:
    """The files of one tag; `date` is the commit's."""

    tag: str
    version: Version
    date: dt.date
    requires_python: str
    files: tuple[File, ...]


def read_folder(folder: Path, downloads: str = "files") -> Release:
    """Return the release that lies in `folder`, which is named as its tag.

    `downloads` is the address below which each tag's files are: relative to the index, or not.
    Raises FactoryError for a file that is not as the release's manifest has it.
    """
    tag = folder.name
    manifest = read_manifest(folder)
    if manifest.version != tag_to_version(tag):
        raise FactoryError(
            f"{folder} holds version {manifest.version}, and its name says {tag}.",
            hint="A release's folder is called like its tag; `nox -s release` makes it so.",
        )
    address = f"{downloads}/{tag}"
    sdist = manifest.sdist
    requires = {read_requires_python(folder / wheel.file) for wheel in manifest.wheels}
    (requires_python,) = requires
    return Release(
        tag,
        Version(manifest.version),
        dt.datetime.fromtimestamp(manifest.source_date_epoch, dt.timezone.utc).date(),
        requires_python,
        (
            *(
                File(
                    name=wheel.file,
                    url=f"{address}/{wheel.file}",
                    sha256=wheel.sha256,
                    size=wheel.size,
                    platform=wheel.file.removesuffix(".whl").rpartition("-")[2],
                    metadata_sha256=hash_file(folder / f"{wheel.file}.metadata"),
                )
                for wheel in manifest.wheels
            ),
            File(sdist.file, f"{address}/{sdist.file}", sdist.sha256, sdist.size, platform=""),
        ),
    )


def find_folders(top: Path) -> list[Path]:
    """Return the folder of every release below `top`; raises FactoryError if there is none."""
    folders = sorted(path.parent for path in top.glob(f"v*/{NAME}"))
    if not folders:
        raise UsageError(
            f"{top} holds no release.",
            hint=f"It should hold a folder per tag, each with its {NAME}: "
            "`nox -s release -- --tag v1.2.3 --to DIR/v1.2.3` makes one.",
        )
    return folders


def read_requires_python(wheel: Path) -> str:
    """Return which Pythons a wheel is for."""
    return str(email.message_from_bytes(read_dist_info(wheel, "METADATA"))["Requires-Python"])


def newest(releases: Iterable[Release]) -> Release:
    """Return the release that a person wants: the newest final one, else the newest of all."""
    listed = list(releases)
    final = [release for release in listed if not release.version.is_prerelease]
    return max(final or listed, key=lambda release: release.version)
