"""A clean clone at the commit of a record, with what its author had changed."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from ci.clones import clone
from ci.errors import FactoryError
from ci.paths import ROOT, WORK
from ci.record import Record

CHECKOUT = WORK / "reproduce"


def make_checkout(record: Record, directory: Path = CHECKOUT, source: Path = ROOT) -> Path:
    """Clone `source` into `directory`, which is emptied, at the record's state.

    Raises FactoryError when the commit is not here or the changes do not apply.
    """
    shutil.rmtree(directory, ignore_errors=True)
    clone(directory, source)
    checkout = ["git", "-C", os.fspath(directory), "checkout", "--quiet", "--detach", record.commit]
    if subprocess.run(checkout, capture_output=True, check=False).returncode:
        raise FactoryError(
            f"commit {record.commit} is not in this repository.",
            hint=f"Fetch it: `git fetch origin {record.commit}`.",
        )
    if record.diff:
        apply = ["git", "-C", os.fspath(directory), "apply", "--whitespace=nowarn"]
        data = record.diff.encode("utf-8", "surrogateescape")
        done = subprocess.run(apply, input=data, capture_output=True, check=False)
        if done.returncode:
            reason = done.stderr.decode(errors="replace").strip()
            raise FactoryError(f"the record's changes do not apply to its commit: {reason}")
    return directory
