"""Smoke-test a final wheel: `python -m ci.smoke WHEEL`, the lane in $MLC_LLM_LANE.

Each outcome is one line, `smoke: {json}`, which ci/wheels.py reads from whichever engine ran it.
Exits 1 when a check failed.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from ci.checks import FAILED, NOT_RUN, Check
from ci.engines import can_run, runs_here
from ci.lanes import find_lane, load_lanes
from ci.smoke import PREFIX, host, qemu, wine
from ci.smoke.cases import run_cases

STAND_INS = {"qemu": qemu.cases, "wine": wine.cases}


def smoke(wheel: Path) -> Iterator[Check]:
    """Run every case of the wheel's machine, or of what stands in for it here."""
    lane = find_lane(os.environ["MLC_LLM_LANE"], load_lanes())
    if not can_run(lane):
        reason = f"only a machine of its own can run {lane.platform} wheels, in CI {lane.runner}"
        yield Check(f"smoke: {lane.system}", NOT_RUN, reason)
        return
    cases_of = host.cases if runs_here(lane) else STAND_INS[lane.stand_in]
    with (
        tempfile.TemporaryDirectory(prefix="mlc_llm-smoke-") as root,
        cases_of(Path(root), wheel) as cases,
    ):
        yield from run_cases(cases, version=wheel.name.split("-")[1])


def main(arguments: list[str]) -> int:
    """Smoke-test the wheel that `arguments` names."""
    (wheel,) = arguments
    failed = False
    for check in smoke(Path(wheel).resolve()):
        print(PREFIX + json.dumps(asdict(check)), flush=True)
        failed = failed or check.status == FAILED
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
