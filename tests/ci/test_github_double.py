"""The double is strict: it notes whatever GitHub would not understand or would do otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from github_double import Double, Repository
from github_double.contract import Call, answer_fault, request_fault
from github_runs import FILES, TAG, TOKEN, digests

RELEASES = "/repos/o/r/releases"
JSON, BYTES = "application/json", "application/octet-stream"
HEADERS = {
    "Accept": "application/vnd.github+json",
    "X-GitHub-Api-Version": "2022-11-28",
    "Authorization": f"Bearer {TOKEN}",
}


@pytest.fixture(scope="module")
def running() -> Iterator[Double]:
    with Double.run() as double:
        yield double


@pytest.fixture
def double(running: Double) -> Double:
    running.begin(Repository(digests()))
    return running


def send(
    double: Double, method: str, path: str, host: str = "api", **content: Any
) -> httpx.Response:
    headers = HEADERS | content.pop("headers", {})
    with httpx.Client(headers={k: v for k, v in headers.items() if v}, verify=False) as client:  # noqa: S501 - no TLS here
        return client.request(method, double.bases[host] + path, **content)


def draft(double: Double) -> Any:
    return send(double, "POST", RELEASES, json={"tag_name": TAG, "draft": True}).json()


def upload(double: Double, release: int, name: str = "a.whl", data: bytes = b"wheel a") -> Any:
    path = f"{RELEASES}/{release}/assets?name={name}"
    headers = {"Content-Type": BYTES}
    return send(double, "POST", path, "uploads", content=data, headers=headers)


@pytest.mark.parametrize(
    ("call", "fault"),
    [
        (Call("uploads", "GET", RELEASES, "", b""), "Server not found"),
        (
            Call("api", "POST", f"{RELEASES}/1/assets?name=a", "application/octet-stream", b"x"),
            "Serv",
        ),
        (Call("uploads", "POST", f"{RELEASES}/1/assets", "application/octet-stream", b"x"), "name"),
        (Call("api", "GET", "/repos/o/r/rleases", "", b""), "Path not found"),
        (Call("api", "PUT", RELEASES, "", b""), "Operation put not found"),
        (Call("api", "GET", "/repos/o/r/git/ref/tags/v1.2.3", "", b""), "Path not found"),
        (Call("api", "GET", f"{RELEASES}?per_page=many", "", b""), "per_page"),
        (Call("api", "GET", f"{RELEASES}?perpage=9", "", b""), "the query has an unknown perpage"),
        (Call("api", "GET", RELEASES, JSON, b"{}"), "it takes no body"),
        (Call("api", "POST", RELEASES, JSON, b'{"tag": "v1"}'), "tag_name"),
        (Call("api", "POST", RELEASES, JSON, b'{"tag_name": "v1", "drft": true}'), "drft"),
        (Call("api", "PATCH", f"{RELEASES}/1", JSON, b'{"make_latest": true}'), "make_latest"),
        (Call("api", "POST", RELEASES, "text/plain", b"{}"), "Content"),
    ],
)
def test_request_that_github_does_not_know_is_a_fault(call: Call, fault: str) -> None:
    assert fault in request_fault(call)


def test_answer_that_github_would_not_give_is_a_fault() -> None:
    call = Call("api", "GET", f"{RELEASES}/tags/v1", "", b"")
    assert "never answers 302" in answer_fault(call, 302, "{}")
    assert "upload_url" in answer_fault(call, 200, '{"id": 1}')


@pytest.mark.parametrize("name", ["Accept", "X-GitHub-Api-Version"])
def test_header_that_is_missing_is_noted(double: Double, name: str) -> None:
    send(double, "GET", RELEASES, headers={name: ""})
    assert any(f"no {name}" in wrong for wrong in double.repository.wrong)


def test_fault_is_answered_and_noted(double: Double) -> None:
    assert send(double, "POST", RELEASES, json={"tag_name": TAG, "drft": True}).status_code == 400
    assert len(double.repository.wrong) == 1


def test_no_tag_finds_a_draft_and_readers_see_none(double: Double) -> None:
    made = draft(double)
    double.repository.tokens["reader"] = "read"
    assert send(double, "GET", f"{RELEASES}/tags/{TAG}").status_code == 404
    assert len(send(double, "GET", RELEASES).json()) == 1
    for token in ("", "Bearer reader"):
        assert send(double, "GET", RELEASES, headers={"Authorization": token}).json() == []
        assets = f"{RELEASES}/{made['id']}/assets"
        assert send(double, "GET", assets, headers={"Authorization": token}).status_code == 404
    assert double.repository.wrong == []


def test_name_is_taken_even_by_a_broken_upload(double: Double) -> None:
    made = draft(double)
    release = double.repository.find(made["id"])
    double.repository.begin_upload(release, "a.whl", "x")
    (starter,) = send(double, "GET", f"{RELEASES}/{made['id']}/assets").json()
    assert (starter["state"], starter["digest"]) == ("starter", None)
    refused = upload(double, made["id"])
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["code"] == "already_exists"
    assert send(double, "DELETE", f"{RELEASES}/assets/{starter['id']}").status_code == 204
    uploaded = upload(double, made["id"]).json()
    assert uploaded["digest"] == digests()["a.whl"]
    assert double.repository.wrong == []


def test_names_are_changed_without_a_word(double: Double) -> None:
    assert upload(double, draft(double)["id"], "a%20b%2Bc.whl").json()["name"] == "a.b.c.whl"


def publish(double: Double, release: int) -> httpx.Response:
    return send(double, "PATCH", f"{RELEASES}/{release}", json={"draft": False})


def test_incomplete_release_is_seen_the_moment_it_is_public(double: Double) -> None:
    made = draft(double)
    upload(double, made["id"])
    assert double.repository.wrong == []
    publish(double, made["id"])
    assert "is public with {'a.whl'" in double.repository.wrong[0]


def test_published_release_does_not_change_and_attempts_are_noted(double: Double) -> None:
    made = draft(double)
    for name, data in FILES.items():
        upload(double, made["id"], name, data)
    assert publish(double, made["id"]).json()["immutable"] is True
    assert double.repository.wrong == []
    (asset, *_) = send(double, "GET", f"{RELEASES}/{made['id']}/assets").json()
    assert upload(double, made["id"], "b.whl").status_code == 422
    assert send(double, "DELETE", f"{RELEASES}/assets/{asset['id']}").status_code == 422
    assert publish(double, made["id"]).status_code == 422
    assert len(double.repository.wrong) == 3
    second = draft(double)
    taken = publish(double, second["id"])
    assert (taken.status_code, taken.json()["errors"][0]["field"]) == (422, "tag_name")


@pytest.mark.parametrize(
    ("token", "rights", "status"),
    [("Bearer gone", {}, 401), ("Bearer reader", {"reader": "read"}, 403), ("", {}, 401)],
)
def test_writing_takes_the_right(
    double: Double, token: str, rights: dict[str, str], status: int
) -> None:
    double.repository.tokens = rights
    headers = {"Authorization": token}
    answer = send(double, "POST", RELEASES, json={"tag_name": TAG}, headers=headers)
    assert answer.status_code == status
    assert double.repository.releases == {}
