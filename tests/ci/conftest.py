import os
from pathlib import Path

import pytest
from wheels import PROJECT

from ci.verify import files


@pytest.fixture(autouse=True)
def no_git_config(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the developer's own git settings (signed commits, hidden files) out of the tests."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")


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
