"""Workflows, jobs and steps, in the order that `needs` asks for."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from workflow_runner.actions import ACTIONS, Place, UnknownError, clean, expect
from workflow_runner.expressions import as_text, evaluate, fill

WORKFLOW = {"name", "on", "permissions", "concurrency", "defaults", "jobs"}
CALL = {"name", "needs", "uses", "permissions"}
JOB = {
    *("name", "needs", "runs-on", "timeout-minutes", "permissions", "strategy", "environment"),
    *("outputs", "env", "steps"),
}
STEP = {"id", "if", "env", "uses", "with", "run", "name"}
SHELL = ("bash", "--noprofile", "--norc", "-e", "-o", "pipefail")
Contexts = dict[str, Any]


@dataclass
class JobRun:
    """What a job came to; one of a matrix is called after its row."""

    name: str
    ok: bool = True
    checked_out: bool = False
    outputs: dict[str, str] = field(default_factory=dict)
    commands: list[str] = field(default_factory=list)


class Runner:
    """One workflow of a clone, whose jobs are run one after the other.

    `variables` are GitHub's own and those that lead to servers on this machine; they come before
    what a workflow says, so that `REGISTRY: ghcr.io` is the registry here.
    """

    def __init__(
        self, path: str, place: Place, github: Mapping[str, str], variables: Mapping[str, str]
    ) -> None:
        self.place, self.github, self.variables = place, github, variables
        self.workflow = read(place.workspace / path)
        self.outputs: Contexts = {}  # of each job that was run

    def run(self) -> dict[str, str]:
        """Run every job and return the workflow's outputs."""
        for name in in_order(self.workflow):
            self.run_job(name)
        call = self.workflow["on"].get("workflow_call") or {}
        outputs = {key: output["value"] for key, output in call.get("outputs", {}).items()}
        return dict(fill(outputs, {"jobs": self.outputs}))

    def run_job(
        self, name: str, wanted: Callable[[Mapping[str, Any]], bool] = lambda _: True
    ) -> list[JobRun]:
        """Run a job, in each `wanted` row of its matrix; raises AssertionError when it failed.

        Its needs were run before: their outputs are all that it has of them.
        """
        job = self.workflow["jobs"][name]
        needs = {need: self.outputs.get(need) for need in as_list(job.get("needs"))}
        absent = ", ".join(need for need, outputs in needs.items() if outputs is None)
        assert not absent, f"{name} needs what was not run before it: {absent}"
        if "uses" in job:
            expect(job, CALL)
            called = Runner(job["uses"], self.place, self.github, self.variables)
            self.outputs[name] = {"outputs": called.run()}
            return []
        expect(job, JOB)
        contexts: Contexts = {"github": self.github, "needs": needs}
        matrix = fill(job.get("strategy", {}).get("matrix", {}), contexts)
        runs = []
        for row in filter(wanted, matrix.get("include", [{}])):
            run = JobRun(fill(job["name"], {"matrix": row}))
            print(f"\n=== {run.name}, on {fill(job['runs-on'], {'matrix': row})}", flush=True)
            start = time.monotonic()
            clean(self.place.workspace)
            self.run_steps(job, {**contexts, "matrix": row}, run)
            print(f"=== {run.name}: {time.monotonic() - start:.0f} s", flush=True)
            runs.append(run)
        assert all(run.ok for run in runs), f"{name} failed"
        self.outputs[name] = {"outputs": runs[-1].outputs}
        return runs

    def run_steps(self, job: Mapping[str, Any], contexts: Contexts, run: JobRun) -> None:
        """Run a job's steps; after one that fails only those that ask for it."""
        contexts = {**contexts, "steps": {}}
        contexts["env"] = self.environment(job.get("env"), contexts)
        for step in job["steps"]:
            expect(step, STEP)
            condition = step.get("if", "success()")
            state = {"success": lambda: run.ok, "failure": lambda: not run.ok}
            wanted = evaluate(condition, contexts, state)
            asks = any(f"{name}()" in condition for name in state)
            if not wanted or not (asks or run.ok):
                continue
            try:
                self.run_step(step, contexts, run)
            except (AssertionError, subprocess.CalledProcessError) as error:
                print(f"--- failed: {error}", flush=True)
                run.ok = False
        run.outputs = fill(job.get("outputs", {}), contexts) if run.ok else {}

    def run_step(self, step: Mapping[str, Any], contexts: Contexts, run: JobRun) -> None:
        """Run one step: an action, or a command in a shell."""
        if "uses" in step:
            action = step["uses"].partition("@")[0]
            if action not in ACTIONS:
                raise UnknownError(f"the runner does not know {action}")
            print(f"--- {action}", flush=True)
            ACTIONS[action](self.place, fill(step.get("with", {}), contexts))
            run.checked_out |= action == "actions/checkout"
            return
        assert run.checked_out, "nothing is checked out"
        command = fill(step["run"], contexts)
        print(f"--- {command}", flush=True)
        run.commands.append(command)
        env = {**contexts["env"], **self.environment(step.get("env"), contexts)}
        with tempfile.NamedTemporaryFile("r") as outputs:
            known = {**os.environ, **env, **self.variables, "GITHUB_OUTPUT": outputs.name}
            subprocess.run([*SHELL, "-c", command], cwd=self.place.workspace, env=known, check=True)
            lines = dict(line.rstrip("\n").split("=", 1) for line in outputs)
        if "id" in step:
            contexts["steps"][step["id"]] = {"outputs": lines}

    def environment(self, said: Mapping[str, Any] | None, contexts: Contexts) -> dict[str, str]:
        """Return the variables of a job or a step, with ours in the place of the same ones."""
        filled = {name: as_text(value) for name, value in fill(said or {}, contexts).items()}
        return {name: self.variables.get(name, value) for name, value in filled.items()}


def read(path: Path) -> dict[str, Any]:
    """Return a workflow."""
    workflow: dict[str, Any] = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    expect(workflow, WORKFLOW)
    return workflow


def in_order(workflow: Mapping[str, Any]) -> list[str]:
    """Return the names of the jobs, each after those that it needs."""
    jobs = workflow["jobs"]
    needs = {name: as_list(job.get("needs")) for name, job in jobs.items()}
    return list(TopologicalSorter(needs).static_order())


def as_list(needs: str | list[str] | None) -> list[str]:
    """Return what a job needs, however it is written."""
    return [needs] if isinstance(needs, str) else needs or []
