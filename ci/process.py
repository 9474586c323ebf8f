"""Running long commands: a log file, progress that is never silent, errors that say where."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from ci import shell
from ci.errors import FactoryError
from ci.paths import ROOT

HEARTBEAT_S = 15.0
TAIL_LINES = 15
STOP_S = 5.0  # from the polite signal to the other one


def run_logged(
    command: Sequence[str | Path],
    *,
    log: Path,
    lane: str,
    phase: str,
    cwd: Path,
    env: Mapping[str, str],
    on_line: Callable[[str], bool | None] = lambda _line: None,
    hint: str = "",
    on_failure: Callable[[], None] | None = None,
) -> None:
    """Run `command`, append all it prints to `log`, and pass each line to `on_line`.

    The newest line is shown as progress, unless `on_line` returns True: it has said all about it.

    Where a shell is wanted (ci/shell.py), a failure opens one; `on_failure` would open another.

    Raises FactoryError with the end of the output when it fails. On an interrupt the command and
    all its children are stopped before KeyboardInterrupt goes on.
    """
    words = [os.fspath(word) for word in command]
    log.parent.mkdir(parents=True, exist_ok=True)
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    with log.open("a", encoding="utf-8") as record, Heartbeat(lane, phase) as heartbeat:
        record.write(f"$ {shlex.join(words)}\n")
        record.flush()
        try:
            process = subprocess.Popen(
                words,
                cwd=cwd,
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                encoding="utf-8",
                errors="replace",
                start_new_session=os.name == "posix",
            )
        except OSError as error:
            raise FactoryError(
                f"{words[0]} cannot be started: {error.strerror}.",
                lane=lane,
                phase=phase,
                hint=hint,
            ) from error
        try:
            assert process.stdout is not None  # noqa: S101 - we asked for a pipe
            for line in process.stdout:
                record.write(line)
                record.flush()
                told = on_line(line.rstrip())
                if line.strip():
                    tail.append(line.rstrip())
                    if not told:
                        heartbeat.note(line.strip())
            status = process.wait()
        except BaseException:
            stop(process)
            raise
    if status != 0:
        shown = "\n".join(f"    {line}" for line in tail)
        print(f"{shown}\n", file=sys.stderr, flush=True)
        if shell.wanted():
            if on_failure:
                on_failure()
            else:
                shell.open_shell(command, cwd, env)
        raise FactoryError(
            f"`{' '.join(words[:4])} ...` failed with exit status {status}; the end of what it "
            "printed is above.",
            lane=lane,
            phase=phase,
            log=log,
            hint=hint,
        )


def call_patiently(command: Sequence[str | Path], **options: Any) -> int:
    """Run one of the factory's own commands; on Ctrl-C let it clean up (subprocess.call kills)."""
    process = subprocess.Popen([os.fspath(word) for word in command], **options)
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.wait()
        raise


def call_step(
    phase: str,
    command: Sequence[str | Path],
    env: Mapping[str, str],
    *,
    failed: Callable[[], list[str]] = list,
) -> None:
    """Run one step of a session, in the checkout, its output shown as it comes.

    Raises FactoryError when it fails; `failed` then names the tests that did. Where a shell is
    wanted (ci/shell.py), a failure opens one.
    """
    if status := call_patiently(command, cwd=ROOT, env=dict(env)):
        if shell.wanted():
            shell.open_shell(command, ROOT, env)
        raise FactoryError(
            "it failed; its own words are above.",
            phase=phase,
            failed=failed(),
            exit_status=status,
        )


def stop(process: subprocess.Popen[str]) -> None:
    """End `process` and its children: politely, then not."""
    if process.poll() is not None:
        return
    for sign in (signal.SIGINT, signal.SIGKILL if os.name == "posix" else signal.SIGTERM):
        try:
            if os.name == "posix":
                os.killpg(process.pid, sign)
            else:
                process.send_signal(sign)
            process.wait(timeout=STOP_S)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue
        return


class Heartbeat:
    """Says every few seconds what a quiet phase is doing."""

    def __init__(self, lane: str, phase: str, stream: IO[str] | None = None) -> None:
        self.name = ": ".join(filter(None, (lane, phase)))
        self.stream = stream or sys.stderr
        self.latest = ""
        self.start = time.monotonic()
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._beat, daemon=True)

    def note(self, line: str) -> None:
        """Remember the newest line, for the next beat."""
        self.latest = line[:100]

    def __enter__(self) -> Heartbeat:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.done.set()
        self.thread.join()

    def _beat(self) -> None:
        while not self.done.wait(HEARTBEAT_S):
            elapsed = time.monotonic() - self.start
            print(f"  {self.name}: {elapsed:.0f} s ... {self.latest}", file=self.stream, flush=True)
