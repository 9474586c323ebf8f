"""Lay out every file of a release in one folder."""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from ci import sbom
from ci.lanes import Lane
from ci.manifest import write_manifest
from ci.paths import LOCKS
from ci.release.gate import Gathered
from ci.release.notes import write_notes
from ci.release.plan import NOTES, SUMS, Asset, Release, describe
from ci.release.provenance import make_provenance
from ci.repack import find_dist_info

PROVENANCE = "provenance.json"
# What lies beside each wheel of what is in its .dist-info folder: for auditors, and for an index.
INSIDE = {".cdx.json": sbom.NAME, ".metadata": "METADATA"}


def stage(
    gathered: Gathered,
    folder: Path,
    *,
    tag: str,
    subjects: Sequence[str],
    lanes: Mapping[str, Lane],
    url: str,
) -> Release:
    """Fill the empty `folder` and return the release; `url` is the repository's, or empty.

    The same arguments give the same bytes, on any machine and at any time.
    """
    manifest = gathered.manifest
    for path in gathered.files:
        shutil.copyfile(path, folder / path.name)
    write_manifest(folder, manifest)
    for wheel in manifest.wheels:
        for suffix, name in INSIDE.items():
            copy = read_dist_info(folder / wheel.file, name)
            (folder / f"{wheel.file}{suffix}").write_bytes(copy)
    locks = sorted(LOCKS.glob("*.txt"))
    proof = make_provenance(manifest, _assets(folder), locks, tag=tag, url=url, environ=os.environ)
    (folder / PROVENANCE).write_bytes(proof)
    lines = [f"{a.sha256}  {a.name}\n" for a in _assets(folder)]
    (folder / SUMS).write_text("".join(lines), encoding="utf-8", newline="\n")
    assets = _assets(folder)
    downloads = f"{url}/releases/download/{tag}/" if url else "./"
    notes = write_notes(subjects, assets, lanes.values(), downloads)
    (folder / NOTES).write_text(notes, encoding="utf-8", newline="\n")
    return Release(
        tag=tag,
        version=manifest.version,
        commit=manifest.commit,
        prerelease="-" in tag,
        folder=folder,
        notes=notes,
        assets=assets,
    )


def read_dist_info(wheel: Path, name: str) -> bytes:
    """Return a file of the `.dist-info` folder in `wheel`."""
    with zipfile.ZipFile(wheel) as archive:
        dist_info = find_dist_info(dict.fromkeys(archive.namelist(), b""))
        return archive.read(f"{dist_info}/{name}")


def _assets(folder: Path) -> tuple[Asset, ...]:
    return tuple(describe(path) for path in sorted(folder.iterdir()))
