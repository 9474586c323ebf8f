"""The table of lanes: `lanes.toml` as typed rows."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from ci.errors import FactoryError, UsageError
from ci.github import set_output
from ci.session import run_session
from ci.toml import read_toml

DEFAULT_LANE = "linux-x86_64"  # what tests, benchmarks and the build image are for
TABLE = Path(__file__).with_name("lanes.toml")
FILE_NAMES = {"linux": "libmlc_llm.so", "windows": "mlc_llm.dll", "macos": "libmlc_llm.dylib"}
STAND_INS = ("wine", "qemu")
UV_SYSTEMS = {"windows": "pc-windows-msvc", "macos": "apple-darwin"}


@dataclass(frozen=True)
class Lane:
    """One row of `lanes.toml`; the file's head explains each field."""

    id: str
    platform: str
    build: Literal["container", "cross"]
    state: Literal["built", "declared"]
    tested: tuple[Literal["container", "host", "wine", "qemu"], ...]
    released: bool
    runner: str
    cibuildwheel: str
    zig_target: str
    cpu: str
    machine: str
    needed: tuple[str, ...]
    exclude: tuple[str, ...]
    size_budget: int
    may_not_run: tuple[str, ...]

    @property
    def built(self) -> bool:
        """Whether `nox -s wheels` can make this lane's wheel."""
        return self.state == "built"

    @property
    def glibc(self) -> str:
        """The glibc floor that the platform tag promises, "2.28"; empty off Linux."""
        match = re.fullmatch(r"manylinux_(\d+)_(\d+)_\w+", self.platform)
        return ".".join(match.groups()) if match else ""

    @property
    def macos(self) -> str:
        """The oldest macOS that the platform tag promises, "11.0"; empty elsewhere."""
        match = re.fullmatch(r"macosx_(\d+)_(\d+)_\w+", self.platform)
        return ".".join(match.groups()) if match else ""

    @property
    def processor(self) -> str:
        """The processor as zig calls it: x86_64 or aarch64."""
        return self.zig_target.split("-")[0]

    @property
    def system(self) -> str:
        """The operating system as zig calls it: linux, windows or macos."""
        return self.zig_target.split("-")[1].partition(".")[0]

    @property
    def stand_in(self) -> str:
        """What runs the lane's wheels on another machine, wine or qemu; empty: nothing does."""
        return next((place for place in self.tested if place in STAND_INS), "")

    @property
    def library(self) -> str:
        """The native library's place in the wheel."""
        return f"mlc_llm/lib/{FILE_NAMES[self.system]}"

    @property
    def own_tag(self) -> str:
        """What cibuildwheel calls the platform on a machine of its own: without a version."""
        return re.sub(r"_\d+_\d+_", "_", self.platform)

    @property
    def python_platform(self) -> str:
        """What sysconfig.get_platform() says there."""
        platform = re.sub(r"^manylinux_\d+_\d+", "linux", self.platform)
        platform = re.sub(r"^macosx_(\d+)_(\d+)_", r"macosx-\1.\2-", platform)
        return platform.replace("_", "-", 1)

    @property
    def uv_platform(self) -> str:
        """What uv calls the platform (--python-platform)."""
        if not self.glibc:
            return f"{self.processor}-{UV_SYSTEMS[self.system]}"
        return f"{self.processor}-{self.platform.removesuffix(f'_{self.processor}')}"


def load_lanes(table: Path = TABLE) -> dict[str, Lane]:
    """Return every lane by id, in the table's order.

    Raises FactoryError for a row with a missing, unknown or mistyped field.
    """
    lanes = {}
    for lane_id, row in read_toml(table).items():
        expected = {field.name for field in fields(Lane)} - {"id"}
        if wrong := expected.symmetric_difference(row):
            raise FactoryError(
                f"{table.name}: lane {lane_id} has missing or unknown fields: "
                f"{', '.join(sorted(wrong))}.",
                hint="The head of the file lists the fields.",
            )
        kinds = get_type_hints(Lane)
        for name, value in row.items():
            if not _fits(value, kinds[name]):
                raise FactoryError(
                    f"{table.name}: lane {lane_id} has {name} = {value!r}; it must be "
                    f"{_describe(kinds[name])}.",
                    hint="The head of the file explains the fields.",
                )
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in row.items()
        }
        lanes[lane_id] = Lane(id=lane_id, **values)
    return lanes


def _fits(value: object, kind: Any) -> bool:
    """Whether a value of the table may become a field annotated as `kind`."""
    if get_origin(kind) is tuple:
        return isinstance(value, list) and all(_fits(item, get_args(kind)[0]) for item in value)
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    return type(value) is kind  # to isinstance, true would be an int


def _describe(kind: Any) -> str:
    if get_origin(kind) is tuple:
        return f"a list of {_describe(get_args(kind)[0])}"
    if get_origin(kind) is Literal:
        *most, last = map(repr, get_args(kind))
        return f"{', '.join(most)} or {last}"
    return str(kind.__name__)


def find_lane(lane_id: str, lanes: dict[str, Lane]) -> Lane:
    """Return the lane called `lane_id`, or raise FactoryError with the ones there are."""
    if lane_id not in lanes:
        raise UsageError(
            f"there is no lane {lane_id!r}.",
            hint=f"The lanes are {', '.join(lanes)}: choose one of them with --lane.",
        )
    return lanes[lane_id]


def matrix(lanes: Iterable[Lane]) -> str:
    """Return `lanes` as a workflow's build matrix: one line of JSON."""
    shown = ("id", "platform", "build", "state", "released", "runner")
    rows = [{name: getattr(lane, name) for name in shown} for lane in lanes]
    return json.dumps({"include": rows})


def main(arguments: list[str]) -> int:
    """Print the matrix of all lanes; in a workflow, set its outputs `built` and `released`."""
    argparse.ArgumentParser(prog="nox -s matrix --", description=main.__doc__).parse_args(arguments)
    lanes = load_lanes().values()
    print(matrix(lanes))
    set_output("built", matrix(lane for lane in lanes if lane.built))
    set_output("released", matrix(lane for lane in lanes if lane.built and lane.released))
    return 0


if __name__ == "__main__":
    run_session(main)
