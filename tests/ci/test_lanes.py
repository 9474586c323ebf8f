import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ci.errors import FactoryError
from ci.lanes import TABLE, Lane, find_lane, load_lanes, matrix
from ci.paths import ROOT

LANES = load_lanes()


def test_first_lanes_are_declared() -> None:
    assert {lane.id: lane.state for lane in LANES.values()} == {
        "linux-x86_64": "built",
        "windows-x86_64": "built",
        "linux-aarch64": "built",
        "macos-arm64": "built",
    }


def test_glibc_floor_comes_from_the_platform_tag() -> None:
    assert LANES["linux-x86_64"].glibc == "2.28"
    assert LANES["windows-x86_64"].glibc == LANES["macos-arm64"].glibc == ""


def test_oldest_macos_comes_from_the_platform_tag() -> None:
    assert LANES["macos-arm64"].macos == "11.0"
    assert LANES["macos-arm64"].zig_target.endswith("-macos.11.0")
    assert LANES["linux-aarch64"].macos == ""


def test_wheel_of_another_system_runs_here_by_what_stands_in() -> None:
    assert {lane.id: lane.stand_in for lane in LANES.values()} == {
        "linux-x86_64": "",
        "windows-x86_64": "wine",
        "linux-aarch64": "qemu",
        "macos-arm64": "",
    }


@pytest.mark.parametrize(
    ("lane", "system", "python", "uv"),
    [
        ("linux-x86_64", "linux", "linux-x86_64", "x86_64-manylinux_2_28"),
        ("windows-x86_64", "windows", "win-amd64", "x86_64-pc-windows-msvc"),
        ("linux-aarch64", "linux", "linux-aarch64", "aarch64-manylinux_2_28"),
        ("macos-arm64", "macos", "macosx-11.0-arm64", "aarch64-apple-darwin"),
    ],
)
def test_platform_in_each_tools_words(lane: str, system: str, python: str, uv: str) -> None:
    row = LANES[lane]
    assert (row.system, row.python_platform, row.uv_platform) == (system, python, uv)


@pytest.mark.parametrize("lane", [lane for lane in LANES.values() if lane.glibc])
def test_zig_compiles_for_the_promised_glibc(lane: Lane) -> None:
    assert lane.zig_target.endswith(f"-linux-gnu.{lane.glibc}")


def test_unknown_lane_is_refused_with_the_choices() -> None:
    with pytest.raises(FactoryError, match=r"no lane 'linux'.*linux-x86_64, windows-x86_64"):
        find_lane("linux", LANES)


def test_matrix_holds_every_lane() -> None:
    rows = json.loads(matrix(LANES.values()))["include"]
    assert [row["id"] for row in rows] == list(LANES)


def test_workflow_is_handed_the_lanes_that_are_built(tmp_path: Path) -> None:
    output = tmp_path / "output"
    env = os.environ | {"GITHUB_OUTPUT": str(output)}
    subprocess.run([sys.executable, "-m", "ci.lanes"], cwd=ROOT, env=env, check=True)
    lines = dict(line.split("=", 1) for line in output.read_text().splitlines())
    rows = {name: json.loads(value)["include"] for name, value in lines.items()}
    assert {row["state"] for row in rows["built"]} == {"built"}
    assert rows["released"] == [row for row in rows["built"] if row["released"]]


@pytest.mark.parametrize("line", ["", 'platform = "any"\nbuilt = true'])
def test_row_with_wrong_fields_is_refused(tmp_path: Path, line: str) -> None:
    table = tmp_path / "lanes.toml"
    table.write_text(f"[some-lane]\n{line}\n")
    with pytest.raises(FactoryError, match=r"some-lane has missing or unknown fields: build"):
        load_lanes(table)


@pytest.mark.parametrize(
    ("name", "wrong", "wanted"),
    [
        ("state", '"bulit"', "'built' or 'declared'"),
        ("build", '"contianer"', "'container' or 'cross'"),
        ("tested", '["container", "hots"]', "a list of 'container', 'host', 'wine' or 'qemu'"),
        ("released", '"yes"', "bool"),
        ("platform", "1", "str"),
        ("needed", '"libc.so.6"', "a list of str"),
        ("needed", "[1]", "a list of str"),
        ("size_budget", '"big"', "int"),
        ("size_budget", "true", "int"),
    ],
)
def test_mistyped_field_is_refused(tmp_path: Path, name: str, wrong: str, wanted: str) -> None:
    table = tmp_path / "lanes.toml"
    row = TABLE.read_text().partition("[windows-x86_64]")[2].partition("\n\n")[0]
    changed = re.sub(rf"(?m)^{name} = .*$", f"{name} = {wrong}", row)
    assert changed != row
    table.write_text(f"[some-lane]{changed}\n")
    with pytest.raises(FactoryError, match=rf"some-lane has {name} = .*; it must be {wanted}\."):
        load_lanes(table)
