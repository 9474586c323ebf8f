"""`nox -s same-bytes`: the same commit gives the same bytes, wherever and however it is built.

Two clones in folders of different depth, each compiled from nothing (its own object cache), on
the host; then, for a lane of containers, once in one, where an engine answers or `--engine` demands
one.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from rich.table import Table

from ci.clones import Built, build_in, clone
from ci.errors import FactoryError
from ci.images import ENGINES
from ci.lanes import DEFAULT_LANE, find_lane, load_lanes
from ci.paths import ROOT
from ci.report.tables import console
from ci.session import run_session
from ci.version import read_source
from ci.wheels import choose_engine


def differences(first: Path, second: Path) -> Iterator[str]:
    """Say how two wheels differ, member by member."""
    with zipfile.ZipFile(first) as a, zipfile.ZipFile(second) as b:
        members_a = {info.filename: info for info in a.infolist()}
        members_b = {info.filename: info for info in b.infolist()}
        for name in sorted(members_a.keys() ^ members_b.keys()):
            yield f"{name} is only in the {'first' if name in members_a else 'second'}"
        for name in sorted(members_a.keys() & members_b.keys()):
            left, right = a.read(name), b.read(name)
            if left != right:
                pairs = enumerate(zip(left, right, strict=False))
                at = next((i for i, (x, y) in pairs if x != y), min(len(left), len(right)))
                yield f"{name} differs from byte {at} on: {left[at:][:40]!r} / {right[at:][:40]!r}"
        if first.read_bytes() != second.read_bytes():
            yield "the archives differ (order, times, modes or compression)"


def main(arguments: list[str]) -> int:
    """Build three ways and compare."""
    parser = argparse.ArgumentParser(prog="nox -s same-bytes --", description=__doc__)
    parser.add_argument(
        "--engine",
        choices=["auto", *ENGINES, "host"],
        default="auto",
        help="what the third is built in; host: there is none (default: %(default)s)",
    )
    parser.add_argument("--lane", default=DEFAULT_LANE, metavar="ID", help="default: %(default)s")
    options = parser.parse_args(arguments)
    lane = find_lane(options.lane, load_lanes())
    engine = choose_engine(lane, options.engine)
    if read_source(ROOT).dirty:
        print("The tree is dirty: what is compared is its last commit.")
    builds: dict[str, Built] = {}
    with tempfile.TemporaryDirectory(prefix="mlc_llm-same-bytes-") as name:
        root = Path(name)
        for title, place in (("host, one clone", "a"), ("host, another", "b/deeper/down")):
            objects = str(root / "objects" / place)
            builds[title] = build_in(clone(root / place), lane.id, "host", MLC_LLM_OBJECTS=objects)
        if engine in ENGINES:
            builds[f"{engine}, a third"] = build_in(clone(root / "c"), lane.id, engine)
        table = Table("build", "sha256", title="same-bytes")
        for title, built in builds.items():
            table.add_row(title, built.sha256)
        console().print(table)
        first, *others = builds.values()
        faults = [line for other in others for line in differences(first.wheel, other.wheel)]
        if faults:
            kept = ROOT / "build" / "same-bytes"
            shutil.rmtree(kept, ignore_errors=True)
            kept.mkdir(parents=True)
            for title, built in builds.items():
                shutil.copy(built.wheel, kept / f"{title.replace(', ', '-').replace(' ', '-')}.whl")
            print("\n".join(faults))
            raise FactoryError(f"the bytes differ; the wheels are in {kept}.", phase="compare")
    if engine == "host":
        print("not run: the container's build, since the engine is the host")
    print("the same bytes")
    return 0


if __name__ == "__main__":
    run_session(main)
