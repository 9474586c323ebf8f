"""GitHub's own OpenAPI description, asked about each request and each answer."""

from __future__ import annotations

import functools
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from openapi_core import Config, OpenAPI
from openapi_core.exceptions import OpenAPIError
from openapi_core.testing import MockRequest, MockResponse

DESCRIPTION = Path(__file__).with_name("openapi.json")
DOCUMENT = json.loads(DESCRIPTION.read_text(encoding="utf-8"))
HOSTS = {"api": "https://api.github.com", "uploads": "https://uploads.github.com"}
# Refusals that every operation may answer with, though the description names them for some.
ANYWHERE = {401, 403, 404, 422}


@dataclass(frozen=True)
class Call:
    """A request as it came; `host` is api or uploads."""

    host: str
    method: str
    target: str
    content_type: str
    body: bytes
    accept: str = "application/vnd.github+json"

    @property
    def path(self) -> str:
        """The path, still percent-encoded."""
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        """The query's words."""
        return dict(parse_qsl(urlsplit(self.target).query, keep_blank_values=True))


@functools.cache
def openapi() -> OpenAPI:
    """Return the description, read once; fields that it does not name are faults."""
    config = Config(additional_properties_default_policy="forbid")
    return OpenAPI.from_dict(DOCUMENT, config=config)


def route(method: str, path: str) -> tuple[str, dict[str, str]]:
    """Return the description's path that `path` is one of, and the values in it; ("", {}) if none.

    A value holds no slash: that of a Git reference has to be encoded.
    """
    for template, item in DOCUMENT["paths"].items():
        pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", template)
        if method.lower() in item and (match := re.fullmatch(pattern, path)):
            return template, {name: unquote(value) for name, value in match.groupdict().items()}
    return "", {}


# Runs send the same few requests again and again: each is judged once.
@functools.lru_cache(maxsize=4096)
def request_fault(call: Call) -> str:
    """Return why GitHub's description does not allow `call`; empty if it does."""
    try:
        openapi().validate_request(_request(call))
    except OpenAPIError as error:
        return f"{call.method} {call.host} {call.target}: {error} {error.__cause__ or ''}".strip()
    operation = _operation(call)
    known = {_resolved(parameter)["name"] for parameter in operation["parameters"]}
    if unknown := sorted(call.query.keys() - known):
        return f"{call.method} {call.path}: the query has an unknown {unknown[0]}"
    if call.body and "requestBody" not in operation:
        return f"{call.method} {call.path}: it takes no body"
    return ""


@functools.lru_cache(maxsize=4096)
def answer_fault(call: Call, status: int, text: str) -> str:
    """Return why the double's own answer is not one of GitHub's; empty if it is."""
    if str(status) not in _operation(call)["responses"]:
        return "" if status in ANYWHERE else f"{call.method} {call.path} never answers {status}"
    if text == "null":
        return ""
    # The description's list of states lacks the one that its prose tells of.
    data = text.replace('"state": "starter"', '"state": "open"').encode()
    response = MockResponse(data, status_code=status, content_type="application/json")
    try:
        openapi().validate_response(_request(call), response)
    except OpenAPIError as error:
        return f"{call.method} {call.path} -> {status}: {error} {error.__cause__ or ''}".strip()
    return ""


def _request(call: Call) -> MockRequest:
    return MockRequest(
        HOSTS[call.host],
        call.method.lower(),
        call.path,
        args=call.query,
        data=call.body or None,
        content_type=call.content_type,
    )


def _operation(call: Call) -> dict[str, Any]:
    template, _ = route(call.method, call.path)
    operation: dict[str, Any] = DOCUMENT["paths"][template][call.method.lower()]
    return operation


def _resolved(node: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in node:
        return node
    _, _, kind, name = node["$ref"].split("/")
    part: dict[str, Any] = DOCUMENT["components"][kind][name]
    return part
