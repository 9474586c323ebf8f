"""A shell where a command has failed."""

import io
import os
import sys
from pathlib import Path

import pytest

from ci import process, shell
from ci.errors import FactoryError
from ci.process import call_step, run_logged


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A shell that runs what stands in a file, and writes down where it is."""
    script = tmp_path / "shell"
    script.write_text('#!/bin/sh\necho "$(pwd) $GREETING ${MLC_LLM_SHELL-none}" > "$OUT"\n')
    script.chmod(0o755)
    monkeypatch.setenv("SHELL", str(script))
    return tmp_path / "out"


def fail(commands: Path) -> None:
    folder = commands.parent
    env = os.environ | {"GREETING": "hello", "OUT": str(commands)}
    command = [sys.executable, "-c", "raise SystemExit(3)"]
    with pytest.raises(FactoryError):
        run_logged(command, log=folder / "log", lane="", phase="build", cwd=folder, env=env)


def test_failing_command_opens_a_shell_in_its_place(
    commands: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(shell.WISH, "1")
    fail(commands)
    assert commands.read_text() == f"{commands.parent} hello none\n"


def test_no_shell_is_opened_that_nobody_asked_for(
    commands: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(shell.WISH, raising=False)
    fail(commands)
    assert not commands.exists()


def test_failing_step_opens_a_shell_and_tells_what_failed(
    commands: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(shell.WISH, "1")
    monkeypatch.setattr(process, "ROOT", commands.parent)
    env = os.environ | {"GREETING": "hello", "OUT": str(commands)}
    command: list[str | Path] = [sys.executable, "-c", "raise SystemExit(3)"]
    with pytest.raises(FactoryError, match="phase pytest: it failed") as raised:
        call_step("pytest", command, env, failed=lambda: ["test_it"])
    assert (raised.value.failed, raised.value.exit_status) == (["test_it"], 3)
    assert commands.read_text() == f"{commands.parent} hello none\n"


def test_container_is_started_again_for_its_shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())  # no terminal
    engine = tmp_path / "engine"
    engine.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\n')
    engine.chmod(0o755)
    shell.open_container_shell(str(engine), "c1", "/project", {"NAME": "a b"})
    assert (tmp_path / "calls").read_text().splitlines() == [
        "start c1",
        "exec --interactive --workdir=/project --env=NAME=a b c1 /bin/bash",
    ]
