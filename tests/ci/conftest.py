import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from wheels import PROJECT

from ci.verify import files


@pytest.fixture(scope="session", autouse=True)
def no_git_config(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the developer's git out of the tests: settings, hidden files, and the repository.

    A hook that runs the tests has GIT_DIR set, and they would commit and tag there.
    """
    local = subprocess.check_output(["git", "rev-parse", "--local-env-vars"], text=True).split()
    with pytest.MonkeyPatch.context() as patch:
        for name in local:
            patch.delenv(name, raising=False)
        patch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path_factory.getbasetemp()))
        patch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
        patch.setenv("GIT_CONFIG_NOSYSTEM", "1")
        yield


@pytest.fixture(autouse=True)
def no_proxy_to_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reach the tests' own servers, whatever proxy this machine has."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, ",".join(filter(None, [os.environ.get(name), "127.0.0.1"])))


@pytest.fixture(autouse=True)
def no_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no command that a test runs leave a record as if the session of the tests had failed."""
    monkeypatch.delenv("MLC_LLM_SESSION", raising=False)


@pytest.fixture
def pyproject(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pyproject.toml that the tiny wheels agree with, in the place of the real one."""
    path = tmp_path / "pyproject.toml"
    path.write_text(PROJECT)
    monkeypatch.setattr(files, "PYPROJECT", path)
    return path
