import os
import re
import select
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ci import process
from ci.errors import FactoryError
from ci.process import run_logged


def run(
    tmp_path: Path,
    code: str,
    *,
    on_line: Callable[[str], bool | None] = lambda _line: None,
    hint: str = "",
) -> Path:
    log = tmp_path / "build.log"
    run_logged(
        [sys.executable, "-c", code],
        log=log,
        lane="some-lane",
        phase="compile",
        cwd=tmp_path,
        env=os.environ,
        on_line=on_line,
        hint=hint,
    )
    return log


def test_output_goes_to_the_log_and_to_the_reader(tmp_path: Path) -> None:
    lines: list[str] = []
    log = run(tmp_path, "print('one'); print('two')", on_line=lines.append)
    assert lines == ["one", "two"]
    assert log.read_text().endswith("one\ntwo\n")


def test_failure_names_lane_phase_and_log_and_shows_the_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(FactoryError) as caught:
        run(tmp_path, "print('the reason'); raise SystemExit(3)", hint="Do this.")
    text = str(caught.value)
    for part in ("lane some-lane", "phase compile", "exit status 3", "Do this.", "build.log"):
        assert part in text
    assert "the reason" in capsys.readouterr().err


def test_missing_program_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(FactoryError, match="no-such-program cannot be started"):
        run_logged(
            ["no-such-program"],
            log=tmp_path / "log",
            lane="",
            phase="",
            cwd=tmp_path,
            env=os.environ,
        )


def test_quiet_command_is_not_silent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "HEARTBEAT_S", 0.01)
    run(tmp_path, "print('linking', flush=True); import time; time.sleep(0.3)")
    assert re.search(r"some-lane: compile: \d+ s \.\.\. linking", capsys.readouterr().err)


def test_a_line_that_has_been_told_is_no_progress(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "HEARTBEAT_S", 0.01)
    code = "print('smoke: {}', flush=True); import time; time.sleep(0.3)"
    run(tmp_path, code, on_line=lambda line: "{" in line)
    assert "{" not in capsys.readouterr().err


def test_interrupt_ends_the_command_and_its_children(tmp_path: Path) -> None:
    os.mkfifo(alive := tmp_path / "alive")
    reader = os.open(alive, os.O_RDONLY | os.O_NONBLOCK)
    child = f"import subprocess, sys; subprocess.call([{sys.executable!r}, '-c', CODE])"
    code = "import time; f = open('alive', 'w'); print(1, flush=True); time.sleep(60)"
    code = f"CODE = {code!r}; {child}"

    def interrupt(_line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, code, on_line=interrupt)
    # Ready to be read, with nothing in it: nobody holds the other end any more.
    ready, _, _ = select.select([reader], [], [], 30)
    assert ready
    os.close(reader)
