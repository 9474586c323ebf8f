"""A shell where a command has failed, for `nox -s reproduce -- ... --shell`."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

WISH = "MLC_LLM_SHELL"  # set where a shell is wanted


def wanted() -> bool:
    """Whether a failing command is to be followed by a shell."""
    return WISH in os.environ


def without_wish(env: Mapping[str, str]) -> dict[str, str]:
    """Return `env` for a command that must not open shells of its own."""
    return {name: value for name, value in env.items() if name != WISH}


def open_shell(command: Sequence[str | Path], cwd: Path, env: Mapping[str, str]) -> None:
    """Open a shell in the folder and the environment of the `command` that has failed."""
    words = shlex.join(os.fspath(word) for word in command)
    print(f"\nThis failed, and here is a shell in its place; leave it with `exit`:\n  {words}")
    print(f"  in {cwd}\n", flush=True)
    shell = os.environ.get("SHELL") or ("cmd" if sys.platform == "win32" else "/bin/sh")
    subprocess.call([shell], cwd=cwd, env=without_wish(env))


def open_container_shell(engine: str, container: str, cwd: str, env: Mapping[str, str]) -> None:
    """Start `container`, which has stopped, again, and open a shell in it."""
    print(f"\nThe container is kept, and here is a shell in its {cwd}; leave it with `exit`.")
    sys.stdout.flush()
    subprocess.run([engine, "start", container], capture_output=True, check=False)
    variables = [f"--env={name}={value}" for name, value in env.items()]
    terminal = ["--tty"] if sys.stdin.isatty() else []
    execute = [engine, "exec", "--interactive", *terminal, f"--workdir={cwd}", *variables]
    subprocess.call([*execute, container, "/bin/bash"])
