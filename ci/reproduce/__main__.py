"""`nox -s reproduce`: run a failed session again in a clean clone, and say if it fails the same."""

from __future__ import annotations

import argparse
import os
import shlex
import tempfile
from dataclasses import replace
from pathlib import Path

from ci.errors import FactoryError
from ci.lanes import DEFAULT_LANE, find_lane, load_lanes
from ci.machine import this_machine
from ci.paths import ROOT
from ci.process import call_patiently
from ci.record import FOLDER, Failure, Record, lock_digests, read_diff, read_record
from ci.reproduce.actions import download_record, is_run
from ci.reproduce.checkout import make_checkout
from ci.reproduce.conditions import Conditions, prepare
from ci.reproduce.verdict import STATUS, Verdict, describe, judge
from ci.session import run_session
from ci.shell import WISH
from ci.version import read_source

# What has to be made before some sessions can begin.
FIRST = {
    "reference": ("wheels", "--", "--lane", DEFAULT_LANE),
    "release": ("wheels", "--", "--wheelhouse", "build/wheelhouses"),
}
NO_SESSION = 3  # nox's status; of a session that fails it is 1
EPILOG = """\
exit status of `python -m ci.reproduce`: 0 reproduced, 3 not reproduced, 4 a different failure,
1 it could not be tried. nox makes 1 of all but 0.
"""


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """Read the words behind `nox -s reproduce --`."""
    parser = argparse.ArgumentParser(
        prog="nox -s reproduce --",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "what",
        metavar="RECORD|RUN|LANE",
        help="build/records/SESSION.json, which a failed session left; the address of an Actions "
        "run, whose records are downloaded with $GH_TOKEN; or a lane of ci/lanes.toml, built at "
        "HEAD",
    )
    parser.add_argument(
        "--record", metavar="NAME", default="", help="which one, where a run has several"
    )
    parser.add_argument(
        "--shell",
        action="store_true",
        help="open a shell where the session fails: its folder, its environment, its container",
    )
    return parser.parse_args(arguments)


def find_record(what: str, name: str) -> tuple[Record, bool]:
    """Return the record that `what` stands for, and whether it tells of a failure."""
    if is_run(what):
        with tempfile.TemporaryDirectory(prefix="mlc_llm-record-") as folder:
            return read_record(download_record(what, name, Path(folder), os.environ)), True
    if what in load_lanes() or not (what.endswith(".json") or Path(what).exists()):
        return lane_record(find_lane(what, load_lanes()).id), False
    return read_record(Path(what)), True


def lane_record(lane: str) -> Record:
    """Return what a record of the lane would be here and now; its failure means nothing."""
    return Record(
        session="wheels",
        arguments=("--lane", lane),
        lane=lane,
        commit=read_source(ROOT).commit,
        diff=read_diff(),
        engine="",
        image="",
        locks=lock_digests(),
        machine=this_machine(),
        environment={},
        job={},
        failure=Failure("", (), 1, ""),
    )


def run_again(record: Record, checkout: Path, conditions: Conditions) -> Failure | None:
    """Run the session in `checkout`; return how it failed, or None.

    Raises FactoryError where the checkout has no such session.
    """
    nox = [os.fspath(conditions.python), "noxfile.py", "-s"]
    left = checkout / FOLDER / f"{record.session}.json"
    first = FIRST.get(record.session)
    words = (record.session, *(("--", *conditions.arguments) if conditions.arguments else ()))
    for session in filter(None, (first, words)):
        command = [*nox, *session]
        print(f"$ cd {checkout} && {shlex.join(command)}", flush=True)
        if status := call_patiently(command, cwd=checkout, env=conditions.environment):
            if left.is_file():
                return read_record(left).failure
            if status == NO_SESSION:
                raise FactoryError(
                    f"commit {record.commit[:12]} has no session {session[0]}.",
                    hint="A record is what a failed session leaves: take it as it is.",
                )
            return Failure(f"{session[0]}, before it began", (), status, "")
    return None


def report(record: Record, verdict: Verdict, checkout: Path) -> None:
    """Print the verdict and what speaks for it."""
    print(f"\nverdict: {verdict.word}")
    for reason in verdict.reasons:
        print(f"  {reason}")
    print(f"The checkout is kept: {checkout}")
    if record.job:
        print("The record is of " + " ".join(f"{k}={v}" for k, v in record.job.items()))


def main(arguments: list[str]) -> int:
    """Reproduce, print the verdict, and return its status."""
    options = parse_arguments(arguments)
    record, failed = find_record(options.what, options.record)
    changed = ", with changes" if record.diff else ""
    print(f"session {record.session} at {record.commit}{changed}")
    if failed:
        print(f"It failed: {describe(record.failure)}")
    checkout = make_checkout(record)
    conditions = prepare(record, checkout)
    if options.shell:
        conditions = replace(conditions, environment=conditions.environment | {WISH: "1"})
    for line in conditions.differences:
        print(f"differs: {line}")
    if failed and not conditions.differences:
        print("Python, processor, Vulkan, locks and image are those of the record.")
    seen = run_again(record, checkout, conditions)
    here = this_machine()
    elsewhere = (here.system, here.machine) != (record.machine.system, record.machine.machine)
    verdict = judge(record.failure if failed else None, seen, elsewhere=elsewhere)
    report(record, verdict, checkout)
    return STATUS[verdict.word]


if __name__ == "__main__":
    run_session(main)
