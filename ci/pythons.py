"""The Pythons that the project supports, and where this machine has them."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from ci.paths import ROOT
from ci.toml import read_toml


def supported_pythons(pyproject: Path = ROOT / "pyproject.toml") -> list[str]:
    """Return the Python versions that the project's classifiers name, oldest first."""
    classifiers = "\n".join(read_toml(pyproject)["project"]["classifiers"])
    minors = [int(minor) for minor in re.findall(r"Python :: 3\.(\d+)", classifiers)]
    return [f"3.{minor}" for minor in sorted(minors)]


def find_python(version: str) -> Path | None:
    """Return an interpreter of `version` ("3.13") on this machine, or None."""
    return next((python for python in _candidates(version) if _runs(python)), None)


def _candidates(version: str) -> Iterator[Path]:
    """Yield what may be one: on PATH, in a manylinux image, from pyenv, from uv."""
    compact = version.replace(".", "")
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    managed = Path(
        os.environ.get("UV_PYTHON_INSTALL_DIR") or Path.home() / ".local/share/uv/python"
    )
    folders = [
        *(Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep)),
        Path(f"/opt/python/cp{compact}-cp{compact}/bin"),
        *sorted(pyenv.glob(f"versions/{version}.*/bin")),
        *sorted(managed.glob(f"cpython-{version}.*/bin")),
    ]
    for folder in folders:
        if os.access(python := folder / f"python{version}", os.X_OK):
            yield python


def _runs(python: Path) -> bool:
    """Whether `python` starts: a shim may be there for a version that is not."""
    return subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode == 0
