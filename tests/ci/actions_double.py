"""A small GitHub: one run with artifacts, and a storage server that its downloads lead to."""

from __future__ import annotations

import contextlib
import io
import json
import threading
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = "ghp_s3cret"  # noqa: S105 - of nobody
RUN = "/repos/owner/name/actions/runs/7/artifacts"


def archive(files: Mapping[str, str]) -> bytes:
    """Return a zip of `files`."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as opened:
        for name, text in files.items():
            opened.writestr(name, text)
    return data.getvalue()


@dataclass
class Double:
    """What the servers hold, and what they were asked: (server, path, token)."""

    artifacts: dict[str, bytes] = field(default_factory=dict)
    expired: set[str] = field(default_factory=set)
    status: int = 200
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    api: str = ""
    storage: str = ""


class Handler(BaseHTTPRequestHandler):
    """Notes what it was asked."""

    name: str
    double: Double

    def do_GET(self) -> None:
        token = self.headers.get("Authorization", "")
        self.double.asked.append((self.name, self.path, token))
        self.answer(token)

    def answer(self, token: str) -> None:
        raise NotImplementedError

    def send(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


class Api(Handler):
    name = "api"

    def answer(self, token: str) -> None:
        path, _, _ = self.path.partition("?")
        if token != f"Bearer {TOKEN}":
            self.send(401)
        elif self.double.status != 200:
            self.send(self.double.status)
        elif path == RUN:
            self.list()
        else:
            self.send(302, Location=f"{self.double.storage}{path}")

    def list(self) -> None:
        """Send what there is."""
        double = self.double
        shown = [
            {"id": number, "name": name, "expired": name in double.expired}
            for number, name in enumerate(double.artifacts)
        ]
        self.send(200, json.dumps({"artifacts": shown}).encode())


class Storage(Handler):
    name = "storage"

    def answer(self, token: str) -> None:  # noqa: ARG002
        number = int(self.path.split("/")[-2])
        self.send(200, [*self.double.artifacts.values()][number])


@contextlib.contextmanager
def serve(double: Double) -> Iterator[Double]:
    """Serve `double` on two ports of the loopback: the API, and another host for its files."""
    with contextlib.ExitStack() as stack:
        for base in (Api, Storage):
            handler = type(base.__name__, (base,), {"double": double})
            server = stack.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), handler))
            thread = threading.Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.shutdown)
            setattr(double, base.name, f"http://127.0.0.1:{server.server_port}")
        yield double
