"""Running things as if nothing of this process's environment were there."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

TIMEOUT_S = 300
UNWANTED = ("PYTHON", "VIRTUAL_ENV", "VK_", "MLC_LLM_", "LD_", "WINE")


def clean_env() -> dict[str, str]:
    """Return this process's environment without what could reach into a clean one."""
    return {k: v for k, v in os.environ.items() if not k.startswith(UNWANTED)}


def run_cleanly(command: list[str | Path], *, cwd: Path | None = None, **variables: str) -> str:
    """Run `command` with `variables` in a clean environment and return what it printed.

    Raises subprocess.CalledProcessError when it fails.
    """
    result = subprocess.run(
        command,
        cwd=cwd,
        env={**clean_env(), **variables},
        check=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        timeout=TIMEOUT_S,
    )
    return result.stdout.strip()


def uv(*arguments: str | Path, **variables: str) -> str:
    """Run the toolchain's uv with `variables` and return what it printed.

    Raises subprocess.CalledProcessError when it fails.
    """
    program = Path(os.environ["MLC_LLM_TOOLCHAIN"]) / "bin" / "uv"
    options = ("--no-progress", "--no-config")
    return run_cleanly([program, *options, *arguments], cwd=None, **variables)
