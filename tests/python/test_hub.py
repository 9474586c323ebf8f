"""Models of the hub: a small server that speaks the hub's protocol stands in for it."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from mlc_llm.hub import resolve

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = {
    "mlc-chat-config.json": b"{}",
    "params_shard_0.bin": b"weights",
    "README.md": b"not needed",
}
REPOSITORIES = ("org/model", "org/half", "org/failing")


class Hub(BaseHTTPRequestHandler):
    """Has REPOSITORIES at one commit, and "gated", which is closed.

    A file of "half" breaks off midway; for one of "failing" there is an error of the server.
    """

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        repository = "/".join(path.removeprefix("/api/models").split("/")[1:3])
        if repository in REPOSITORIES and path.startswith("/api/"):
            siblings = [{"rfilename": name} for name in FILES]
            entry = {"id": repository, "sha": COMMIT, "siblings": siblings}
            tree = [
                {"type": "file", "path": name, "size": len(data), "oid": "0" * 40}
                for name, data in FILES.items()
            ]
            self.reply(200, json.dumps(tree if "/tree/" in path else entry).encode())
        elif (repository, self.command) == ("org/failing", "GET"):
            self.reply(500, b"{}")
        elif repository in REPOSITORIES:
            self.reply(200, FILES[path.rpartition("/")[2]])
        elif "gated" in path:
            self.reply(403, b"{}", {"X-Error-Code": "GatedRepo"})
        else:
            self.reply(404, b"{}", {"X-Error-Code": "RepoNotFound"})

    def reply(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        etag = hashlib.sha1(body, usedforsecurity=False).hexdigest()
        fixed = {"Content-Length": str(len(body)), "ETag": f'"{etag}"', "X-Repo-Commit": COMMIT}
        for name, value in (fixed | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body[:1] if self.path.startswith("/org/half/") else body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def hub() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def ask(tmp_path: Path, run_code: Callable[..., object]) -> Callable[[str, str], tuple[str, str]]:
    """Resolves a model in a fresh process, since the hub's library reads variables at import."""

    def resolve_with(endpoint: str, model: str, offline: str = "0") -> tuple[str, str]:
        variables = {
            "HF_ENDPOINT": endpoint,
            "HF_HOME": str(tmp_path / "cache"),
            "HF_HUB_CACHE": str(tmp_path / "cache/hub"),
            "HF_HUB_OFFLINE": offline,
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }
        done = run_code(
            f"import os, time; os.environ.update({variables!r})\n"
            "time.sleep = lambda _: None  # the library waits before it tries again\n"
            f"from mlc_llm.hub import resolve\nprint(resolve({model!r}))"
        )
        return done.stdout.strip(), done.stderr  # type: ignore[attr-defined]

    return resolve_with


def test_repository_is_fetched_once_and_then_found_offline(
    hub: str, ask: Callable[..., tuple[str, str]]
) -> None:
    fetched, said = ask(hub, "HF://org/model")
    assert fetched, said
    names = {path.name for path in Path(fetched).iterdir()}
    assert names == {"mlc-chat-config.json", "params_shard_0.bin"}
    assert (Path(fetched) / "params_shard_0.bin").read_bytes() == b"weights"
    assert ask(hub, "HF://org/model", "1")[0] == fetched


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("HF://org/missing", "The hub has no repository org/missing"),
        ("HF://org/gated", "HF://org/gated asks for an account"),
        ("HF://org/half", "HF://org/half cannot be fetched: "),
        ("HF://org/failing", "HF://org/failing cannot be fetched: Server error '500"),
    ],
)
def test_repository_that_cannot_be_had_is_explained(
    hub: str, ask: Callable[..., tuple[str, str]], model: str, message: str
) -> None:
    assert f"ValueError: {message}" in ask(hub, model)[1]


@pytest.mark.parametrize(("endpoint", "offline"), [("http://127.0.0.1:9", "0"), ("", "1")])
def test_hub_that_does_not_answer_is_explained(
    ask: Callable[..., tuple[str, str]], endpoint: str, offline: str
) -> None:
    said = ask(endpoint or "http://127.0.0.1:9", "HF://org/model", offline)[1]
    assert "ValueError: HF://org/model is not in the cache, and the hub does not answer" in said


def test_directory_is_itself(tmp_path: Path) -> None:
    assert resolve(str(tmp_path)) == tmp_path


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("nowhere", "There is no directory nowhere"),
        ("org/model", "To fetch it from the hub, write HF://org/model"),
        ("HF://model", "should be HF://ORGANIZATION/NAME"),
        ("HF://../model", "should be HF://ORGANIZATION/NAME"),
        (__file__, "is a file; a model is a directory"),
    ],
)
def test_what_is_no_model_is_explained(model: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        resolve(model)
