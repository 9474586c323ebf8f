"""What the actions that the workflows use do, as far as it can be seen from outside."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

Options = Mapping[str, Any]


class UnknownError(Exception):
    """A workflow uses what this runner does not know: it would be left out in silence."""


def expect(found: Mapping[str, Any], known: set[str]) -> None:
    """Refuse keys that are not known here."""
    if unknown := sorted(found.keys() - known):
        raise UnknownError(f"the runner does not know {', '.join(unknown)}")


@dataclass(frozen=True)
class Place:
    """Where a job runs, and where what is kept beyond it goes."""

    workspace: Path
    artifacts: Path  # of this run: a folder for each
    logins: Path  # the file that `podman login` writes
    pages: Path  # what is served after a deployment


def clean(workspace: Path) -> None:
    """Remove everything from the clone that git does not track, but nox's environments."""
    listed = ["git", "ls-files", "-z", "--others", "--directory"]
    done = subprocess.run(listed, cwd=workspace, check=True, capture_output=True, text=True)
    for name in {*done.stdout.split("\0")} - {"", ".nox/"}:
        path = workspace / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def checkout(_: Place, options: Options) -> None:
    """Do nothing: the runner has cleaned the clone for the job."""
    expect(options, {"fetch-depth", "persist-credentials"})


def login(place: Place, options: Options) -> None:
    """Write the password where the engines look for it."""
    expect(options, {"registry", "username", "password"})
    text = f"{options['username']}:{options['password']}"
    entry = {"auth": base64.b64encode(text.encode()).decode()}
    place.logins.write_text(json.dumps({"auths": {options["registry"]: entry}}))


def upload_artifact(place: Place, options: Options) -> None:
    """Copy what patterns match, and folders hold, into an artifact that there is not yet."""
    expect(options, {"name", "path", "retention-days", "if-no-files-found"})
    target = place.artifacts / options["name"]
    assert not target.exists(), f"two artifacts are called {target.name}"
    patterns = [place.workspace / pattern for pattern in options["path"].split()]
    # As upload-artifact has it: names begin where all patterns' parts without a wildcard end.
    fixed = [Path(re.split(r"/[^/]*[*?\[]", str(pattern))[0]) for pattern in patterns]
    top = Path(os.path.commonpath(fixed))
    matches = [match for words in options["path"].split() for match in place.workspace.glob(words)]
    found = {file for match in matches for file in (match, *match.rglob("*")) if file.is_file()}
    assert found or options.get("if-no-files-found") != "error", f"nothing in {options['path']}"
    for path in sorted(found):
        copy = target / path.relative_to(top)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, copy)


def download_artifact(place: Place, options: Options) -> None:
    """Copy one artifact into a folder, or each that a pattern matches into one of its own."""
    expect(options, {"name", "pattern", "path"})
    target = place.workspace / options["path"]
    match dict(options):
        case {"name": name, "path": _}:
            shutil.copytree(place.artifacts / name, target, dirs_exist_ok=True)
        case {"pattern": pattern, "path": _}:
            found = [path for path in place.artifacts.iterdir() if fnmatch(path.name, pattern)]
            assert found, f"no artifact is called {pattern}"
            for path in found:
                shutil.copytree(path, target / path.name, dirs_exist_ok=True)


def attest(place: Place, options: Options) -> None:
    """See that there is something to attest."""
    expect(options, {"subject-path"})
    for pattern in options["subject-path"].split():
        assert list(place.workspace.glob(pattern)), f"nothing is called {pattern}"


def upload_pages(place: Place, options: Options) -> None:
    """Keep a folder for the deployment."""
    expect(options, {"name", "path"})
    shutil.copytree(place.workspace / options["path"], place.artifacts / options["name"])


def deploy_pages(place: Place, options: Options) -> None:
    """Let the kept folder be what is served."""
    expect(options, {"artifact_name"})
    shutil.rmtree(place.pages, ignore_errors=True)
    shutil.copytree(place.artifacts / options["artifact_name"], place.pages)


ACTIONS: Mapping[str, Callable[[Place, Options], None]] = {
    "actions/attest-build-provenance": attest,
    "actions/checkout": checkout,
    "actions/deploy-pages": deploy_pages,
    "actions/download-artifact": download_artifact,
    "actions/upload-artifact": upload_artifact,
    "actions/upload-pages-artifact": upload_pages,
    "docker/login-action": login,
}
