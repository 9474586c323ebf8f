"""What the double remembers, as GitHub's JSON."""

from __future__ import annotations

from typing import Any

from github_double.state import TIME, Asset, Release, Repository

Json = dict[str, Any]
URLS = (
    *("followers", "following", "gists", "starred", "subscriptions", "organizations", "repos"),
    *("events", "received_events"),
)
USER: Json = {
    "login": "releaser",
    "id": 1,
    "node_id": "U1",
    "avatar_url": "https://example.com/a.png",
    "gravatar_id": "",
    "url": "https://example.com/u",
    "html_url": "https://example.com/u",
    "type": "User",
    "site_admin": False,
} | {f"{name}_url": "https://example.com/u" for name in URLS}


def render_release(repository: Repository, release: Release, api: str, uploads: str) -> Json:
    """Return a release as the API shows it; `api` and `uploads` are the hosts' addresses."""
    url = f"{api}/repos/{repository.name}/releases/{release.id}"
    tag = release.fields["tag_name"]
    shown = {name: value for name, value in release.fields.items() if name != "make_latest"}
    return shown | {
        "url": url,
        "html_url": f"https://example.com/{repository.name}/releases/tag/{tag}",
        "assets_url": f"{url}/assets",
        "upload_url": f"{uploads}/repos/{repository.name}/releases/{release.id}/assets"
        "{?name,label}",
        "tarball_url": None if release.draft else "https://example.com/t",
        "zipball_url": None if release.draft else "https://example.com/z",
        "id": release.id,
        "node_id": f"R{release.id}",
        "immutable": not release.draft,
        "created_at": TIME,
        "published_at": None if release.draft else TIME,
        "author": USER,
        "assets": [render_asset(repository, asset, api) for asset in release.assets.values()],
    }


def render_asset(repository: Repository, asset: Asset, api: str) -> Json:
    """Return an asset as the API shows it."""
    return {
        "url": f"{api}/repos/{repository.name}/releases/assets/{asset.id}",
        "browser_download_url": f"{api}/download/{asset.id}",
        "id": asset.id,
        "node_id": f"A{asset.id}",
        "name": asset.name,
        "label": "",
        "state": asset.state,
        "content_type": asset.content_type,
        "size": len(asset.data),
        "digest": asset.digest,
        "download_count": 0,
        "created_at": TIME,
        "updated_at": TIME,
        "uploader": USER,
    }


def render_ref(repository: Repository, tag: str) -> Json:
    """Return a tag's reference as the API shows it."""
    target = repository.tags[tag]
    return {
        "ref": f"refs/tags/{tag}",
        "node_id": "T1",
        "url": "https://example.com/ref",
        "object": target | {"url": "https://example.com/object"},
    }


def render_tag_object(repository: Repository, sha: str) -> Json:
    """Return an annotated tag as the API shows it."""
    return {
        "node_id": "O1",
        "tag": "v1.2.3",
        "sha": sha,
        "url": "https://example.com/tag",
        "message": "release",
        "tagger": {"date": TIME, "email": "r@example.com", "name": "releaser"},
        "object": repository.tag_objects[sha] | {"url": "https://example.com/object"},
    }
