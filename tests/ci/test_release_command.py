"""`nox -s release`: from a tagged repository and its wheelhouse to a directory or to GitHub."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from github_double import Double, Fault, Repository
from github_runs import Killed, check_end
from releases import TAG, git, stage_release, write_repository, write_wheelhouse

from ci.errors import FactoryError
from ci.manifest import hash_file
from ci.paths import ROOT
from ci.release import directory
from ci.release.github.publish import Watch

TOKEN = "ghs_of-the-release-command"  # noqa: S105 - the double's own
VARIABLES = ("GH_TOKEN", "GITHUB_TOKEN", "GITHUB_ACTIONS", "GITHUB_REPOSITORY", "GITHUB_RUN_ID")
cli = importlib.import_module("ci.release.__main__")
Run = Callable[..., int]


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with a tag, a wheelhouse of its commit, and no GitHub around it."""
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    repository = write_repository(tmp_path / "repository", TAG)
    write_wheelhouse(tmp_path / "wheelhouse", commit=git(repository, "rev-parse", "HEAD"))
    monkeypatch.setattr(cli, "ROOT", repository)
    monkeypatch.setattr(cli, "WORK", tmp_path / "work")
    return repository


@pytest.fixture
def release(repository: Path) -> Run:
    """The command's own main function."""

    def run(*arguments: str) -> int:
        wheelhouse = str(repository.parent / "wheelhouse")
        status: int = cli.main(["--tag", TAG, "--wheelhouse", wheelhouse, *arguments])
        return status

    return run


def test_release_becomes_a_directory_and_stays_as_it_is(
    tmp_path: Path, release: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "out" / "v1.2.3"
    assert release("--to", str(target)) == 0
    assert "v1.2.3 is complete in" in capsys.readouterr().out
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in target.iterdir()}
    assert release("--to", str(target)) == 0
    assert "already, the same in every byte" in capsys.readouterr().out
    assert {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in target.iterdir()} == before
    assert [path.name for path in target.parent.iterdir()] == ["v1.2.3"]
    assert target.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("name", ["SHA256SUMS", "mlc_llm-1.2.3.tar.gz", "NOTES.md", "extra"])
def test_differing_file_is_refused_by_name_and_kept(
    tmp_path: Path, release: Run, name: str
) -> None:
    target = tmp_path / "out"
    release("--to", str(target))
    (target / name).write_text("tampered")
    with pytest.raises(FactoryError, match=f"holds another release: {name} differs"):
        release("--to", str(target))
    assert (target / name).read_text() == "tampered"


