import os

import pytest


@pytest.fixture(autouse=True)
def no_git_config(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the developer's own git settings (signed commits, hidden files) out of the tests."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
