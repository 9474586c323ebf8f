"""What the factory says to GitHub's workflows; elsewhere it says nothing."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path


def set_output(name: str, value: str) -> None:
    """Set an output of the step that runs."""
    if outputs := os.environ.get("GITHUB_OUTPUT"):
        with Path(outputs).open("a", encoding="utf-8") as file:
            file.write(f"{name}={value}\n")


def tell_how_to_repeat(session: Sequence[str]) -> None:
    """Show the command that runs a failed session again on any machine."""
    if os.environ.get("GITHUB_ACTIONS"):
        command = f"python3 noxfile.py -s {shlex.join(session)}"
        commit = os.environ.get("GITHUB_SHA", "")
        print(f"::error::To run this again anywhere, at commit {commit}: {command}", flush=True)
