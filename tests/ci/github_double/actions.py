"""What each operation does to the memory, and answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from github_double.contract import Call
from github_double.render import render_asset, render_ref, render_release, render_tag_object
from github_double.state import AnswerError, Asset, Release, Repository

BYTES = "application/octet-stream"
Answer = tuple[int, Any, dict[str, str]]


@dataclass
class Request:
    """A request that may be served, and what serving it takes."""

    repository: Repository
    bases: Mapping[str, str]  # the addresses of both hosts
    page: int  # the most items on one page
    call: Call
    values: dict[str, str]
    writer: bool
    truncated: bool

    def release(self, release: Release) -> Any:
        """Return a release as JSON."""
        return render_release(self.repository, release, self.bases["api"], self.bases["uploads"])

    def asset(self, asset: Asset) -> Any:
        """Return an asset as JSON."""
        return render_asset(self.repository, asset, self.bases["api"])

    def pages(self, items: list[Any]) -> Answer:
        """Answer with the page that the query asks for."""
        query = self.call.query
        size = min(int(query.get("per_page", "30")), self.page)
        page = int(query.get("page", "1"))
        following = urlencode(query | {"page": str(page + 1)})
        url = f"{self.bases['api']}{self.call.path}?{following}"
        headers = {"Link": f'<{url}>; rel="next"'} if page * size < len(items) else {}
        return 200, items[(page - 1) * size : page * size], headers


def _list_releases(request: Request) -> Answer:
    releases = request.repository.releases.values()
    seen = [release for release in releases if request.writer or not release.draft]
    return request.pages([request.release(release) for release in reversed(seen)])


def _release_by_tag(request: Request) -> Answer:
    for release in request.repository.published:
        if release.fields["tag_name"] == request.values["tag"]:
            return 200, request.release(release), {}
    raise AnswerError(404, "Not Found")  # for a draft, too


def _create_release(request: Request) -> Answer:
    return 201, request.release(request.repository.create(json.loads(request.call.body))), {}


def _change_release(request: Request) -> Answer:
    release = request.repository.find(int(request.values["release_id"]))
    request.repository.change(release, json.loads(request.call.body))
    return 200, request.release(release), {}


def _remove_release(request: Request) -> Answer:
    request.repository.remove(request.repository.find(int(request.values["release_id"])))
    return 204, None, {}


def _list_assets(request: Request) -> Answer:
    release = request.repository.find(int(request.values["release_id"]))
    if release.draft and not request.writer:
        raise AnswerError(404, "Not Found")
    return request.pages([request.asset(asset) for asset in release.assets.values()])


def _upload_asset(request: Request) -> Answer:
    call = request.call
    release = request.repository.find(int(request.values["release_id"]))
    asset = request.repository.begin_upload(release, call.query["name"], call.content_type)
    if not request.truncated:
        asset.data = call.body + b"!" * request.repository.corrupt
        asset.state = "uploaded"
    return 201, request.asset(asset), {}


def _show_asset(request: Request) -> Answer:
    release, asset = request.repository.find_asset(int(request.values["asset_id"]))
    if release.draft and not request.writer:
        raise AnswerError(404, "Not Found")
    if request.call.accept == BYTES:
        return 302, None, {"Location": f"{request.bases['uploads']}/storage/{asset.id}"}
    return 200, request.asset(asset), {}


def _remove_asset(request: Request) -> Answer:
    release, asset = request.repository.find_asset(int(request.values["asset_id"]))
    request.repository.remove_asset(release, asset)
    return 204, None, {}


def _show_ref(request: Request) -> Answer:
    kind, _, name = request.values["ref"].partition("/")
    if kind != "tags" or name not in request.repository.tags:
        raise AnswerError(404, "Not Found")
    return 200, render_ref(request.repository, name), {}


def _show_tag_object(request: Request) -> Answer:
    sha = request.values["tag_sha"]
    if sha not in request.repository.tag_objects:
        raise AnswerError(404, "Not Found")
    return 200, render_tag_object(request.repository, sha), {}


ACTIONS: dict[str, Callable[[Request], Answer]] = {
    "GET /releases": _list_releases,
    "POST /releases": _create_release,
    "GET /releases/tags/{tag}": _release_by_tag,
    "PATCH /releases/{release_id}": _change_release,
    "DELETE /releases/{release_id}": _remove_release,
    "GET /releases/{release_id}/assets": _list_assets,
    "POST /releases/{release_id}/assets": _upload_asset,
    "GET /releases/assets/{asset_id}": _show_asset,
    "DELETE /releases/assets/{asset_id}": _remove_asset,
    "GET /git/ref/{ref}": _show_ref,
    "GET /git/tags/{tag_sha}": _show_tag_object,
}
