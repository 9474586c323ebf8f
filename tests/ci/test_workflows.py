"""The workflows call sessions that exist, with words they know, and nothing that can change."""

from __future__ import annotations

import importlib
import inspect
import re
import shlex
from collections.abc import Iterator
from fnmatch import fnmatch
from string import Template
from typing import Any

import pytest
from nox import registry
from ruamel.yaml import YAML

import noxfile  # noqa: F401 - registers the sessions
from ci import images
from ci.lanes import load_lanes
from ci.paths import ROOT
from ci.record import FOLDER as FOLDER_OF_RECORDS

FOLDER = ROOT / ".github" / "workflows"
WORKFLOWS = {path.stem: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.yml")}
SESSIONS = registry.get()
# What the workflows' variables may hold.
VARIABLES = {
    "GITHUB_REF_NAME": "v1.2.3",
    "GITHUB_REPOSITORY": "owner/name",
    "IMAGE": "",
    "REGISTRY": "ghcr.io",
}
LANES = [lane.id for lane in load_lanes().values() if lane.built]
RELEASED = [lane.id for lane in load_lanes().values() if lane.built and lane.released]
LONGEST_RETENTION = 7  # days
RECORDS = f"{FOLDER_OF_RECORDS.as_posix()}/"


def read(text: str) -> dict[str, Any]:
    parsed: dict[str, Any] = YAML(typ="safe").load(text)
    return parsed


def command_faults(command: str) -> Iterator[str]:
    """Say what nox or its session would refuse in `command`."""
    match shlex.split(command):
        case ["python3", "noxfile.py", "-s", session, *rest]:
            pass
        case _:
            yield f"not a session: {command}"
            return
    if session not in SESSIONS:
        yield f"no session {session}"
    elif rest:
        module = re.search(r'run\(session, "(\w+)"', inspect.getsource(SESSIONS[session].func))
        parse = module and find_parser(f"ci.{module[1]}")
        if rest[0] != "--" or not parse:
            yield f"{session} takes no {rest}"
            return
        try:
            parse(rest[1:])
        except SystemExit:
            yield f"{session} refuses {rest[1:]}"


def find_parser(module: str) -> Any:
    """Return what reads the words behind `--` in a module of the factory, or None."""
    found = importlib.import_module(module)
    if hasattr(found, "__path__"):
        found = importlib.import_module(f"{module}.__main__")
    return getattr(found, "parse_arguments", None)


def step_faults(step: dict[str, Any]) -> Iterator[str]:
    """Say what is wrong with one step: it is a session, or an action that cannot change."""
    if command := step.get("run"):
        for lane in LANES:
            yield from command_faults(Template(command).substitute(VARIABLES, LANE=lane))
    action, _, version = step.get("uses", "").partition("@")
    if action and not re.fullmatch(r"[0-9a-f]{40}", version):
        yield f"not pinned: {step['uses']}"
    options = step.get("with", {})
    if action == "actions/checkout" and options != {"fetch-depth": 0, "persist-credentials": False}:
        yield "a clone keeps a token, or has no tags"
    if action == "actions/upload-artifact" and options["retention-days"] > LONGEST_RETENTION:
        yield "an artifact is kept too long"
    if step.get("if") == "failure()" and RECORDS not in options.get("path", "").splitlines():
        yield "a failure's records are not kept"
    if action == "actions/cache" or "run-id" in options or "github-token" in options:
        yield f"something of another run: {step['uses']}"


def job_faults(name: str, job: dict[str, Any]) -> Iterator[str]:
    """Say what is wrong with one job."""
    if "uses" in job:
        if not (ROOT / job["uses"]).is_file():
            yield f"{name} uses {job['uses']}, which is not there"
        return
    if "timeout-minutes" not in job:
        yield f"{name} may run for hours"
    if job["permissions"].get("contents") == "write" and "environment" not in job:
        yield f"{name} may write, and nobody is asked"
    sessions = any("run" in step for step in job["steps"])
    if sessions and not any(step.get("if") == "failure()" for step in job["steps"]):
        yield f"{name} keeps nothing of a failure"
    for step in job["steps"]:
        yield from step_faults(step)


def faults(text: str) -> Iterator[str]:
    """Say all that is wrong with one workflow."""
    workflow = read(text)
    if workflow.get("permissions") != {}:
        yield "permissions at the top are not empty"
    if "workflow_dispatch" not in workflow["on"]:
        yield "it cannot be started by hand"
    if "concurrency" not in workflow:
        yield "two runs may meet"
    for line in re.findall(r"uses: [\w-].*", text):
        if not re.search(r"@\w+ # v\d+\.\d+\.\d+$", line):
            yield f"no version beside {line}"
    for name, job in workflow["jobs"].items():
        yield from job_faults(name, job)


@pytest.mark.parametrize("name", WORKFLOWS)
def test_workflow_is_sound(name: str) -> None:
    assert list(faults(WORKFLOWS[name])) == []


@pytest.mark.parametrize(
    ("right", "wrong", "fault"),
    [
        ("permissions: {}", "permissions: read-all", "permissions at the top"),
        ("permissions: {}\n", "", "permissions at the top"),
        ("  workflow_dispatch:\n", "", "started by hand"),
        (r"concurrency:\n.*\n.*\n", "", "two runs may meet"),
        ("    timeout-minutes: 15\n", "", "lint may run for hours"),
        ("contents: read", "contents: write", "lint may write, and nobody is asked"),
        (r"(actions/checkout)@\w+", r"\1@v7", "not pinned: actions/checkout@v7"),
        (r"(uses: actions/checkout@\w+) # v7.0.0", r"\1", "no version beside uses: actions/ch"),
        ("persist-credentials: false", "persist-credentials: true", "a clone keeps a token"),
        ("fetch-depth: 0", "fetch-depth: 1", "has no tags"),
        ("retention-days: 3", "retention-days: 90", "kept too long"),
        ("actions/download-artifact", "actions/cache", "something of another run: actions/cache"),
        ("if: failure[(][)]", "if: always()", "lint keeps nothing of a failure"),
        (" +build/records/\n", "", "a failure's records are not kept"),
        ("name: wheel-linux-x86_64", "run-id: 1", "of another run: actions/download-artifact"),
        ("-s lint", "-s lnit", "no session lnit"),
        ("-s lint", "-s lint -- --fix", "lint takes no"),
        ("--lane", "--line", "wheels refuses"),
        ("--find", "--fnid", "image refuses"),
        (r"python3 (noxfile.py -s lint)", r"pip install nox && nox \1", "not a session"),
    ],
)
def test_planted_fault_is_found(right: str, wrong: str, fault: str) -> None:
    planted, count = re.subn(right, wrong, WORKFLOWS["ci"])
    assert count
    assert any(fault in found for found in faults(planted))


@pytest.mark.parametrize("name", WORKFLOWS)
def test_lanes_come_from_the_matrix_session(name: str) -> None:
    lanes = "released" if name == "release" else "built"
    for job in read(WORKFLOWS[name])["jobs"].values():
        if "matrix" in job.get("strategy", {}):
            expected = f"${{{{ fromJSON(needs.plan.outputs.{lanes}) }}}}"
            assert job["strategy"]["matrix"] == expected
            assert job["env"]["LANE"] == "${{ matrix.id }}"
            assert job["runs-on"] == "${{ matrix.runner }}"


def test_every_input_of_the_image_makes_a_new_one() -> None:
    paths = read(WORKFLOWS["images"])["on"]["push"]["paths"]
    for path in images.INPUTS:
        name = path.relative_to(ROOT).as_posix()
        assert any(fnmatch(name, pattern) for pattern in paths), name


def test_release_job_alone_may_write() -> None:
    writers = [
        (workflow, name)
        for workflow, text in WORKFLOWS.items()
        for name, job in read(text)["jobs"].items()
        if job["permissions"].get("contents") == "write"
    ]
    assert writers == [("release", "release")]


def commands_of(job: dict[str, Any]) -> Iterator[str]:
    """Yield each session of a job as any machine can run it, a row for each lane of its matrix."""
    lanes = RELEASED if "released" in job.get("strategy", {}).get("matrix", "") else LANES
    shown = {"GITHUB_REF_NAME": "TAG", "GITHUB_REPOSITORY": "OWNER/NAME", "REGISTRY": "ghcr.io"}
    for step in job.get("steps", []):
        command = step.get("run", "").replace(' --image "$IMAGE"', "").replace('"', "")
        for lane in lanes if "$LANE" in command else [""] if command else []:
            text = Template(command).substitute(shown, LANE=lane)
            yield text.replace("python3 noxfile.py", "nox")


def test_documented_commands_are_those_of_the_jobs() -> None:
    rows = [
        f"| `{workflow}.yml` | {name} | `{command}` |"
        for workflow, text in sorted(WORKFLOWS.items())
        for name, job in read(text)["jobs"].items()
        for command in commands_of(job)
    ]
    page = (ROOT / "docs" / "reproduce.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `\w+\.yml` .*$", page, re.MULTILINE) == rows, "\n".join(rows)
