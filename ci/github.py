"""What the factory says to GitHub's workflows; elsewhere it says nothing."""

from __future__ import annotations

import os
from pathlib import Path


def set_output(name: str, value: str) -> None:
    """Set an output of the step that runs."""
    if outputs := os.environ.get("GITHUB_OUTPUT"):
        with Path(outputs).open("a", encoding="utf-8") as file:
            file.write(f"{name}={value}\n")


def run_address() -> str:
    """Return the address of the run that this is a job of; empty elsewhere."""
    if not os.environ.get("GITHUB_ACTIONS"):
        return ""
    words = (os.environ.get(f"GITHUB_{x}", "") for x in ("SERVER_URL", "REPOSITORY", "RUN_ID"))
    return "{}/{}/actions/runs/{}".format(*words)


def show_error(message: str) -> None:
    """Show `message` on the run's own page."""
    if os.environ.get("GITHUB_ACTIONS"):
        print(f"::error::{message}", flush=True)
