"""The records of a run of GitHub Actions, from the artifacts that its failed jobs have left."""

from __future__ import annotations

import re
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from ci.errors import FactoryError
from ci.record import FOLDER
from ci.release.github.client import Client, RefusedError, TroubleError
from ci.release.github.place import TOKENS, Place

RUN = re.compile(r"(https?://[^/]+)/([\w.-]+/[\w.-]+)/actions/runs/(\d+)(?:[/?#].*)?")
PUBLIC = "https://github.com"


def is_run(what: str) -> bool:
    """Whether `what` looks like an address at all."""
    return what.startswith(("http://", "https://"))


def find_run(url: str, environ: Mapping[str, str]) -> tuple[Place, str]:
    """Return the repository of the run at `url`, and the run's number.

    Raises FactoryError for what is not a run, a server that is not the user's, and no token.
    """
    match = RUN.fullmatch(url)
    if match is None:
        raise FactoryError(
            f"{url} is not the address of an Actions run.",
            hint="It looks like https://github.com/OWNER/NAME/actions/runs/NUMBER.",
        )
    server, repository, run = match.groups()
    # The token goes to this server's API, so the address alone must not choose it.
    if server not in {PUBLIC, environ.get("GITHUB_SERVER_URL")}:
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
    return Place(repository, server, environ.get("GITHUB_API_URL", api), token), run


def download_record(url: str, name: str, folder: Path, environ: Mapping[str, str]) -> Path:
    """Write the record of the run at `url` into `folder` and return its path.

    `name` chooses among several; it may be empty where there is one.
    """
    records = dict(read_records(*find_run(url, environ)))
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


def read_records(place: Place, run: str) -> Iterator[tuple[str, bytes]]:
    """Yield the records in the run's artifacts, each by the names of artifact and session."""
    with Client(place) as client, tempfile.TemporaryDirectory(prefix="mlc_llm-") as scratch:
        try:
            listed = client.get(f"/actions/runs/{run}/artifacts?per_page=100")
            for artifact in listed["artifacts"] if listed else []:
                if not artifact["expired"]:
                    archive = Path(scratch) / "artifact.zip"
                    client.download(f"/actions/artifacts/{artifact['id']}/zip", archive)
                    for session, record in _members(archive):
                        yield f"{artifact['name']}/{session}", record
        except RefusedError as refused:
            raise FactoryError(
                f"GitHub refused the run's artifacts ({refused.status}).",
                hint="The token must be able to read actions of this repository.",
            ) from None
        except TroubleError as trouble:
            raise FactoryError(f"{trouble}.", hint="Try again later.") from None
        except zipfile.BadZipFile:  # cut off, or a page that something put between us
            raise FactoryError("an artifact did not arrive whole.", hint="Try again.") from None


def _members(archive: Path) -> Iterator[tuple[str, bytes]]:
    """Yield what lies in a folder of records, wherever in the archive that is."""
    with zipfile.ZipFile(archive) as opened:
        for member in map(PurePosixPath, opened.namelist()):
            if member.parent.name == FOLDER.name and member.suffix == ".json":
                yield member.stem, opened.read(str(member))
