"""Which repository on which GitHub a release goes to, and with whose token."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from ci.errors import FactoryError

TOKENS = ("GH_TOKEN", "GITHUB_TOKEN")
LOCAL = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True)
class Place:
    """A repository, `name` as OWNER/NAME; `token` is empty for somebody who only reads."""

    name: str
    server: str
    api: str
    token: str = field(repr=False)

    @property
    def url(self) -> str:
        """The repository's page."""
        return f"{self.server}/{self.name}"


def find_place(root: Path, environ: Mapping[str, str]) -> Place | None:
    """Return where the checkout's releases are: what a workflow says, else what origin says.

    Raises FactoryError for a token that cannot be one, or that would leave unencrypted.
    """
    server = environ.get("GITHUB_SERVER_URL", "https://github.com").rstrip("/")
    name = environ.get("GITHUB_REPOSITORY") or _origin(root, server)
    if not name:
        return None
    api = environ.get("GITHUB_API_URL", "https://api.github.com").rstrip("/")
    variable = next((variable for variable in TOKENS if environ.get(variable)), "")
    token = environ.get(variable, "").strip()
    if not re.fullmatch(r"[\x21-\x7e]*", token):
        raise FactoryError(
            f"{variable} holds no token: it has spaces or other characters that none has.",
            hint="Set it again, without quotes or line breaks.",
        )
    url = httpx.URL(api)
    if token and url.scheme != "https" and url.host not in LOCAL:
        raise FactoryError(
            f"GITHUB_API_URL is {api}, where a token would be sent unencrypted.",
            hint="Use an https:// address.",
        )
    return Place(name, server, api, token)


def _origin(root: Path, server: str) -> str:
    found = subprocess.run(
        ["git", "-C", root, "remote", "get-url", "origin"],
        capture_output=True,
        text=True,
        check=False,
    )
    host = re.escape(httpx.URL(server).host)
    pattern = (
        rf"(?:https://(?:[^@/]+@)?{host}/|(?:ssh://)?git@{host}[:/])([^/]+/[^/]+?)(?:\.git)?/?"
    )
    match = re.fullmatch(pattern, found.stdout.strip())
    return match[1] if match else ""
