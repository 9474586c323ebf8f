"""What `nox -s tests` refuses before it builds anything."""

import subprocess
from pathlib import Path

import pytest

from ci import tests
from ci.errors import FactoryError


@pytest.fixture(autouse=True)
def nothing_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tests, "check_host", lambda _: pytest.fail("the build begins"))


def test_tree_without_a_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    monkeypatch.setattr(tests, "ROOT", tmp_path)
    with pytest.raises(FactoryError, match="git cannot read"):
        tests.main(["-k", "linear"])
