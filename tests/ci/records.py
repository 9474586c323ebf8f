"""A record as a failed session would have left it."""

import json
from dataclasses import asdict, replace
from pathlib import Path

from ci.machine import Machine
from ci.record import Failure, Record

MACHINE = Machine("linux", "x86_64", "3.11.2", "avx512", "driver")
FAILURE = Failure("verify", ("size",), 1, "1 of 40 checks failed")
RECORD = Record(
    session="wheels",
    arguments=("--lane", "linux-x86_64"),
    lane="linux-x86_64",
    commit="0123456789abcdef0123456789abcdef01234567",
    diff="",
    engine="host",
    image="",
    locks={"dev.txt": "0" * 64},
    machine=MACHINE,
    environment={"LANG": "C.UTF-8"},
    job={},
    failure=FAILURE,
)


def write_record(path: Path, **changes: object) -> Path:
    """Write RECORD, changed, into `path` and return it."""
    path.write_text(json.dumps(asdict(replace(RECORD, **changes))))  # type: ignore[arg-type]
    return path
