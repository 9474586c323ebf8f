"""The records of a run of GitHub Actions, from the artifacts that its failed jobs have left."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import httpx

from ci.errors import FactoryError
from ci.record import FOLDER
from ci.release.github.place import TOKENS

RUN = re.compile(r"(https?://[^/]+)/([\w.-]+/[\w.-]+)/actions/runs/(\d+)(?:[/?#].*)?")
PUBLIC = "https://github.com"


@dataclass(frozen=True)
class Place:
    """Where to ask, and with what: the token goes to `api` and to nobody else."""

    api: str
    repository: str
    run: str
    token: str


def is_run(what: str) -> bool:
    """Whether `what` looks like an address at all."""
    return what.startswith(("http://", "https://"))


def find_place(url: str, environ: Mapping[str, str]) -> Place:
    """Return where the run's artifacts are.

    Raises FactoryError for what is not a run, a server that is not the user's, and no token.
    """
    match = RUN.fullmatch(url)
    if match is None:
        raise FactoryError(
            f"{url} is not the address of an Actions run.",
            hint="It looks like https://github.com/OWNER/NAME/actions/runs/NUMBER.",
        )
    server, repository, run = match.groups()
    own = environ.get("GITHUB_SERVER_URL", PUBLIC)
    if server not in {PUBLIC, own}:
        raise FactoryError(
            f"{server} is not a server that your token is for.",
            hint="Set GITHUB_SERVER_URL to it if it is yours.",
        )
    token = next((environ[name] for name in TOKENS if environ.get(name)), "")
    if not token:
        raise FactoryError(
            "artifacts are given to nobody without a token.",
            hint="Set GH_TOKEN to one that may read actions (`gh auth token` prints yours).",
        )
    api = "https://api.github.com" if server == PUBLIC else f"{server}/api/v3"
    return Place(environ.get("GITHUB_API_URL", api), repository, run, token)


def download_record(url: str, name: str, folder: Path, environ: Mapping[str, str]) -> Path:
    """Write the record of the run at `url` into `folder` and return its path.

    `name` chooses among several; it may be empty where there is one.
    """
    records = dict(read_records(find_place(url, environ)))
    hint = f"Choose one with --record: {', '.join(records)}."
    if not records:
        raise FactoryError(
            "no artifact of that run holds a record.",
            hint="A job leaves one when a session fails; artifacts are kept for a few days.",
        )
    if name and name not in records:
        raise FactoryError(f"that run has no record {name!r}.", hint=hint)
    if not name and len(records) > 1:
        raise FactoryError(f"that run has {len(records)} records.", hint=hint)
    path = folder / "record.json"
    path.write_bytes(records[name] if name else next(iter(records.values())))
    return path


def read_records(place: Place) -> Iterator[tuple[str, bytes]]:
    """Yield the records in the run's artifacts, each by the names of artifact and session."""
    url = f"{place.api}/repos/{place.repository}/actions/runs/{place.run}/artifacts"
    headers = {"Authorization": f"Bearer {place.token}", "Accept": "application/vnd.github+json"}
    # A redirect leads to a storage server; httpx takes the token along to no other host.
    with httpx.Client(headers=headers, follow_redirects=True, timeout=60) as client:
        for artifact in _pages(client, url):
            if not artifact["expired"]:
                archive = _get(client, artifact["archive_download_url"]).content
                for session, record in _members(archive):
                    yield f"{artifact['name']}/{session}", record


def _pages(client: httpx.Client, url: str) -> Iterator[dict[str, Any]]:
    after: str | None = f"{url}?per_page=100"
    while after:
        response = _get(client, after)
        yield from response.json()["artifacts"]
        after = response.links.get("next", {}).get("url")


def _members(archive: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield what lies in a folder of records, wherever in the archive that is."""
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        for member in map(PurePosixPath, opened.namelist()):
            if member.parent.name == FOLDER.name and member.suffix == ".json":
                yield member.stem, opened.read(str(member))


def _get(client: httpx.Client, url: str) -> httpx.Response:
    """Return the answer to a request; an error names its path, and never the token."""
    path = httpx.URL(url).path
    try:
        response = client.get(url)
    except httpx.TransportError as error:
        raise FactoryError(f"GitHub cannot be reached ({type(error).__name__}, {path}).") from None
    if not response.is_success:
        raise FactoryError(
            f"GitHub answered {response.status_code} for {path}.",
            hint="401 is a wrong token, 403 one that may not read actions, 404 no such run or no "
            "right to see it, 410 an artifact that has been deleted.",
        )
    return response
