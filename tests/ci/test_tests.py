"""What `nox -s tests` refuses before it builds anything."""

import subprocess
from pathlib import Path

import pytest

from ci import tests
from ci.errors import FactoryError, UsageError


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
