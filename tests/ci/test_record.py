"""What a failed session leaves, and what it never does."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from records import RECORD, write_record

from ci import record, session
from ci.errors import FactoryError, UsageError
from ci.failed_tests import PLUGIN, failed_in_ctest
from ci.machine import this_machine
from ci.paths import LOCKS, ROOT
from ci.record import Failure, Record, keep_record, read_record
from ci.session import run_session

FAILED = "tests/test_it.py::test_it"
ERROR = FactoryError("a test failed", phase="pytest", failed=[FAILED], exit_status=3)


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small checkout, in which a session of nox runs."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    (folder / "file").write_text("one\n")
    (folder / ".gitignore").write_text("build/\n")
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "-m", "first")
    monkeypatch.setenv(record.SESSION, "tests")
    monkeypatch.setattr(session, "keep_record", partial(keep_record, root=folder))
    return folder


@pytest.fixture
def no_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """A session that was given no words of its own."""
    monkeypatch.setattr(sys, "argv", ["tests"])


def git(checkout: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.com"]
    command = ["git", *identity, *arguments]
    done = subprocess.run(command, cwd=checkout, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def keep(checkout: Path, error: FactoryError = ERROR) -> Record:
    path = keep_record(error, ["-k", "it"], root=checkout)
    assert path == checkout / "build" / "records" / "tests.json"
    return read_record(path)


def test_record_says_what_was_run_and_how_it_ended(checkout: Path) -> None:
    kept = keep(checkout)
    assert (kept.session, kept.arguments) == ("tests", ("-k", "it"))
    assert kept.commit == git(checkout, "rev-parse", "HEAD")
    assert kept.diff == ""
    assert kept.failure == Failure("pytest", (FAILED,), 3, "a test failed")
    assert kept.locks.keys() == {path.name for path in LOCKS.glob("*.txt")}
    assert kept.machine == this_machine()


def test_record_holds_the_environment_that_is_allowed_and_no_secret(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLC_LLM_CPU_ISA", "portable")
    for name in ("GITHUB_TOKEN", "GH_TOKEN", "AWS_SECRET_ACCESS_KEY", "PIP_INDEX_URL", "HOME"):
        monkeypatch.setenv(name, "s3cret")
    assert keep(checkout).environment["MLC_LLM_CPU_ISA"] == "portable"
    assert "s3cret" not in (checkout / "build" / "records" / "tests.json").read_text()


def test_record_holds_every_variable_of_the_package() -> None:
    page = (ROOT / "docs" / "install.md").read_text()
    _, _, section = page.partition("## Environment variables\n")
    told = re.findall(r"^\| `(MLC_LLM_\w+)` \|", section.partition("\n## ")[0], re.MULTILINE)
    assert set(told) - set(record.ENVIRONMENT) == set()
    assert told


def test_changes_of_every_kind_are_kept_and_apply(checkout: Path, tmp_path: Path) -> None:
    (checkout / "file").write_text("two\n")
    (checkout / "new").write_bytes(b"\xff\0\n")
    (checkout / "build").mkdir()
    (checkout / "build" / "ignored").touch()
    before = git(checkout, "status", "--porcelain")
    diff = keep(checkout).diff
    assert git(checkout, "status", "--porcelain") == before  # nothing was staged
    git(tmp_path, "clone", "--quiet", str(checkout), "other")
    (tmp_path / "diff").write_text(diff or "")
    git(tmp_path / "other", "apply", str(tmp_path / "diff"))
    assert (tmp_path / "other" / "file").read_text() == "two\n"
    assert (tmp_path / "other" / "new").read_bytes() == b"\xff\0\n"
    assert not (tmp_path / "other" / "build").exists()


def test_large_change_is_left_out_and_said_to_be(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record, "MAX_DIFF", 10)
    (checkout / "file").write_text("two\n")
    assert keep(checkout).diff is None


@pytest.mark.parametrize("name", ["", "reproduce", "report"])
def test_no_record_where_nothing_is_to_be_reproduced(
    name: str, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(record.SESSION, name)
    assert keep_record(ERROR, [], root=checkout) is None


def test_no_record_outside_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(record.SESSION, "tests")
    assert keep_record(ERROR, [], root=tmp_path) is None


def fail(_: list[str]) -> int:
    raise ERROR


def misspell(_: list[str]) -> int:
    raise UsageError("there is no such lane", hint="Choose another.")


def crash(_: list[str]) -> int:
    raise ValueError("a mistake of ours")


def interrupt(_: list[str]) -> int:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("main", "status", "kept"),
    [
        (fail, 3, ERROR.message),
        (lambda _: 5, 5, ""),
        (lambda _: 0, 0, None),
        (lambda _: 2, 2, None),
        (misspell, 2, None),
        (interrupt, 130, None),
    ],
)
@pytest.mark.usefixtures("no_words")
def test_session_exits_with_its_status_and_leaves_a_record_of_a_failure(
    main: Callable[[list[str]], int], status: int, kept: str | None, checkout: Path
) -> None:
    with pytest.raises(SystemExit) as stopped:
        run_session(main)
    assert stopped.value.code == status
    left = checkout / "build" / "records" / "tests.json"
    assert left.exists() == (kept is not None)
    if kept is not None:
        failure = read_record(left).failure
        assert (failure.message, failure.status) == (kept, status)


@pytest.mark.usefixtures("no_words")
def test_crash_leaves_a_record_and_its_traceback(checkout: Path) -> None:
    with pytest.raises(ValueError, match="a mistake of ours"):
        run_session(crash)
    left = read_record(checkout / "build" / "records" / "tests.json")
    assert left.failure.message == "ValueError: a mistake of ours"


@pytest.mark.usefixtures("checkout", "no_words")
def test_command_that_reproduces_is_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    with pytest.raises(SystemExit):
        run_session(fail)
    assert re.search(r"nox -s reproduce -- \S+tests\.json\n", capsys.readouterr().err)


@pytest.mark.usefixtures("no_words")
def test_reproduction_leaves_its_record_without_a_word(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(record.QUIET, "1")
    with pytest.raises(SystemExit):
        run_session(fail)
    assert "reproduce" not in capsys.readouterr().err
    assert (checkout / "build" / "records" / "tests.json").is_file()


@pytest.mark.usefixtures("checkout", "no_words")
def test_workflow_is_told_the_address_of_its_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_SERVER_URL", "https://github.com")
    monkeypatch.setenv("GITHUB_REPOSITORY", "owner/name")
    monkeypatch.setenv("GITHUB_RUN_ID", "7")
    with pytest.raises(SystemExit):
        run_session(fail)
    printed = capsys.readouterr().out
    assert printed.startswith("::error::To see it fail again")
    assert printed.endswith("nox -s reproduce -- https://github.com/owner/name/actions/runs/7\n")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"commit": "HEAD"}, "at commit"),
        ({"session": "wheels; rm"}, "at session"),
        ({"failure": replace(RECORD.failure, status=0)}, "at failure.status"),
        ({"schema": 2}, "at schema"),
        ({"environment": {"a b": ""}}, "at environment"),
    ],
)
def test_broken_record_is_refused(changes: dict[str, object], message: str, tmp_path: Path) -> None:
    path = write_record(tmp_path / "record.json", **changes)
    with pytest.raises(FactoryError, match=message):
        read_record(path)


@pytest.mark.parametrize(("text", "message"), [(None, "cannot be read"), ("{", "is not JSON")])
def test_what_is_no_record_is_refused(text: str | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    if text:
        path.write_text(text)
    with pytest.raises(FactoryError, match=message):
        read_record(path)


def test_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert read_record(write_record(tmp_path / "record.json")) == RECORD


PLANTED = """
import pytest

