"""What a registry is asked, and who is told the password."""

import io
import json
import urllib.error
from collections.abc import Callable
from email.message import Message
from pathlib import Path
from typing import Any

import pytest

from ci import registry
from ci.errors import FactoryError
from ci.registry import Repository, find_login

LOGIN = "cm9ib3Q6c2VjcmV0"  # robot:secret
MANIFEST = json.dumps({"config": {"digest": "sha256:c0"}}).encode()
CONFIG = json.dumps({"config": {"Labels": {"made": "here"}}}).encode()
Answer = Callable[[Any], tuple[int, dict[str, str], bytes]]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Callable[[Answer], list[Any]]:
    """Answer every request with a function of it; return the list of what was asked."""
    asked: list[Any] = []

    def start(answer: Answer) -> list[Any]:
        def send(request: Any) -> Any:
            asked.append(request)
            status, fields, body = answer(request)
            headers = Message()
            for name, value in fields.items():
                headers[name] = value
            if status >= 400:
                raise urllib.error.HTTPError(
                    request.full_url, status, "no", headers, io.BytesIO(body)
                )
            response = io.BytesIO(body)
            response.headers = headers  # type: ignore[attr-defined]
            return response

        monkeypatch.setattr(registry, "send", send)
        return asked

    return start


def login_file(folder: Path, host: str = "ghcr.io") -> dict[str, str]:
    path = folder / "auth.json"
    path.write_text(json.dumps({"auths": {host: {"auth": LOGIN}}}))
    return {"REGISTRY_AUTH_FILE": str(path)}


@pytest.mark.parametrize(
    "name", ["ghcr.io", "https://ghcr.io/owner/name", "ghcr.io/owner/name:dev", "ghcr.io/a b"]
)
def test_what_is_no_repository_is_refused(name: str) -> None:
    with pytest.raises(FactoryError, match="is not the name of a repository"):
        Repository(name, {})


def test_capitals_of_an_owner_become_small() -> None:
    assert Repository("ghcr.io/Owner/Name", {}).name == "ghcr.io/owner/name"


