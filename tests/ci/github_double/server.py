"""The double's two hosts, for the API and for uploads, and what a request meets on its way in."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from github_double.actions import ACTIONS, BYTES, Answer, Request
from github_double.contract import Call, answer_fault, request_fault, route
from github_double.faults import JSON, Fault
from github_double.state import AnswerError, Repository

REPO = "/repos/{owner}/{repo}"
WRITES = {"POST", "PATCH", "PUT", "DELETE"}


@dataclass
class Double:
    """A running double. `begin` gives it a new memory; `calls` are the requests since then."""

    repository: Repository = field(default_factory=Repository)
    faults: dict[int, Fault] = field(default_factory=dict)
    page: int = 100  # the most items on one page
    on_cut: Callable[[], object] = lambda: None  # what happens at the moment of a cut
    on_arrival: dict[int, Callable[[], object]] = field(default_factory=dict)  # before a request
    calls: list[Call] = field(default_factory=list)
    lock: threading.RLock = field(default_factory=threading.RLock)
    bases: dict[str, str] = field(default_factory=dict)

    def begin(self, repository: Repository, *faults: Fault) -> None:
        """Forget everything; `faults` wait for their requests."""
        with self.lock:
            self.repository = repository
            self.faults = {fault.at: fault for fault in faults}
            self.page, self.on_cut = 100, lambda: None
            self.on_arrival.clear()
            self.calls.clear()

    @property
    def writes(self) -> list[str]:
        """Every request that could change something, in a word each."""
        return [f"{call.method} {call.path}" for call in self.calls if call.method in WRITES]

    @classmethod
    @contextmanager
    def run(cls) -> Iterator[Double]:
        """Serve on two ports of loopback until the context ends."""
        double = cls()
        servers = {}
        for host in ("api", "uploads"):
            handler = type("Handler", (_Handler,), {"double": double, "host": host})
            servers[host] = ThreadingHTTPServer(("127.0.0.1", 0), handler)
            double.bases[host] = f"http://127.0.0.1:{servers[host].server_port}"
            threading.Thread(
                target=servers[host].serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
            ).start()
        try:
            yield double
        finally:
            for server in servers.values():
                server.shutdown()
                server.server_close()

    def arrive(self, call: Call) -> Fault | None:
        """Count a request and return what is planned for it."""
        with self.lock:
            number = len(self.calls)
            self.calls.append(call)
        if visit := self.on_arrival.pop(number, None):
            visit()
        return self.faults.get(number)

    def serve(self, call: Call, token: str | None, *, truncated: bool = False) -> Answer:
        """Do what a request asks for; whatever went before it, one at a time."""
        with self.lock:
            if fault := "" if truncated else request_fault(call):
                self.repository.wrong.append(fault)
                return 400, {"message": fault}, {}
            try:
                answer = self._serve(call, token, truncated=truncated)
            except AnswerError as error:
                answer = error.status, error.document, {}
            self.repository.look()
            if fault := answer_fault(call, answer[0], json.dumps(answer[1])):
                self.repository.wrong.append(fault)
            return answer

    def _serve(self, call: Call, token: str | None, *, truncated: bool) -> Answer:
        repository = self.repository
        right = "read" if token is None else repository.tokens.get(token, "")
        if not right:
            raise AnswerError(401, "Bad credentials")
        template, values = route(call.method, call.path)
        if f"{values['owner']}/{values['repo']}" != repository.name:
            raise AnswerError(404, "Not Found")
        if call.method in WRITES and token is None:
            raise AnswerError(401, "Requires authentication")
        if call.method in WRITES and right != "write":
            raise AnswerError(403, "Resource not accessible by personal access token")
        action = ACTIONS[f"{call.method} {template.removeprefix(REPO)}"]
        facts = (repository, self.bases, self.page, call, values)
        return action(Request(*facts, writer=right == "write", truncated=truncated))


class _Handler(BaseHTTPRequestHandler):
    """One connection to one of the hosts."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or each answer waits 40 ms for an acknowledgement
    double: Double
    host: str

    def handle_any(self) -> None:
        """Take a request through its fault to its answer."""
        if self.path.startswith("/storage/"):
            self.store(int(self.path.rpartition("/")[2]))
            return
        length = int(self.headers.get("Content-Length", "0"))
        kind, accept = self.headers.get("Content-Type", ""), self.headers.get("Accept", "")
        # Half of the body is read before anything is decided, for what ends in the middle.
        body = self.rfile.read(length // 2)
        fault = self.double.arrive(Call(self.host, self.command, self.path, kind, body, accept))
        if fault is None or fault.cut not in {"before", "during"}:
            body += self.rfile.read(length - len(body))
        call = Call(self.host, self.command, self.path, kind, body, accept)
        if fault is None:
            self.answer(*self.serve(call))
        elif fault.cut == "answer":
            self.answer(*self.serve(call), half=True)
        else:
            if fault.served or fault.cut == "after":
                self.serve(call)
            elif fault.cut == "during" and self.host == "uploads":
                self.serve(call, truncated=True)
            if fault.cut:
                self.cut()
            else:
                self.answer(fault.status, fault.document, fault.headers)

    do_GET = do_POST = do_PATCH = do_DELETE = do_PUT = handle_any  # noqa: N815 - the base's names

    def serve(self, call: Call, *, truncated: bool = False) -> Answer:
        """Let the double serve a request whose headers are as GitHub wants them."""
        headers = self.headers
        for name, values in {
            "Accept": {"application/vnd.github+json", BYTES},
            "X-GitHub-Api-Version": {"2022-11-28"},
        }.items():
            if headers.get(name) not in values:
                self.double.repository.wrong.append(f"{call.method} {call.path}: no {name}")
        if call.method == "POST" and "Content-Length" not in headers:
            self.double.repository.wrong.append(f"{call.path}: no Content-Length")
        if not headers.get("User-Agent"):
            self.double.repository.wrong.append(f"{call.method} {call.path}: no User-Agent")
        scheme, _, token = headers.get("Authorization", "").partition(" ")
        return self.double.serve(call, token if scheme == "Bearer" else None, truncated=truncated)

    def answer(
        self, status: int, document: Any, headers: dict[str, str], *, half: bool = False
    ) -> None:
        """Send an answer, or half of one."""
        data = document if isinstance(document, bytes) else json.dumps(document).encode()
        data = b"" if document is None else data
        self.send_response(status)
        for name, value in ({**JSON, **headers} if data else headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if half else data)
        if half:
            self.cut()

    def store(self, asset_id: int) -> None:
        """Send an asset's bytes, as the storage does that GitHub sends a download on to."""
        _, asset = self.double.repository.find_asset(asset_id)
        if "Authorization" in self.headers:
            self.double.repository.wrong.append("the token went to the storage")
        self.send_response(200)
        self.send_header("Content-Length", str(len(asset.data)))
        self.end_headers()
        self.wfile.write(asset.data)

    def cut(self) -> None:
        """End the connection without another word."""
        self.double.on_cut()
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Keep quiet: `calls` has it all."""
