"""Builds in fresh clones, for sessions that compare builds with each other."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from ci.errors import FactoryError
from ci.manifest import read_manifest
from ci.paths import ROOT, WORK
from ci.process import call_patiently
from ci.record import SESSION
from ci.results import read_result


@dataclass(frozen=True)
class Built:
    """A wheel that `build_in` made: seconds are by phase, as ci/wheels.py measured them."""

    wheel: Path
    sha256: str
    seconds: dict[str, float]


def clone(directory: Path, source: Path = ROOT) -> Path:
    """Clone the HEAD of `source`, history and tags, into `directory`."""
    status = subprocess.run(
        ["git", "clone", "--quiet", "--no-hardlinks", source, directory], check=False
    )
    if status.returncode:
        raise FactoryError(f"{source} could not be cloned into {directory}.")
    return directory


def build_in(checkout: Path, lane: str, engine: str, **variables: str) -> Built:
    """Run the checkout's own `wheels` session logic there, with `variables` in its environment."""
    command = [sys.executable, "-m", "ci.wheels", "--lane", lane, "--engine", engine]
    env = {name: value for name, value in os.environ.items() if name != SESSION}
    if call_patiently(command, cwd=checkout, env=env | variables):
        raise FactoryError(
            f"the build with {engine} in {checkout} failed; its message is above.",
            lane=lane,
        )
    wheelhouse = checkout / "wheelhouse"
    (record,) = read_manifest(wheelhouse).wheels
    result = read_result(checkout / WORK.relative_to(ROOT) / lane)
    return Built(wheelhouse / record.file, record.sha256, result.seconds)
