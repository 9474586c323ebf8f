"""Runs of publishing against the double, in which no time passes."""

from __future__ import annotations

import hashlib
from pathlib import Path

from github_double import Double

from ci.release.github.client import Client
from ci.release.github.place import Place
from ci.release.github.publish import Watch, publish
from ci.release.plan import SUMS, Release, describe

TAG = "v1.2.3"
TOKEN = "good-token"  # noqa: S105 - the double's own
FILES = {"a.whl": b"wheel a", "manifest.json": b"{}", SUMS: b"sums"}
COMMIT = "a" * 40


class Killed(BaseException):
    """The process is killed."""


class World:
    """The outside of a run: time passes at once, and is counted."""

    def __init__(self, *, dying: bool = False) -> None:
        self.now = 1_700_000_000.0
        self.waits: list[float] = []
        self.said: list[str] = []
        self.dying = dying

    def pause(self, seconds: float) -> None:
        """Wait, or die: a cut connection is followed by a pause, before anything else is done."""
        if self.dying:
            raise Killed
        self.waits.append(seconds)
        self.now += seconds


def make_release(folder: Path, files: dict[str, bytes], tag: str = TAG) -> Release:
    """Return a release of `files`, staged in `folder`."""
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return Release(
        tag=tag,
        version=tag[1:],
        commit=COMMIT,
        prerelease="-" in tag,
        folder=folder,
        notes="What is new.",
        assets=tuple(describe(folder / name) for name in sorted(files)),
    )


def digests() -> dict[str, str]:
    """Return what the server must state of FILES."""
    return {name: f"sha256:{hashlib.sha256(data).hexdigest()}" for name, data in FILES.items()}


def run(double: Double, release: Release, world: World | None = None, token: str = TOKEN) -> str:
    """Run the whole of publishing, as a new process would."""
    world = world or World()
    place = Place("o/r", "https://github.com", double.bases["api"], token)
    with Client(place, clock=lambda: world.now) as client:
        return publish(client, release, Watch(pause=world.pause, say=world.said.append))


def check_end(double: Double) -> None:
    """At the end: one published release, complete, nothing left over, nothing ever wrong."""
    repository = double.repository
    assert repository.wrong == []
    (only,) = repository.releases.values()
    assert not only.draft
    assert {asset.name: asset.digest for asset in only.assets.values()} == repository.expected
