"""Records of a run of GitHub Actions, from a double of its API."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from actions_double import TOKEN, Double, archive, serve
from records import RECORD, write_record

from ci.errors import FactoryError
from ci.reproduce.__main__ import find_record
from ci.reproduce.actions import download_record, find_run, is_run

URL = "https://github.com/owner/name/actions/runs/7"


@pytest.fixture
def double() -> Iterator[Double]:
    held = Double(
        {"wheel": archive({"a.whl": ""}), "log-tests": archive({"records/tests.json": "t"})}
    )
    with serve(held):
        yield held


def download(double: Double, folder: Path, name: str = "", token: str = TOKEN) -> str:
    environ = {"GH_TOKEN": token, "GITHUB_API_URL": double.api}
    return download_record(URL, name, folder, environ).read_text()


@pytest.mark.parametrize(
    "url", [URL, f"{URL}/", f"{URL}/job/99", f"{URL}/attempts/2", f"{URL}?pr=1#summary"]
)
def test_address_of_a_run_is_understood(url: str) -> None:
    place, run = find_run(url, {"GITHUB_TOKEN": "t"})
    assert (place.api, place.name, run) == ("https://api.github.com", "owner/name", "7")


def test_own_server_is_asked_by_its_own_address() -> None:
    environ = {"GH_TOKEN": "t", "GITHUB_SERVER_URL": "https://git.example"}
    place, _ = find_run("https://git.example/o/n/actions/runs/1", environ)
    assert place.api == "https://git.example/api/v3"


@pytest.mark.parametrize(
    ("url", "environ", "message"),
    [
        ("https://github.com/owner/name", {"GH_TOKEN": "t"}, "not the address of an Actions run"),
        (
            URL.replace("github", "githubb"),
            {"GH_TOKEN": "t"},
            "not a server that your token is for",
        ),
        (URL, {}, "without a token. Set GH_TOKEN"),
    ],
)
def test_wrong_address_or_no_token_is_refused(
    url: str, environ: dict[str, str], message: str
) -> None:
    assert is_run(url)
    with pytest.raises(FactoryError, match=message):
        find_run(url, environ)


def test_record_is_downloaded_from_the_artifact_that_holds_it(
    double: Double, tmp_path: Path
) -> None:
    assert download(double, tmp_path) == "t"


def test_address_of_a_run_stands_for_its_record(
    double: Double, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = write_record(tmp_path / "record.json").read_text()
    double.artifacts["log-tests"] = archive({"records/tests.json": text})
    monkeypatch.setenv("GH_TOKEN", TOKEN)
    monkeypatch.setenv("GITHUB_API_URL", double.api)
    assert find_record(URL, "") == (RECORD, True)


def test_token_goes_to_the_api_alone(double: Double, tmp_path: Path) -> None:
    download(double, tmp_path)
    assert {(server, token) for server, _, token in double.asked} == {
        ("api", f"Bearer {TOKEN}"),
        ("storage", ""),
    }


def test_one_of_several_records_is_chosen_by_name(double: Double, tmp_path: Path) -> None:
    double.artifacts["log-windows"] = archive({"build/records/wheels.json": "w", "a.json": ""})
    with pytest.raises(FactoryError, match=r"2 records.*--record: log-tests/tests, log-windows/w"):
        download(double, tmp_path)
    with pytest.raises(FactoryError, match="no record 'tests'"):
        download(double, tmp_path, "tests")
    assert download(double, tmp_path, "log-windows/wheels") == "w"


@pytest.mark.parametrize(
    "arrived", [archive({"records/tests.json": "t"})[:-10], b"<html>Log in</html>"]
)
def test_artifact_that_is_not_whole_is_told(arrived: bytes, double: Double, tmp_path: Path) -> None:
    double.artifacts["log-tests"] = arrived
    with pytest.raises(FactoryError, match=r"an artifact did not arrive whole\. Try again\."):
        download(double, tmp_path)


def test_run_without_a_record_is_told(double: Double, tmp_path: Path) -> None:
    double.expired = {"log-tests"}
    with pytest.raises(FactoryError, match="no artifact of that run holds a record"):
        download(double, tmp_path)


def test_run_that_is_not_there_has_no_record(double: Double, tmp_path: Path) -> None:
    double.status = 404
    with pytest.raises(FactoryError, match="no artifact of that run holds a record"):
        download(double, tmp_path)


@pytest.mark.parametrize("status", [403, 410])
def test_refusal_is_told(status: int, double: Double, tmp_path: Path) -> None:
    double.status = status
    with pytest.raises(FactoryError, match=rf"refused the run's artifacts \({status}\)") as raised:
        download(double, tmp_path)
    assert TOKEN not in str(raised.value)


def test_wrong_token_is_told_without_it(double: Double, tmp_path: Path) -> None:
    with pytest.raises(FactoryError, match=r"\(401\)\. The token must be able") as raised:
        download(double, tmp_path, token="ghp_0ther")  # noqa: S106
    assert "ghp_0ther" not in str(raised.value)


@pytest.mark.parametrize("status", [500, 429])
def test_trouble_is_told_without_the_token(status: int, double: Double, tmp_path: Path) -> None:
    double.status = status
    with pytest.raises(FactoryError, match="Try again later") as raised:
        download(double, tmp_path)
    assert TOKEN not in str(raised.value)


def test_unreachable_server_is_told(tmp_path: Path) -> None:
    with pytest.raises(FactoryError, match=r"GET /repos/owner/name.*Try again later"):
        download(Double(api="http://127.0.0.1:9"), tmp_path)