def test_login_is_read_where_the_engines_keep_it(tmp_path: Path) -> None:
    assert find_login("ghcr.io", login_file(tmp_path)) == LOGIN
    assert find_login("elsewhere.example", login_file(tmp_path)) == ""
    docker = tmp_path / "docker"
    docker.mkdir()
    (tmp_path / "auth.json").rename(docker / "config.json")
    runtime = {"XDG_RUNTIME_DIR": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    assert find_login("ghcr.io", {"DOCKER_CONFIG": str(docker), **runtime}) == LOGIN


@pytest.mark.parametrize("text", ["{", "[]", '{"auths": {"ghcr.io": {"auth": "?"}}}'])
def test_damaged_file_of_logins_is_named(text: str, tmp_path: Path) -> None:
    environ = login_file(tmp_path)
    (tmp_path / "auth.json").write_text(text)
    with pytest.raises(FactoryError, match=r"auth\.json is not a file of logins"):
        find_login("ghcr.io", environ)


def token_server(request: Any) -> tuple[int, dict[str, str], bytes]:
    """Answer as GHCR does: a token of another address, for a scope."""
    if request.host == "tokens.example":
        return 200, {}, b'{"token": "t0ken"}'
    if request.get_header("Authorization") != "Bearer t0ken":
        realm = 'Bearer realm="https://tokens.example/token",service="ghcr.io"'
        return 401, {"WWW-Authenticate": realm}, b""
    kind = {"Content-Type": registry.KINDS[0]}
    return (200, kind, MANIFEST) if "manifests" in request.full_url else (200, {}, CONFIG)


def test_token_is_fetched_with_the_login_and_image_is_read(
    serve: Callable[[Answer], list[Any]], tmp_path: Path
) -> None:
    asked = serve(token_server)
    image = Repository("ghcr.io/o/n", login_file(tmp_path)).find("dev")
    assert image == registry.RemoteImage(MANIFEST, registry.KINDS[0], "sha256:c0", {"made": "here"})
    (token,) = (request for request in asked if request.host == "tokens.example")
    assert token.get_header("Authorization") == f"Basic {LOGIN}"
    assert "service=ghcr.io" in token.full_url
    assert "scope=repository%3Ao%2Fn%3Apull%2Cpush" in token.full_url


def test_nobody_asks_for_the_right_to_read_alone(
    serve: Callable[[Answer], list[Any]],
) -> None:
    asked = serve(token_server)
    assert Repository("ghcr.io/o/n", {"REGISTRY_AUTH_FILE": "/nonexistent"}).find("dev")
    (token,) = (request for request in asked if request.host == "tokens.example")
    assert token.get_header("Authorization") is None
    assert "%3Apull&" in token.full_url


def test_authorization_does_not_follow_a_redirect(
    serve: Callable[[Answer], list[Any]], tmp_path: Path
) -> None:
    asked = serve(token_server)
    Repository("ghcr.io/o/n", login_file(tmp_path)).find("dev")
    assert [request.headers for request in asked if "Authorization" in request.headers] == []


def test_token_that_ran_out_is_fetched_again(
    serve: Callable[[Answer], list[Any]], tmp_path: Path
) -> None:
    serve(token_server)
    repository = Repository("ghcr.io/o/n", login_file(tmp_path))
    repository._authorization = "Bearer old"
    assert repository.find("dev")


def test_login_is_sent_to_no_address_without_tls(
    serve: Callable[[Answer], list[Any]], tmp_path: Path
) -> None:
    realm = {"WWW-Authenticate": 'Bearer realm="http://tokens.example/token"'}
    asked = serve(lambda _: (401, realm, b""))
    with pytest.raises(FactoryError, match="not https"):
        Repository("ghcr.io/o/n", login_file(tmp_path)).find("dev")
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("status", "logged_in", "message"),
    [
        (401, False, "nobody is logged in"),
        (403, True, "this login may not"),
        (500, True, "answers GET of o/n/manifests/dev with HTTP Error 500"),
    ],
)
def test_refusal_says_why(
    serve: Callable[[Answer], list[Any]],
    tmp_path: Path,
    status: int,
    logged_in: bool,  # noqa: FBT001
    message: str,
) -> None:
    serve(lambda _: (status, {"WWW-Authenticate": 'Basic realm="r"'}, b""))
    environ = login_file(tmp_path, "ghcr.io" if logged_in else "elsewhere.example")
    with pytest.raises(FactoryError, match=message) as caught:
        Repository("ghcr.io/o/n", environ).find("dev")
    assert LOGIN not in str(caught.value)


PAGE = b"<html>Log in</html>"
INDEX = json.dumps({"manifests": []}).encode()


@pytest.mark.parametrize(
    ("part", "answer", "message"),
    [
        ("manifests", (200, {"Content-Type": "text/html"}, PAGE), "ghcr.io has text/html as o/n:d"),
        ("manifests", (200, {}, INDEX), "not the manifest of an image"),
        ("blobs", (200, {}, PAGE), "o/n:dev has a damaged configuration sha256:c0"),
        ("token", (200, {}, PAGE), "tokens.example/token, which gives no token: Expecting value"),
        ("token", (200, {}, b"{}"), "which gives no token"),
        ("token", (404, {}, b""), "which gives no token: HTTP Error 404"),
        ("token", (403, {}, b""), "ghcr.io refuses GET of o/n: this login may not"),
    ],
)
def test_useless_answer_is_told(
    serve: Callable[[Answer], list[Any]],
    tmp_path: Path,
    part: str,
    answer: tuple[int, dict[str, str], bytes],
    message: str,
) -> None:
    serve(lambda asked: answer if f"/{part}" in asked.full_url else token_server(asked))
    with pytest.raises(FactoryError, match=message):
        Repository("ghcr.io/o/n", login_file(tmp_path)).find("dev")


def test_what_is_not_there_is_none(serve: Callable[[Answer], list[Any]]) -> None:
    serve(lambda _: (404, {}, b""))
    assert Repository("ghcr.io/o/n", {"REGISTRY_AUTH_FILE": "/nonexistent"}).find("dev") is None


def test_unreachable_host_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise urllib.error.URLError("connection refused")

    monkeypatch.setattr(registry, "send", refuse)
    with pytest.raises(FactoryError, match=r"ghcr\.io cannot be reached.*connection refused"):
        Repository("ghcr.io/o/n", {}).find("dev")