def test_dry_run_shows_the_plan_and_touches_nothing(
    tmp_path: Path, release: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(tmp_path.rglob("*"))
    assert release("--dry-run", "--to", str(tmp_path / "out")) == 0
    shown = capsys.readouterr().out
    assert "release v1.2.3, version 1.2.3" in shown
    assert hash_file(tmp_path / "wheelhouse" / "mlc_llm-1.2.3.tar.gz") in shown
    assert sorted(tmp_path.rglob("*")) == before


def test_tag_is_checked_before_there_is_a_wheel(
    repository: Path, release: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (repository.parent / "wheelhouse").iterdir():
        path.unlink()
    assert release("--check-tag") == 0
    assert "can be released as 1.2.3" in capsys.readouterr().out
    git(repository, "commit", "--quiet", "--allow-empty", "-m", "Go on")
    with pytest.raises(FactoryError, match=r"the tag v1\.2\.3 is at .*, and HEAD is at"):
        release("--check-tag")


def test_run_that_loses_the_race_for_a_directory_compares(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    first, second = (stage_release(tmp_path / folder) for folder in ("a", "b"))
    assert "is complete in" in directory.publish(first, tmp_path / "out")
    assert "already" in directory.publish(second, tmp_path / "out")


def test_without_a_token_a_directory_is_the_default(tmp_path: Path, release: Run) -> None:
    assert release() == 0
    assert (tmp_path / "work" / "release" / TAG / "SHA256SUMS").is_file()


def test_workflow_without_a_token_is_refused(release: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    with pytest.raises(FactoryError, match=r"there is no token to release with\. Give this step"):
        release()


# To GitHub


@pytest.fixture(scope="module")
def running() -> Iterator[Double]:
    with Double.run() as double:
        yield double


@pytest.fixture
def double(running: Double, repository: Path, monkeypatch: pytest.MonkeyPatch) -> Double:
    """A GitHub that knows the tag, and a token for it in the environment."""
    tags = {TAG: {"type": "commit", "sha": git(repository, "rev-parse", "HEAD")}}
    running.begin(Repository(tokens={TOKEN: "write"}, tags=tags))
    monkeypatch.setenv("GITHUB_REPOSITORY", "o/r")
    monkeypatch.setenv("GITHUB_API_URL", running.bases["api"])
    monkeypatch.setenv("GITHUB_TOKEN", TOKEN)
    return running


@pytest.fixture
def complete(tmp_path: Path, double: Double, release: Run) -> Double:
    """The double, which knows what the release must hold: what the same release as files holds."""
    release("--to", str(tmp_path / "as-files"))
    files = [path for path in (tmp_path / "as-files").iterdir() if path.name != "NOTES.md"]
    double.repository.expected = {path.name: f"sha256:{hash_file(path)}" for path in files}
    return double


def test_release_is_published_with_the_bytes_of_the_directory(
    complete: Double, release: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert release() == 0
    check_end(complete)
    said = capsys.readouterr().out
    assert "v1.2.3 is published: https://" in said
    assert "mlc_llm-1.2.3.tar.gz: 5 bytes" in said
    assert release() == 0
    assert "published already, the same in every byte" in capsys.readouterr().out


def test_dry_run_with_a_token_sends_nothing(double: Double, release: Run) -> None:
    assert release("--dry-run") == 0
    assert double.calls == []


COMMAND = """
import sys
from pathlib import Path
from ci.release import __main__ as cli
from ci.session import run_session
cli.ROOT = Path(sys.argv.pop(1))
run_session(cli.main)
"""


def start(repository: Path) -> subprocess.Popen[str]:
    """Start the command as a process of its own."""
    wheelhouse = str(repository.parent / "wheelhouse")
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, str(repository), "--tag", TAG, "--wheelhouse", wheelhouse],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.parametrize(
    ("request_line", "cut"),
    [
        ("api POST /repos/o/r/releases", "after"),
        ("uploads POST /repos/o/r/releases/1/assets", "during"),
        ("api PATCH /repos/o/r/releases/1", "before"),
        ("api PATCH /repos/o/r/releases/1", "after"),
    ],
)
def test_sigkill_is_what_the_other_tests_take_it_for(
    complete: Double,
    repository: Path,
    release: Run,
    monkeypatch: pytest.MonkeyPatch,
    *,
    request_line: str,
    cut: str,
) -> None:
    """A real kill leaves what the raised Killed leaves, and a real second run finishes it."""
    memory = complete.repository
    release()
    lines = [f"{call.host} {call.method} {call.path}" for call in complete.calls]
    at = lines.index(request_line)

    def begin() -> None:
        again = Repository(memory.expected, tokens=memory.tokens, tags=memory.tags)
        complete.begin(again, Fault(at, cut=cut))

    def die(_seconds: float) -> None:
        raise Killed

    begin()
    with monkeypatch.context() as patch:
        patch.setattr(cli, "Watch", lambda **options: Watch(pause=die, **options))
        with pytest.raises(Killed):
            release()
    raised = complete.repository.releases
    begin()
    process = start(repository)
    complete.on_cut = lambda: os.kill(process.pid, signal.SIGKILL)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert TOKEN not in printed
    assert complete.repository.releases == raised
    assert release() == 0
    check_end(complete)


@pytest.mark.parametrize("outcome", ["published", "refused", "expired"])
def test_token_is_in_nothing_that_is_written(
    complete: Double, repository: Path, tmp_path: Path, outcome: str
) -> None:
    if outcome == "expired":
        complete.repository.tokens.clear()
    elif outcome == "refused":
        fault = Fault(4, status=418, message=f"I saw Bearer {TOKEN}")
        complete.begin(complete.repository, fault)
    process = start(repository)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == (0 if outcome == "published" else 1)
    assert ("Traceback" in printed, TOKEN in printed) == (False, False)
    assert printed.count("error: ") == process.returncode
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert written
    assert [path for path in written if TOKEN.encode() in path.read_bytes()] == []
