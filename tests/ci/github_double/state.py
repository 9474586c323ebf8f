"""What the double remembers: tags, releases, assets; and the rules between them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]
TIME = "2026-01-02T03:04:05Z"
COMMIT = "a" * 40


class AnswerError(Exception):
    """An answer that is no success: `status`, and a message as GitHub words it."""

    def __init__(self, status: int, message: str, *errors: Json) -> None:
        super().__init__(message)
        self.status = status
        self.document: Json = {
            "message": message,
            "documentation_url": "https://docs.github.com/rest",
        }
        if errors:
            self.document |= {"errors": list(errors)}


@dataclass
class Asset:
    """An uploaded file, or in the state `starter` what a broken upload leaves."""

    id: int
    name: str
    content_type: str
    data: bytes = b""
    state: str = "starter"

    @property
    def digest(self) -> str | None:
        """As GitHub states it: none before the upload is whole."""
        whole = self.state == "uploaded"
        return f"sha256:{hashlib.sha256(self.data).hexdigest()}" if whole else None


@dataclass
class Release:
    """A release; `fields` are what clients set."""

    id: int
    fields: Json
    assets: dict[int, Asset] = field(default_factory=dict)

    @property
    def draft(self) -> bool:
        """Whether only writers of the repository see it."""
        return bool(self.fields["draft"])


@dataclass
class Repository:
    """One repository. `expected` is what a complete release holds: digest by file name."""

    expected: Mapping[str, str] = field(default_factory=dict)
    name: str = "o/r"
    tokens: dict[str, str] = field(default_factory=lambda: {"good-token": "write"})
    tags: dict[str, Json] = field(
        default_factory=lambda: {"v1.2.3": {"type": "commit", "sha": COMMIT}}
    )
    tag_objects: dict[str, Json] = field(default_factory=dict)
    releases: dict[int, Release] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)  # what an onlooker or a reviewer would object to
    corrupt: bool = False  # whether what is uploaded arrives with a byte more
    last_id: int = 0

    def next_id(self) -> int:
        """Return a number that nothing has yet."""
        self.last_id += 1
        return self.last_id

    @property
    def published(self) -> list[Release]:
        """What everybody sees."""
        return [release for release in self.releases.values() if not release.draft]

    def look(self) -> None:
        """Look at the public side, as somebody might at any moment; note what is incomplete."""
        for release in self.published:
            shown = {asset.name: asset.digest for asset in release.assets.values()}
            if shown != self.expected:
                self.wrong.append(f"release {release.id} is public with {shown}")

    def find(self, release_id: int) -> Release:
        """Return a release or raise 404."""
        if release_id not in self.releases:
            raise AnswerError(404, "Not Found")
        return self.releases[release_id]

    def create(self, fields: Json) -> Release:
        """Make a release; several drafts may have one tag."""
        self._check_workflows(fields)
        defaults = {"draft": False, "prerelease": False, "body": None, "name": None}
        release = Release(self.next_id(), {"target_commitish": "main", **defaults, **fields})
        self._check_publication(release.id, release.fields)
        self.releases[release.id] = release
        return release

    def change(self, release: Release, fields: Json) -> None:
        """Set a release's fields; publish it perhaps."""
        self._check_workflows(fields)
        merged = {**release.fields, **fields}
        if not release.draft:
            self.wrong.append(f"published release {release.id} was changed: {fields}")
            raise AnswerError(422, "Cannot change an immutable release")
        self._check_publication(release.id, merged)
        release.fields = merged

    def remove(self, release: Release) -> None:
        """Delete a release."""
        if not release.draft:
            self.wrong.append(f"published release {release.id} was deleted")
        del self.releases[release.id]

    def begin_upload(self, release: Release, name: str, content_type: str) -> Asset:
        """Return the asset that an upload is going to fill."""
        if not release.draft:
            self.wrong.append(f"{name} was uploaded to published release {release.id}")
            raise AnswerError(422, "Cannot upload assets to an immutable release.")
        name = re.sub(r"[^\w.-]", ".", name)  # GitHub renames without a word
        if any(asset.name == name for asset in release.assets.values()):
            error = {"resource": "ReleaseAsset", "code": "already_exists", "field": "name"}
            raise AnswerError(422, "Validation Failed", error)
        asset = Asset(self.next_id(), name, content_type)
        release.assets[asset.id] = asset
        return asset

    def find_asset(self, asset_id: int) -> tuple[Release, Asset]:
        """Return an asset and its release, or raise 404."""
        for release in self.releases.values():
            if asset_id in release.assets:
                return release, release.assets[asset_id]
        raise AnswerError(404, "Not Found")

    def remove_asset(self, release: Release, asset: Asset) -> None:
        """Delete an asset."""
        if not release.draft:
            self.wrong.append(f"{asset.name} was deleted from published release {release.id}")
            raise AnswerError(422, "Cannot delete asset from an immutable release")
        del release.assets[asset.id]

    def _check_workflows(self, fields: Json) -> None:
        """Raise 404 if `fields` name a commit: its workflows may be others than those of main."""
        if fields.get("target_commitish", "main") != "main":
            raise AnswerError(404, "Not Found")

    def _check_publication(self, release_id: int, fields: Json) -> None:
        """Raise 422 if `fields` publish a second release of their tag."""
        taken = any(
            other.id != release_id and other.fields["tag_name"] == fields["tag_name"]
            for other in self.published
        )
        if taken and not fields["draft"]:
            error = {"resource": "Release", "code": "already_exists", "field": "tag_name"}
            raise AnswerError(422, "Validation Failed", error)
        if not fields["draft"] and fields["tag_name"] not in self.tags:
            self.wrong.append(f"publishing made the tag {fields['tag_name']}")