@pytest.mark.parametrize("n", [1, 2])
def test_it(n): assert n == 1

@pytest.fixture
def broken(): raise ValueError

def test_fixture(broken): pass
"""


@pytest.mark.parametrize("workers", ["-n0", "-n2"])
def test_failed_tests_are_named(workers: str, tmp_path: Path) -> None:
    (tmp_path / "test_planted.py").write_text(PLANTED)
    (tmp_path / "test_broken.py").write_text("(")
    command = [sys.executable, "-m", "pytest", *PLUGIN, "-q", "-c", os.devnull, f"{tmp_path}"]
    env = os.environ | {"PYTHONPATH": str(ROOT), "MLC_LLM_FAILED_TESTS": str(tmp_path / "failed")}
    options = ["--continue-on-collection-errors", "-p", "no:cacheprovider", workers]
    subprocess.run([*command, *options], cwd=tmp_path, env=env, capture_output=True, check=False)
    names = (tmp_path / "failed").read_text().splitlines()
    assert sorted(names) == [
        "test_broken.py",
        "test_planted.py::test_fixture",
        "test_planted.py::test_it[2]",
    ]


def test_failed_cpp_tests_are_named(tmp_path: Path) -> None:
    log = tmp_path / "Testing" / "Temporary" / "LastTestsFailed.log"
    assert failed_in_ctest(tmp_path) == []
    log.parent.mkdir(parents=True)
    log.write_text("12:linear\n3:isa\n")
    assert failed_in_ctest(tmp_path) == ["isa", "linear"]
