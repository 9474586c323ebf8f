"""What a container registry itself says that it holds: its HTTPS interface, without an engine."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any

from ci.errors import FactoryError, UsageError

TIMEOUT_S = 60
KINDS = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
REFUSALS = {401, 403}
NAME = re.compile(r"(?P<host>[\w.-]+(?::\d+)?)/(?P<path>[a-z0-9._/-]+)")


@dataclass(frozen=True)
class RemoteImage:
    """An image in a registry: its manifest, byte for byte, and what its configuration says."""

    manifest: bytes
    kind: str  # media type of the manifest
    config: str  # digest of the configuration: the image's id in an engine
    labels: Mapping[str, str]

    @property
    def digest(self) -> str:
        """The image's address in its registry, "sha256:..."."""
        return f"sha256:{hashlib.sha256(self.manifest).hexdigest()}"


class Repository:
    """One repository of a registry, with the login that podman or docker keeps for it."""

    def __init__(self, name: str, environ: Mapping[str, str] = os.environ) -> None:
        # Registries know no capitals; the owner of a GitHub repository may have some.
        match = NAME.fullmatch(name.lower())
        if match is None:
            raise UsageError(
                f"{name!r} is not the name of a repository in a registry.",
                hint="It is HOST/PATH without a scheme or a tag, as in ghcr.io/owner/name.",
            )
        self.name = match[0]
        self.host, self.path = match["host"], match["path"]
        self._login = find_login(self.host, environ)
        self._authorization = ""

    def find(self, reference: str) -> RemoteImage | None:
        """Return the image with that tag or digest, or None if there is none."""
        answer = self._ask("GET", f"manifests/{reference}", {"Accept": ", ".join(KINDS)})
        if answer is None:
            return None
        manifest, kind = answer
        try:
            config = json.loads(manifest)["config"]["digest"]
        except (ValueError, LookupError, TypeError) as error:
            raise FactoryError(
                f"{self.host} has {kind} as {self.path}:{reference}, not the manifest of an image.",
                hint="Is it a registry, and was the tag made by `nox -s image -- --push`?",
            ) from error
        blob = self._ask("GET", f"blobs/{config}", {})
        if blob is None:
            raise FactoryError(f"{self.name}:{reference} has lost its configuration {config}.")
        try:
            labels = json.loads(blob[0]).get("config", {}).get("Labels")
        except (ValueError, AttributeError) as error:
            raise FactoryError(
                f"{self.name}:{reference} has a damaged configuration {config}: {error}."
            ) from error
        return RemoteImage(manifest, kind, config, labels or {})

    def tag(self, image: RemoteImage, tag: str) -> None:
        """Make `tag` name `image`, which the repository holds: the same bytes, so one digest."""
        if self._ask("PUT", f"manifests/{tag}", {"Content-Type": image.kind}, image.manifest):
            return
        raise FactoryError(f"{self.host} has no repository {self.path}.")

    def _ask(
        self, method: str, what: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> tuple[bytes, str] | None:
        """Return the body and media type of the answer, or None for what is not there."""
        request = urllib.request.Request(
            f"https://{self.host}/v2/{self.path}/{what}", body, dict(headers), method=method
        )
        try:
            with self._open(request) as response:
                return response.read(), response.headers.get_content_type()
        except urllib.error.HTTPError as error:
            if error.code == 404:  # noqa: PLR2004
                return None
            if error.code in REFUSALS:
                raise FactoryError(
                    f"{self.host} refuses {method} of {self.path}: "
                    f"{'this login may not' if self._login else 'nobody is logged in'}.",
                    hint=f"Log in with `podman login {self.host}` or docker's, as somebody who "
                    "may; the password comes from the engine's file, never from an option.",
                ) from error
            raise FactoryError(
                f"{self.host} answers {method} of {self.path}/{what} with {error}.",
                hint="Run the same command again: what is there is not pushed twice.",
            ) from error
        except (OSError, HTTPException) as error:
            raise FactoryError(
                f"{self.host} cannot be reached: {error}.",
                hint="Check the network; a registry of your own may need its CA in SSL_CERT_FILE.",
            ) from error

    def _open(self, request: urllib.request.Request, *, again: bool = True) -> HTTPResponse:
        """Send `request`, and once more with what the registry asks for.

        The authorization is not for other hosts: registries redirect to where the bytes lie.
        """
        if self._authorization:
            request.add_unredirected_header("Authorization", self._authorization)
        try:
            return send(request)
        except urllib.error.HTTPError as error:
            if error.code != 401 or not again:  # noqa: PLR2004
                raise
            # The first time, or a token that ran out while the engine was pushing.
            self._authorization = self._authorize(error.headers.get("WWW-Authenticate", ""))
            if not self._authorization:
                raise
        return self._open(request, again=False)

    def _authorize(self, challenge: str) -> str:
        """Return the Authorization header that answers `challenge`; empty if there is none."""
        basic = f"Basic {self._login}" if self._login else ""
        if not challenge.lower().startswith("bearer "):
            return basic
        fields = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
        realm = fields.get("realm", "")
        if not realm.startswith("https://"):
            raise FactoryError(f"{self.host} sends logins to {realm!r}, which is not https.")
        actions = "pull,push" if self._login else "pull"
        query = {"scope": f"repository:{self.path}:{actions}"}
        query |= {"service": fields["service"]} if "service" in fields else {}
        request = urllib.request.Request(f"{realm}?{urllib.parse.urlencode(query)}")  # noqa: S310
        if basic:
            request.add_unredirected_header("Authorization", basic)
        try:
            with send(request) as response:
                answer: dict[str, Any] = json.load(response)
            return f"Bearer {answer.get('token') or answer['access_token']}"
        except (urllib.error.HTTPError, ValueError, LookupError, AttributeError) as error:
            if isinstance(error, urllib.error.HTTPError) and error.code in REFUSALS:
                raise
            # Above all a 404, which there would say that the image is absent.
            raise FactoryError(
                f"{self.host} sends logins to {realm}, which gives no token: {error}.",
                hint="Run the same command again; is a proxy's page in between?",
            ) from error


def send(request: urllib.request.Request) -> HTTPResponse:
    """Send one request; a server whose certificate nobody vouches for is refused."""
    response: HTTPResponse = urllib.request.urlopen(request, timeout=TIMEOUT_S)  # noqa: S310
    return response


def find_login(host: str, environ: Mapping[str, str]) -> str:
    """Return "user:password" in base64 as `podman login` or `docker login` keep it, or empty."""
    return next(filter(None, (read_login(path, host) for path in login_files(environ))), "")


def read_login(path: Path, host: str) -> str:
    """Return what one file of logins has for `host`, or empty."""
    try:
        entry = json.loads(path.read_text(encoding="utf-8")).get("auths", {}).get(host, {})
        login = str(entry.get("auth", ""))
        base64.b64decode(login, validate=True)
    except FileNotFoundError:
        return ""
    except (ValueError, AttributeError) as error:
        raise FactoryError(f"{path} is not a file of logins: {error}.") from error
    return login


def login_files(environ: Mapping[str, str]) -> Iterator[Path]:
    """Yield where podman and docker keep logins, in podman's order."""
    if chosen := environ.get("REGISTRY_AUTH_FILE"):
        yield Path(chosen)
        return
    home = Path.home()
    if runtime := environ.get("XDG_RUNTIME_DIR"):
        yield Path(runtime, "containers", "auth.json")
    elif hasattr(os, "getuid"):
        yield Path(f"/run/containers/{os.getuid()}/auth.json")
    yield Path(environ.get("XDG_CONFIG_HOME") or home / ".config", "containers", "auth.json")
    yield Path(environ.get("DOCKER_CONFIG") or home / ".docker", "config.json")
