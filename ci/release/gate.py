"""What a release refuses: anything but one clean commit, its tag, and every wheel it owes."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from ci.checks import FAILED, NOT_RUN, PASSED
from ci.errors import FactoryError, UsageError
from ci.lanes import Lane
from ci.manifest import NAME, Manifest, WheelRecord, read_manifest
from ci.toolchain import lock_digest
from ci.verify import checks_of
from ci.version import SPELLING, TAG, Source, read_source, tag_to_version

BUILD = "Build every lane at the tag with `nox -s wheels`, or gather the wheelhouses of the jobs."


@dataclass(frozen=True)
class Gathered:
    """The wheelhouses of one commit as one: each file's path, and the manifest of all."""

    manifest: Manifest
    files: tuple[Path, ...]  # wheels in the manifest's order, then the sdist


def check_tag(root: Path, tag: str) -> Source:
    """Return the checkout's state, which is clean and at `tag`; raises FactoryError otherwise."""
    if not TAG.fullmatch(tag):
        raise UsageError(f"{tag!r} is not a release tag.", hint=SPELLING)
    found = subprocess.run(
        ["git", "-C", root, "rev-parse", "--verify", "--quiet", f"refs/tags/{tag}^{{commit}}"],
        capture_output=True,
        text=True,
        check=False,
    )
    if found.returncode:
        raise FactoryError(
            f"there is no tag {tag} here.",
            hint=f"Make it with `git tag {tag}`, or fetch it with `git fetch --tags`.",
        )
    source = read_source(root)
    if source.tag != tag:
        raise FactoryError(
            f"the tag {tag} is at {found.stdout.strip()[:12]}, and HEAD is at "
            f"{source.commit[:12]}.",
            hint=f"Check the tag out with `git checkout {tag}` and build there.",
        )
    if source.dirty:
        raise FactoryError(
            "the tree holds changes that the tag does not.",
            hint="Commit them and tag that commit, or remove them; `git status` lists them.",
        )
    return source


def gather(folder: Path) -> Gathered:
    """Return what lies in `folder`: one wheelhouse, or a folder for each job's wheelhouse.

    Raises FactoryError when two of them are not of one source, or when a file is not listed.
    """
    if not folder.is_dir():
        raise UsageError(f"there is no wheelhouse {folder}.", hint=BUILD)
    houses = [folder] if (folder / NAME).exists() else sorted(folder.iterdir())
    if not houses:
        raise FactoryError(f"{folder} is empty.", hint=BUILD)
    merged = None
    wheels: list[tuple[WheelRecord, Path]] = []
    for house in houses:
        manifest = read_manifest(house)
        _refuse_strangers(house, manifest)
        if merged is not None and (other := _difference(merged, manifest)):
            raise FactoryError(
                f"{house} differs from {houses[0]} in its {other}, so they are not one release.",
                hint="Build all lanes from one commit.",
            )
        merged = manifest
        wheels += [(wheel, house / wheel.file) for wheel in manifest.wheels]
    assert merged is not None  # noqa: S101 - there is a first house
    wheels.sort(key=lambda pair: pair[0].file)
    records = tuple(record for record, _ in wheels)
    return Gathered(
        replace(merged, wheels=records),
        (*(path for _, path in wheels), houses[0] / merged.sdist.file),
    )


def leave_out(gathered: Gathered, lanes: Mapping[str, Lane]) -> Gathered:
    """Return `gathered` without the wheels of lanes that are not released; say which."""
    *paths, sdist = gathered.files
    kept = []
    for wheel, path in zip(gathered.manifest.wheels, paths, strict=True):
        lane = lanes.get(wheel.lane)
        if lane and not lane.released:
            print(f"{wheel.file} is left out: ci/lanes.toml does not release {lane.id}.")
        else:
            kept.append((wheel, path))
    manifest = replace(gathered.manifest, wheels=tuple(wheel for wheel, _ in kept))
    return Gathered(manifest, (*(path for _, path in kept), sdist))


def check_wheels(manifest: Manifest, source: Source, lanes: Mapping[str, Lane]) -> None:
    """Raise FactoryError unless `manifest` has what a release of `source` must have, no more."""
    version = tag_to_version(source.tag)
    if manifest.version != version:
        raise FactoryError(
            f"the wheels are of version {manifest.version}, and {source.tag} is {version}.",
            hint=BUILD,
        )
    if manifest.commit != source.commit:
        raise FactoryError(
            f"the wheels were built from commit {manifest.commit[:12]}, and {source.tag} is "
            f"{source.commit[:12]}.",
            hint=BUILD,
        )
    if manifest.dirty:
        raise FactoryError("the wheels were built from a tree with changes.", hint=BUILD)
    built = [wheel.lane for wheel in manifest.wheels]
    wanted = [lane.id for lane in lanes.values() if lane.released]
    for lane in wanted:
        if built.count(lane) != 1:
            raise FactoryError(
                f"a release holds one wheel of lane {lane}, and the wheelhouse has "
                f"{built.count(lane)}.",
                hint=BUILD,
            )
    if extra := sorted(set(built) - set(wanted)):
        raise FactoryError(
            f"the wheelhouse has a wheel of lane {extra[0]}, which ci/lanes.toml does not know.",
            hint=BUILD,
        )
    for wheel in manifest.wheels:
        _check_wheel(wheel, lanes[wheel.lane])


def _check_wheel(wheel: WheelRecord, lane: Lane) -> None:
    if wheel.file != (name := f"mlc_llm-{wheel.file.split('-')[1]}-py3-none-{lane.platform}.whl"):
        raise FactoryError(f"{wheel.file} should be called {name}.", lane=lane.id, hint=BUILD)
    if wheel.toolchain_lock != lock_digest():
        raise FactoryError(
            f"{wheel.file} was made with another toolchain than ci/locks/toolchain.txt.",
            lane=lane.id,
            hint=BUILD,
        )
    names = {check.name for check in wheel.checks}
    if absent := [name for name in ("archive", *checks_of(lane)) if name not in names]:
        raise FactoryError(
            f'{wheel.file} never met the check "{absent[0]}".', lane=lane.id, hint=BUILD
        )
    for check in wheel.checks:
        skipped = check.status == NOT_RUN and not _any(check.name, lane.may_not_run)
        if check.status == FAILED or skipped:
            raise FactoryError(
                f'the check "{check.name}" of {wheel.file} is "{check.status}": {check.detail}.',
                lane=lane.id,
                hint="A release takes no such wheel: build where every check can run.",
            )
    if not any(c.name.startswith("smoke") and c.status == PASSED for c in wheel.checks):
        raise FactoryError(f"{wheel.file} was never run by a smoke test.", lane=lane.id, hint=BUILD)


def _any(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _difference(first: Manifest, second: Manifest) -> str:
    fields = ("version", "commit", "dirty", "source_date_epoch", "sdist")
    return next((f for f in fields if getattr(first, f) != getattr(second, f)), "")


def _refuse_strangers(house: Path, manifest: Manifest) -> None:
    listed = {NAME, manifest.sdist.file, *(wheel.file for wheel in manifest.wheels)}
    if extra := sorted(path.name for path in house.iterdir() if path.name not in listed):
        raise FactoryError(
            f"{house} holds {extra[0]}, which {NAME} does not list.", hint="Move it away."
        )
