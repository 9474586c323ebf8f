"""The workflows call sessions that exist, with words they know, and nothing that can change."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from string import Template
from typing import Any

import pytest
from nox import registry
from ruamel.yaml import YAML

import noxfile  # noqa: F401 - registers the sessions
from ci import wheels
from ci.lanes import load_lanes
from ci.paths import ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
SESSIONS = registry.get()
LANES = [lane.id for lane in load_lanes().values() if lane.built]
# What reads the words behind `--`, for each session that a workflow gives any.
PARSERS: dict[str, Callable[[list[str]], object]] = {"wheels": wheels.parse_arguments}


def read(text: str) -> dict[str, Any]:
    parsed: dict[str, Any] = YAML(typ="safe").load(text)
    return parsed


def steps(workflow: dict[str, Any], key: str) -> Iterator[str]:
    """Yield what every step says under `key` ("run" or "uses")."""
    for job in workflow["jobs"].values():
        yield from (step[key] for step in job.get("steps", []) if key in step)


def command_faults(command: str) -> Iterator[str]:
    """Say what nox or its session would refuse in `command`; `echo` alone needs no nox."""
    match shlex.split(command):
        case ["echo", _]:
            return
        case ["python3", "noxfile.py", "-s", session, *rest]:
            pass
        case _:
            yield f"not a session: {command}"
            return
    if session not in SESSIONS:
        yield f"no session {session}"
    elif rest and (rest[0] != "--" or session not in PARSERS):
        yield f"{session} takes no {rest}"
    elif rest:
        try:
            PARSERS[session](rest[1:])
        except SystemExit:
            yield f"{session} refuses {rest[1:]}"


def faults(text: str) -> Iterator[str]:
    """Say all that is wrong with one workflow."""
    workflow = read(text)
    if workflow.get("permissions") != {}:
        yield "permissions at the top are not empty"
    for action in steps(workflow, "uses"):
        if not re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}", action):
            yield f"not pinned: {action}"
    for command in steps(workflow, "run"):
        for lane in LANES:
            yield from command_faults(Template(command).safe_substitute(LANE=lane))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflow_is_sound(path: Path) -> None:
    assert list(faults(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    ("right", "wrong", "fault"),
    [
        ("permissions: {}", "permissions: read-all", "permissions at the top"),
        ("permissions: {}\n", "", "permissions at the top"),
        (r"(actions/checkout)@\w+", r"\1@v7", "not pinned: actions/checkout@v7"),
        ("-s lint", "-s lnit", "no session lnit"),
        ("-s lint", "-s lint -- --fix", "lint takes no"),
        ("--lane", "--line", "wheels refuses"),
        (r"python3 (noxfile.py -s lint)", r"pip install nox && nox \1", "not a session"),
    ],
)
def test_planted_fault_is_found(right: str, wrong: str, fault: str) -> None:
    text = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    planted, count = re.subn(right, wrong, text)
    assert count
    assert any(fault in found for found in faults(planted))


def test_wheels_runs_what_the_matrix_session_wrote() -> None:
    jobs = read((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))["jobs"]
    assert jobs["matrix"]["outputs"] == {"built": "${{ steps.lanes.outputs.built }}"}
    assert jobs["wheels"]["strategy"]["matrix"] == "${{ fromJSON(needs.matrix.outputs.built) }}"
    assert jobs["wheels"]["env"] == {"LANE": "${{ matrix.id }}"}


def test_every_clone_has_its_tags_and_keeps_no_token() -> None:
    for path in WORKFLOWS:
        for job in read(path.read_text(encoding="utf-8"))["jobs"].values():
            checkout = job["steps"][0]
            assert checkout["uses"].startswith("actions/checkout@")
            assert checkout["with"] == {"fetch-depth": 0, "persist-credentials": False}
