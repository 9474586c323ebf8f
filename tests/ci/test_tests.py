"""What `nox -s tests` refuses before it builds anything, and what its tests leave alone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from releases import SUBJECTS, git, write_repository

from ci import tests
from ci.errors import FactoryError, UsageError
from ci.paths import ROOT


@pytest.fixture(autouse=True)
def nothing_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tests, "check_host", lambda _: pytest.fail("the build begins"))


def test_tree_without_a_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    monkeypatch.setattr(tests, "ROOT", tmp_path)
    with pytest.raises(FactoryError, match="git cannot read"):
        tests.main(["-k", "linear"])


@pytest.mark.parametrize("words", ["nosuch.py", "-x tests/ci/nosuch.py::test_it", "-n 2 nosuch.py"])
def test_file_that_is_not_there_is_refused(words: str) -> None:
    with pytest.raises(UsageError, match=r"there is no (tests/ci/)?nosuch\.py\."):
        tests.main(words.split())


@pytest.mark.parametrize("words", ["tests/ci/test_tests.py::test_it", "-k it.py", "--ignore=it.py"])
def test_other_words_are_for_pytest(words: str) -> None:
    with pytest.raises(pytest.fail.Exception, match="the build begins"):
        tests.main(words.split())


def test_repository_of_a_git_hook_is_left_alone(tmp_path: Path) -> None:
    theirs = write_repository(tmp_path / "theirs")
    commits = "tests/ci/test_record.py::test_record_says_what_was_run_and_how_it_ended"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n0", commits]
    env = os.environ | {"GIT_DIR": str(theirs / ".git"), "GIT_WORK_TREE": str(theirs)}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert len(git(theirs, "log", "--oneline").splitlines()) == len(SUBJECTS)
