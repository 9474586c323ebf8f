"""The runner of workflows does what GitHub's does, and stops at what it does not know."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from textwrap import indent
from typing import Any

import pytest
from workflow_runner import JobRun, Place, Runner, UnknownError, in_order
from workflow_runner.expressions import evaluate, fill

CONTEXTS = {"github": {"ref": "refs/heads/main", "actor": "it's me"}, "matrix": {"id": "a"}}
RunJobs = Callable[..., list[JobRun]]


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("github.ref", "refs/heads/main"),
        ("'it''s me' == github.actor", True),
        ("github.ref != 'x' && matrix.id == 'a'", True),
        ("matrix.id == 'b' || (!failure() && success())", True),
        ("startsWith('a', 'a')", None),
        ("fromJSON('{\"a\": [1]}')", {"a": [1]}),
        ("failure()", False),
    ],
)
def test_expression_comes_to_its_value(expression: str, value: object) -> None:
    state = {"failure": lambda: False, "success": lambda: True}
    if value is None:
        with pytest.raises(AssertionError):
            evaluate(expression, CONTEXTS, state)
    else:
        assert evaluate(expression, CONTEXTS, state) == value


@pytest.mark.parametrize("expression", ["github.rfe", "matrx.id", "failed()", "1 +", "", "a b"])
def test_unknown_name_or_sign_is_an_error(expression: str) -> None:
    with pytest.raises((KeyError, AssertionError)):
        evaluate(expression, CONTEXTS)


def test_text_is_filled_and_a_value_alone_keeps_its_type() -> None:
    contexts = {"matrix": {"id": "a", "yes": True}}
    assert fill({"a": ["x-${{ matrix.id }}-${{matrix.yes}}"]}, contexts) == {"a": ["x-a-true"]}
    assert fill("${{ matrix.yes }}", contexts) is True


@pytest.fixture
def run_jobs(tmp_path: Path) -> RunJobs:
    """Runs a workflow of the given jobs in a clone of its own."""
    clone = tmp_path / "clone"
    folder = clone / ".github" / "workflows"
    folder.mkdir(parents=True)
    (clone / ".gitignore").write_text("out/\n")
    subprocess.run(["git", "init", "--quiet", clone], check=True)
    place = Place(clone, tmp_path / "artifacts", tmp_path / "logins", tmp_path / "pages")

    def run(jobs: str, only: Sequence[str] = (), **variables: str) -> list[JobRun]:
        text = f"name: it\non: {{push: }}\npermissions: {{}}\njobs:\n{indent(jobs, '  ')}"
        (folder / "it.yml").write_text(text)
        runner = Runner(".github/workflows/it.yml", place, {"ref": "refs/heads/main"}, variables)
        names = only or in_order(runner.workflow)
        return [run for job in names for run in runner.run_job(job)]

    return run


CLEAN = "{uses: actions/checkout@0, with: {fetch-depth: 0, persist-credentials: false}}"
KEEP = "{uses: actions/upload-artifact@0, with: {name: it, path: %s, retention-days: 3}}"


def job(name: str, *steps: str, **more: Any) -> str:
    """Write a job in one line."""
    keys = "".join(f"{key.replace('_', '-')}: {value}, " for key, value in more.items())
    return f"{name}: {{{keys}name: {name}, runs-on: here, steps: [{', '.join((CLEAN, *steps))}]}}\n"


def test_jobs_run_in_the_order_of_their_needs(run_jobs: RunJobs) -> None:
    jobs = job("b", "{run: echo b}", needs="a") + job("a", "{run: echo a}")
    assert [run.name for run in run_jobs(jobs)] == ["a", "b"]


def test_job_whose_need_was_not_run_says_so(run_jobs: RunJobs) -> None:
    with pytest.raises(AssertionError, match="b needs what was not run before it: a"):
        run_jobs(job("a", "{run: ls}") + job("b", "{run: ls}", needs="a"), only=["b"])


PLAN = """
plan:
  name: plan
  runs-on: here
  outputs:
    rows: ${{ steps.it.outputs.rows }}
  steps:
    - uses: actions/checkout@0
    - id: it
      run: echo 'rows={"include":[{"id":"x"},{"id":"y"}]}' >> "$GITHUB_OUTPUT"
