"""Workflows, jobs and steps, in the order that `needs` asks for."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from typing import Any

from ruamel.yaml import YAML

from workflow_runner.actions import ACTIONS, Place, UnknownError, expect
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
    outputs: dict[str, str] = field(default_factory=dict)
    commands: list[str] = field(default_factory=list)
    seconds: float = 0.0


class Runner:
    """One clone with the workflows of its commit.

    `variables` are GitHub's own and those that lead to servers on this machine; they come before
    what a workflow says, so that `REGISTRY: ghcr.io` is the registry here.
    """

    def __init__(
        self, place: Place, github: Mapping[str, str], variables: Mapping[str, str]
    ) -> None:
        self.place, self.github, self.variables = place, github, variables
        self.jobs: list[JobRun] = []

    def read(self, path: str) -> dict[str, Any]:
        """Return a workflow of the clone."""
        text = (self.place.workspace / path).read_text(encoding="utf-8")
        workflow: dict[str, Any] = YAML(typ="safe").load(text)
        expect(workflow, WORKFLOW)
        return workflow

    def run(self, path: str) -> dict[str, str]:
        """Run a workflow and return its outputs; raises AssertionError when a job failed."""
        workflow = self.read(path)
        jobs = workflow["jobs"]
        order = TopologicalSorter({name: as_list(job.get("needs")) for name, job in jobs.items()})
        done: Contexts = {}
        for name in order.static_order():
            needs = {need: done[need] for need in as_list(jobs[name].get("needs"))}
            done[name] = {"outputs": self.run_job(name, jobs[name], needs)}
        call = workflow["on"].get("workflow_call") or {}
        outputs = {key: output["value"] for key, output in call.get("outputs", {}).items()}
        return dict(fill(outputs, {"jobs": done}))

    def run_job(self, name: str, job: Mapping[str, Any], needs: Contexts) -> dict[str, str]:
        """Run a job, in each row of its matrix, and return its outputs."""
        if "uses" in job:
            expect(job, CALL)
            return self.run(job["uses"])
        expect(job, JOB)
        contexts: Contexts = {"github": self.github, "needs": needs}
        matrix = fill(job.get("strategy", {}).get("matrix", {}), contexts)
        runs = []
        for row in matrix.get("include", [{}]):
            run = JobRun(fill(job["name"], {"matrix": row}))
            print(f"\n=== {run.name}, on {fill(job['runs-on'], {'matrix': row})}", flush=True)
            start = time.monotonic()
            self.run_steps(job, {**contexts, "matrix": row}, run)
            run.seconds = time.monotonic() - start
            self.jobs.append(run)
            runs.append(run)
        assert all(run.ok for run in runs), f"{name} failed"
        return runs[-1].outputs

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
            return
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


def as_list(needs: str | list[str] | None) -> list[str]:
    """Return what a job needs, however it is written."""
    return [needs] if isinstance(needs, str) else needs or []
