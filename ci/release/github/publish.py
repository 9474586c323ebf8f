"""From a staged release to a published one: look at what is there, take the next step, repeat.

There is one way to go on, after a crash as after a lost answer: look again. A published release is
compared and never touched. A draft belongs to the run that made it and to no other: two runs that
shared one could change it under each other's hands, even at the moment of publishing. What crashed
runs leave behind is removed once the tag is published, when no draft of it can be any more.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx

from ci.errors import FactoryError
from ci.release.github.client import Client, RefusedError, TroubleError
from ci.release.plan import Release

MOST_TROUBLES = 8  # in one run
LONGEST_WAIT_S = 3600.0
FIRST_WAIT_S, MOST_WAIT_S = 1.0, 60.0
ROUNDS = 3  # of uploading what the server states another digest for
MARK = "<!-- made by nox -s release -->"  # in the notes: drafts without it are somebody's own
Json = dict[str, Any]


@dataclass
class Watch:
    """What a run tells and asks of the world outside: waiting and showing progress."""

    pause: Callable[[float], object] = time.sleep
    uploaded: Callable[[str, int], object] = lambda _name, _size: None
    say: Callable[[str], object] = print


class GoneError(Exception):
    """Another run has changed what this one was working on: look again."""


def publish(client: Client, release: Release, watch: Watch) -> str:
    """Bring the release about and say how; any number of times, from wherever things stand.

    Raises FactoryError where a person is needed: a differing published release, a missing right,
    trouble that does not pass.
    """
    troubles = 0
    work = _Work(client, release, watch)
    while True:
        try:
            return work.attempt()
        except (TroubleError, GoneError) as trouble:  # noqa: PERF203 - a wait follows anyway
            troubles += 1
            seconds = trouble.seconds if isinstance(trouble, TroubleError) else None
            if troubles > MOST_TROUBLES or (seconds or 0) > LONGEST_WAIT_S:
                raise FactoryError(
                    f"{release.tag} is not published: {trouble}.",
                    hint="Nothing incomplete is public. Run the same command again later; it also "
                    "removes what this run leaves.",
                ) from None
            wait = back_off(troubles, seconds)
            watch.say(f"{trouble}; again in {wait:.0f} s")
            watch.pause(wait)


def back_off(troubles: int, seconds: float | None) -> float:
    """Return how long to wait: what the server said, else ever longer; never in step."""
    least = min(FIRST_WAIT_S * 2 ** (troubles - 1), MOST_WAIT_S) if seconds is None else seconds
    return least + random.SystemRandom().uniform(0, 1 + least / 4)


class _Work:
    """One run's way through the steps."""

    def __init__(self, client: Client, release: Release, watch: Watch) -> None:
        self.client, self.release, self.watch = client, release, watch
        self.draft: Json | None = None  # what this run fills and publishes
        self.made: list[int] = []  # the ids of all its drafts

    def attempt(self) -> str:
        """Go from whatever is there to the published release."""
        tag = self.release.tag
        published = self.client.get(f"/releases/tags/{tag}") or self._finish_draft()
        self._remove_drafts()
        self._compare(published)
        page = published["html_url"]
        if published["id"] in self.made:
            return f"{tag} is published: {page}"
        if self.made:
            return f"another run was first, and published the same {tag}: {page}"
        return f"{tag} is published already, the same in every byte: {page}"

    def _finish_draft(self) -> Json:
        """Return this run's draft, filled and published."""
        self._check_tag()
        if self.draft is None:
            self.draft = self._create_draft()
        try:
            self._fill(self.draft)
            self._check_tag()  # once more, since uploading takes a while
            return self._publish(self.draft)
        except RefusedError as refusal:
            if refusal.status != httpx.codes.NOT_FOUND and "already_exists" not in refusal.codes:
                raise
            self.draft = None
            raise GoneError(f"another run is publishing {self.release.tag} ({refusal})") from None

    def _compare(self, published: Json) -> None:
        """Raise FactoryError if the published release is not this one, file by file."""
        theirs = {asset["name"]: asset for asset in self._assets(published)}
        ours = {asset.name: asset.digest for asset in self.release.assets}
        for name in sorted({*theirs, *ours}):
            there = theirs.get(name)
            if there is None or there["state"] != "uploaded" or there["digest"] != ours.get(name):
                kind = "differs" if there and name in ours else "is only in one of the two"
                raise FactoryError(
                    f"{self.release.tag} is published already, with other files: {name} {kind}.",
                    hint="A published release is never altered. Tag a new version.",
                )

    def _check_tag(self) -> None:
        """Raise FactoryError unless GitHub has the tag, at the commit that was built.

        Without it, publishing would make the tag, at whatever the default branch is.
        """
        tag = self.release.tag
        found = self.client.get(f"/git/ref/tags%2F{tag}")
        if found is None:
            raise FactoryError(
                f"{self.client.place.name} has no tag {tag}, or this token may not see it.",
                hint=f"Push it with `git push origin {tag}`.",
            )
        target = found["object"]
        if target["type"] == "tag":  # an annotated tag is an object of its own
            target = (self.client.get(f"/git/tags/{target['sha']}") or found)["object"]
        if target["sha"] != self.release.commit:
            raise FactoryError(
                f"the tag {tag} of {self.client.place.name} is at {target['sha'][:12]}, and the "
                f"files were built from {self.release.commit[:12]}.",
                hint=f"Fetch it with `git fetch --force origin tag {tag}`, and build it again.",
            )

    def _create_draft(self) -> Json:
        body = {**self._facts(), "draft": True, "body": f"{self.release.notes}\n{MARK}\n"}
        draft: Json = self.client.send("POST", "/releases", body)
        self.made.append(draft["id"])
        return draft

    def _facts(self) -> Json:
        """Return what a draft and the release say; the commit is the tag's, which is there.

        With `target_commitish`, GitHub asks for the right to change workflows, which no workflow's
        token has, as soon as the default branch has others than the tag.
        """
        release = self.release
        return {
            "tag_name": release.tag,
            "name": release.tag,
            "prerelease": release.prerelease,
        }

    def _fill(self, draft: Json) -> None:
        """Upload until the server states every digest as it must be, and no other file."""
        wanted = {asset.name: asset for asset in self.release.assets}
        for _ in range(ROUNDS):
            missing = dict(wanted)
            for there in self._assets(draft):
                asset = wanted.get(there["name"])
                if asset and there["state"] == "uploaded" and there["digest"] == asset.digest:
                    del missing[asset.name]
                else:
                    self.client.delete(f"/releases/assets/{there['id']}")
            for name in set(wanted) - set(missing):
                self.watch.uploaded(name, wanted[name].size)
            if not missing:
                return
            for asset in missing.values():
                self._upload(draft, asset.name)
        raise FactoryError(
            f"GitHub keeps stating another digest for {', '.join(missing)} than was sent.",
            hint="Nothing is public. Run the command again; if this stays, ask GitHub's support.",
        )

    def _upload(self, draft: Json, name: str) -> None:
        path = self.release.folder / name
        sent = 0

        def count(size: int) -> None:
            nonlocal sent
            sent += size
            self.watch.uploaded(name, sent)

        self.client.upload(draft["upload_url"], path, count)

    def _publish(self, draft: Json) -> Json:
        latest = "false" if self.release.prerelease else "legacy"
        body = {**self._facts(), "make_latest": latest, "draft": False}
        published: Json = self.client.send("PATCH", f"/releases/{draft['id']}", body)
        return published

    def _remove_drafts(self) -> None:
        """Remove what runs that crashed or lost have left of this tag, which is published."""
        for release in self.client.pages("/releases"):
            ours = release["tag_name"] == self.release.tag and MARK in (release["body"] or "")
            if release["draft"] and ours:
                self.client.delete(f"/releases/{release['id']}")

    def _assets(self, release: Json) -> list[Json]:
        return list(self.client.pages(f"/releases/{release['id']}/assets"))
