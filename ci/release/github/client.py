"""Requests to GitHub: what came back, or what is wrong, in a sentence and never with the token."""

from __future__ import annotations

import functools
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx

from ci.errors import FactoryError
from ci.release.github.place import Place

TIMEOUT = httpx.Timeout(30, write=120)
CHUNK = 1 << 20
SECONDARY_LIMIT_S = 60.0  # GitHub's advice where a refusal names no time
TRANSIENT = {408, 500, 502, 503, 504}


class TroubleError(Exception):
    """A request failed in a way that passes: wait (`seconds`, if the server said) and look again.

    Whether the server did what it was asked is not known.
    """

    def __init__(self, message: str, seconds: float | None = None) -> None:
        super().__init__(message)
        self.seconds = seconds


class RefusedError(FactoryError):
    """The server understood and will not: `status`, and the `codes` of its validation errors."""

    def __init__(self, message: str, *, hint: str, status: int, codes: tuple[str, ...]) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.codes = codes


@functools.cache
def tls() -> ssl.SSLContext:
    """Return what httpx trusts by default; reading all certificates takes as long as a request."""
    return httpx.create_ssl_context()


class Client:
    """One repository's API."""

    def __init__(self, place: Place, *, clock: Callable[[], float] = time.time) -> None:
        self.place = place
        self.clock = clock
        headers = {
            "Accept": "application/vnd.github+json",
            "X-GitHub-Api-Version": "2022-11-28",
            "User-Agent": "mlc_llm-factory",
        }
        if place.token:
            headers["Authorization"] = f"Bearer {place.token}"
        self.http = httpx.Client(headers=headers, timeout=TIMEOUT, verify=tls())
        self.base = f"{place.api}/repos/{place.name}"

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def get(self, path: str) -> Any:
        """Return the JSON of `path` below the repository, or None for what is not there."""
        response = self.request("GET", f"{self.base}{path}", absent=True)
        return None if response.status_code == httpx.codes.NOT_FOUND else _json(response)

    def pages(self, path: str) -> Iterator[dict[str, Any]]:
        """Yield every item of a list, page after page."""
        url: str | None = f"{self.base}{path}?per_page=100"
        while url:
            response = self.request("GET", url)
            yield from _json(response)
            url = response.links.get("next", {}).get("url")

    def send(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Change something below the repository and return the answer's JSON, if it has any."""
        response = self.request(method, f"{self.base}{path}", json=body)
        return _json(response) if response.content else None

    def delete(self, path: str) -> None:
        """Delete something, unless it has gone already."""
        response = self.request("DELETE", f"{self.base}{path}", absent=True)
        if response.content and response.is_success:
            raise TroubleError(f"DELETE {response.request.url.path}: a page came back")

    def upload(self, url: str, path: Path, progress: Callable[[int], object]) -> None:
        """Upload a file to a release's own upload address; `progress` is told of bytes sent."""

        def chunks() -> Iterator[bytes]:
            with path.open("rb") as file:
                while chunk := file.read(CHUNK):
                    yield chunk
                    progress(len(chunk))

        size = str(path.stat().st_size)
        headers = {"Content-Type": "application/octet-stream", "Content-Length": size}
        # `params` would replace the address's own query, were there one.
        target = httpx.URL(url.partition("{")[0]).copy_merge_params({"name": path.name})
        _json(self.request("POST", str(target), content=chunks(), headers=headers))

    def download(self, path: str, target: Path) -> None:
        """Write an asset's bytes to `target`; the token stays behind where GitHub sends us on."""
        headers = {"Accept": "application/octet-stream"}
        response = self.request("GET", f"{self.base}{path}", headers=headers, follow_redirects=True)
        target.write_bytes(response.content)

    def request(
        self, method: str, url: str, *, absent: bool = False, **content: Any
    ) -> httpx.Response:
        """Return the answer to a request, a 404 too if `absent` allows it.

        Raises TroubleError for what may pass, RefusedError for what will not.
        """
        what = f"{method} {httpx.URL(url).path}"
        try:
            response = self.http.request(method, url, **content)
        except httpx.RequestError as error:
            reason = str(error) or type(error).__name__
            raise TroubleError(self.redacted(f"{what}: {reason}")) from None
        status = response.status_code
        if response.is_success or (absent and status == httpx.codes.NOT_FOUND):
            return response
        if (wait := self._limit(response)) is not None:
            raise TroubleError(f"{what}: GitHub limits the rate of requests", wait)
        if status in TRANSIENT:
            raise TroubleError(f"{what}: GitHub answered {status}")
        raise self._refusal(what, response)

    def redacted(self, text: str) -> str:
        """Return `text` without the token, should a library or the server have put it there."""
        return text.replace(self.place.token, "***") if self.place.token else text

    def _limit(self, response: httpx.Response) -> float | None:
        """Return the seconds to wait if this is a rate limit, by the header that says so."""
        if response.status_code not in {403, 429}:
            return None
        headers = response.headers
        if (after := headers.get("Retry-After", "")).isdigit():
            return float(after)
        if headers.get("X-RateLimit-Remaining") == "0":
            reset = headers.get("X-RateLimit-Reset", "")
            return max(0.0, float(reset) - self.clock()) if reset.isdigit() else SECONDARY_LIMIT_S
        limited = response.status_code == httpx.codes.TOO_MANY_REQUESTS
        return SECONDARY_LIMIT_S if limited or "rate limit" in response.text.lower() else None

    def _refusal(self, what: str, response: httpx.Response) -> RefusedError:
        status, name = response.status_code, self.place.name
        said, codes = _message(response)
        hint = ""
        if status == httpx.codes.UNAUTHORIZED:
            text = "GitHub does not accept the token: it has expired, was revoked or is mistyped."
            hint = "Make a new one and set GITHUB_TOKEN to it."
        elif status == httpx.codes.FORBIDDEN:
            text = f"the token may not write the releases of {name} ({said})."
            hint = 'It needs the right "contents: write" on this repository.'
        elif status == httpx.codes.NOT_FOUND:
            text = f"{name} has no such thing, or the token may not see it ({what})."
            hint = 'Check the repository\'s name, and that the token has "contents: write" on it.'
        elif response.is_redirect:
            text = f"{name} has moved to {response.headers.get('Location', 'another place')}."
            hint = "Set GITHUB_REPOSITORY, or origin, to its new name."
        else:
            text = f"{what}: GitHub answered {status}: {said}."
        return RefusedError(self.redacted(text), hint=hint, status=status, codes=codes)


def _json(response: httpx.Response) -> Any:
    """Return an answer's JSON; raises TroubleError for a page that something put between us."""
    try:
        return response.json()
    except ValueError:
        request = response.request
        raise TroubleError(f"{request.method} {request.url.path}: no JSON came back") from None


def _message(response: httpx.Response) -> tuple[str, tuple[str, ...]]:
    """Return what an error answer says, and the codes of its validation errors."""
    try:
        document = response.json()
    except ValueError:
        return response.text[:200].strip(), ()
    if not isinstance(document, dict):
        return str(document)[:200], ()
    errors = [error for error in document.get("errors") or [] if isinstance(error, dict)]
    return str(document.get("message")), tuple(str(error.get("code")) for error in errors)