build:
  name: build ${{ matrix.id }}
  needs: plan
  runs-on: here
  strategy:
    matrix: ${{ fromJSON(needs.plan.outputs.rows) }}
  env:
    ROW: ${{ matrix.id }}
  steps:
    - uses: actions/checkout@0
    - run: test "$ROW" = ${{ matrix.id }}
"""


def test_outputs_and_matrix_go_from_job_to_job(run_jobs: RunJobs) -> None:
    _, *builds = run_jobs(PLAN)
    assert [(run.name, run.commands) for run in builds] == [
        ("build x", ['test "$ROW" = x']),
        ("build y", ['test "$ROW" = y']),
    ]


def test_only_artifacts_go_from_job_to_job(run_jobs: RunJobs, tmp_path: Path) -> None:
    get = "{uses: actions/download-artifact@0, with: {name: it, path: in/}}"
    all_of_them = "{uses: actions/download-artifact@0, with: {pattern: i*, path: all/}}"
    jobs = job("a", "{run: mkdir -p out/x && touch out/x/file}", KEEP % "out/") + job(
        "b",
        "{run: test ! -e out}",
        get,
        all_of_them,
        "{run: ls in/x/file all/it/x/file}",
        needs="a",
    )
    run_jobs(jobs)
    assert (tmp_path / "artifacts" / "it" / "x" / "file").exists()


def test_failed_job_runs_what_asks_for_it_and_ends_the_run(
    run_jobs: RunJobs, tmp_path: Path
) -> None:
    kept = '"out/**/*.log\\nout/records/"'
    logs = f"{{if: failure(), {KEEP[1:] % kept}"
    steps = (
        "{run: mkdir -p out/a && touch out/a/b.log out/c && false}",
        "{run: touch not-here}",
        logs,
    )
    with pytest.raises(AssertionError, match="a failed"):
        run_jobs(job("a", *steps) + job("b", "{run: touch not-here}", needs="a"))
    assert [*(tmp_path / "artifacts" / "it").rglob("*.*")] == [
        tmp_path / "artifacts" / "it" / "a" / "b.log"
    ]
    assert not (tmp_path / "clone" / "not-here").exists()


def test_job_that_checks_nothing_out_has_nothing_to_run(run_jobs: RunJobs) -> None:
    with pytest.raises(AssertionError, match="a failed"):
        run_jobs(
            job("a", "{run: ls}").replace(CLEAN, "{uses: actions/deploy-pages@0, if: failure()}")
        )


def test_our_variables_come_first(run_jobs: RunJobs, tmp_path: Path) -> None:
    log_in = (
        '{uses: docker/login-action@0, with: {registry: "${{ env.REGISTRY }}", '
        "username: me, password: x}}"
    )
    check = '{run: "test $REGISTRY = 127.0.0.1:1"}'
    run_jobs(job("a", log_in, check, env="{REGISTRY: ghcr.io}"), REGISTRY="127.0.0.1:1")
    assert '"127.0.0.1:1"' in (tmp_path / "logins").read_text()


@pytest.mark.parametrize(
    ("jobs", "message"),
    [
        (job("a", "{uses: actions/cache@0}"), "actions/cache"),
        (job("a", "{run: x, continue-on-error: true}"), "does not know continue-on-error"),
        (job("a", "{run: x}", container="debian"), "does not know container"),
        (job("a", KEEP.replace("name", "nmae") % "out/"), "nmae"),
    ],
)
def test_what_is_new_to_it_is_an_error(run_jobs: RunJobs, jobs: str, message: str) -> None:
    with pytest.raises(UnknownError, match=message):
        run_jobs(jobs)
