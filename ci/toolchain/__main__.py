"""`nox -s toolchain`: everything that builds need from elsewhere, before the first one needs it."""

from __future__ import annotations

import argparse
import time

from ci.lanes import Lane
from ci.paths import WORK
from ci.session import run_session
from ci.toolchain import ensure_toolchain, ensure_tvm_ffi
from ci.wheels import choose_lanes

LOG = WORK / "toolchain.log"


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """Read the words behind `nox -s toolchain --`."""
    parser = argparse.ArgumentParser(
        prog="nox -s toolchain --",
        description="Install the toolchain into the user's cache and compile each lane's C++ "
        "library with it, as the first build on this machine would. Containers have both in their "
        "image (`nox -s image`).",
    )
    parser.add_argument("--lane", metavar="ID", help="only for this row of ci/lanes.toml")
    return parser.parse_args(arguments)


def provide(lane: Lane) -> None:
    """Have the lane's toolchain ready, and say so."""
    start = time.monotonic()
    toolchain = ensure_toolchain(lane, LOG)
    if lane.build == "cross":
        ensure_tvm_ffi(lane, LOG)
    print(f"{lane.id}: {toolchain.directory} ({time.monotonic() - start:.0f} s)", flush=True)


def main(arguments: list[str]) -> int:
    """Provide for the lanes that `nox -s wheels` would build; raise FactoryError at a failure."""
    lanes = choose_lanes(parse_arguments(arguments).lane)
    LOG.parent.mkdir(parents=True, exist_ok=True)
    LOG.unlink(missing_ok=True)
    for lane in lanes:
        if lane.built:
            provide(lane)
    return 0


if __name__ == "__main__":
    run_session(main)
