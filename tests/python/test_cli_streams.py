"""The command line with streams that are closed, full, cut off or not text."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest

from mlc_llm import cli
from mlc_llm.cli import progress

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no POSIX shell")


def run(command: str, model: Path | str = "") -> subprocess.CompletedProcess[str]:
    """Run a line for bash with `$MLC`, as a user's shell does; output is written in blocks."""
    setup = f"set -o pipefail; unset PYTHONUNBUFFERED; MLC='{sys.executable} -m mlc_llm'; "
    return subprocess.run(
        ["bash", "-c", f"{setup} MODEL='{model}'; {command}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-"])
@pytest.mark.parametrize("command", ["chat", "generate --max-tokens 2"])
def test_a_closed_stream_is_an_empty_one(tiny_model: Path, command: str, closed: str) -> None:
    done = run(f"$MLC {command} $MODEL --device cpu </dev/null {closed}", tiny_model)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    done = run("$MLC devices | :")
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_disk_is_told_in_one_line() -> None:
    done = run("$MLC devices > /dev/full")
    assert (done.returncode, done.stderr) == (1, "mlc_llm: No space left on device\n")


def test_an_error_names_the_file_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "file"
    file.touch()
    asset = Path(__file__).parents[1] / "assets/tiny"
    words = ["convert_weight", str(asset), "--quantization", "q0f16", "-o", str(file)]
    assert cli.main(words) == 1
    assert capsys.readouterr().err == f"mlc_llm: {file}: File exists\n"


@pytest.mark.parametrize("command", ["chat", "generate"])
@pytest.mark.parametrize("errors", ["strict", "surrogateescape"])  # Python's choice by the locale
def test_text_that_is_not_utf8_is_refused(tiny_model: Path, errors: str, command: str) -> None:
    encoding = f"PYTHONIOENCODING=utf-8:{errors}"
    done = run(f"printf 'ab\\377' | {encoding} $MLC {command} $MODEL --device cpu", tiny_model)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1] == "mlc_llm: The text is not UTF-8, from character 2 on."


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("term", "shown"),
    [("xterm", f"\r\33[K[{'#' * 15}{'-' * 15}]  50% a\r\33[K"), ("dumb", "")],
)
def test_a_bar_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch, term: str, shown: str
) -> None:
    monkeypatch.setattr(progress, "_INTERVAL", 0)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", term)
    bar = progress.Bar()
    bar.update("a", 1, 2)
    bar.close()
    assert terminal.getvalue() == shown
