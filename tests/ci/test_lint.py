import shutil
import subprocess
from pathlib import Path

import pytest

from ci import lint
from ci.errors import FactoryError
from ci.paths import ROOT

WORKFLOW = """\
name: CI
on: push
permissions: {}
concurrency: {group: "${{ github.ref }}", cancel-in-progress: true}
jobs:
  job:
    name: job
    runs-on: ubuntu-24.04
    timeout-minutes: 5
    steps: [{run: echo hello}]
"""
CLEAN = {
    "ci/__init__.py": '"""Clean."""\n',
    "noxfile.py": '"""Clean."""\n',
    "python/mlc_llm/__init__.py": '"""Clean."""\n',
    "tests/ci/test_it.py": '"""Clean."""\n',
    "tests/python/test_that.py": '"""Clean."""\n',
    "cpp/it.cc": "int main() { return 0; }\n",
    "it.sh": "#!/bin/sh\necho hello\n",
    ".github/workflows/ci.yml": WORKFLOW,
}
FAULTS = {
    "ruff": ("ci/__init__.py", '"""Unused import."""\n\nimport os\n'),
    "ruff format": ("ci/__init__.py", '"""Spaces."""\n\nx  =  1\n'),
    "mypy": ("python/mlc_llm/__init__.py", '"""Wrong type."""\n\nx: int = "one"\n'),
    "clang-format": ("cpp/it.cc", "int main(){return 0;}\n"),
    "shellcheck": ("it.sh", "#!/bin/sh\nrm $1\n"),
    "workflow schema": (".github/workflows/ci.yml", WORKFLOW.replace("runs-on", "run-on")),
    "GitHub's parser": (".github/workflows/ci.yml", WORKFLOW.replace("github.ref", "github.rfe")),
    "zizmor": (".github/workflows/ci.yml", WORKFLOW.replace("permissions: {}\n", "")),
}


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small checkout with this project's configuration, where every check passes."""
    for name, text in CLEAN.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for name in ("pyproject.toml", ".clang-format"):
        shutil.copy(ROOT / name, tmp_path)
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    monkeypatch.setattr(lint, "ROOT", tmp_path)
    return tmp_path


def test_every_check_has_its_fault() -> None:
    assert [name for name, _ in lint.checks(fix=False)] == list(FAULTS)


@pytest.mark.usefixtures("tree")
def test_clean_tree_passes(capfd: pytest.CaptureFixture[str]) -> None:
    status = lint.main([])
    assert (status, capfd.readouterr().out.splitlines()[-1]) == (0, "all clean")


@pytest.mark.parametrize("check", FAULTS)
def test_planted_fault_is_caught(check: str, tree: Path) -> None:
    plant(check, *FAULTS[check], tree)


@pytest.mark.parametrize("suffix", ["h", "comp", "glsl"])
def test_every_kind_of_source_is_formatted(suffix: str, tree: Path) -> None:
    plant("clang-format", f"cpp/it.{suffix}", "int main(){return 0;}\n", tree)


def plant(check: str, name: str, text: str, tree: Path) -> None:
    """Write `text` into the file `name`, and see `check` refuse it."""
    (tree / name).write_text(text)
    command = dict(lint.checks(fix=False))[check]
    assert subprocess.run(command, cwd=tree, capture_output=True, check=False).returncode != 0


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("steps: [{run: echo hello}]", "needs: jbo\n    steps: [{run: echo hello}]"),
        ("{run: echo hello}", "{run: echo hello, if: failed()}"),
        ("{run: echo hello}", '{run: "echo ${{ needs.job.outputs.it }}"}'),
        ("on: push", "on: pusch"),
    ],
)
def test_expressions_are_understood_as_github_does(right: str, wrong: str, tree: Path) -> None:
    plant("GitHub's parser", ".github/workflows/ci.yml", WORKFLOW.replace(right, wrong), tree)


CALLER = """\
name: caller
on: push
permissions: {}
concurrency: {group: "${{ github.ref }}", cancel-in-progress: true}
jobs:
  called:
    name: called
    uses: ./.github/workflows/called.yml
  user:
    name: user
    needs: called
    runs-on: ubuntu-24.04
    steps: [{run: echo, env: {IT: "${{ needs.called.outputs.it }}"}}]
"""


def test_outputs_of_a_called_workflow_are_known(tree: Path) -> None:
    outputs = "on: {workflow_call: {outputs: {it: {value: x}}}}"
    folder = tree / ".github" / "workflows"
    (folder / "called.yml").write_text(WORKFLOW.replace("on: push", outputs))
    (folder / "ci.yml").write_text(CALLER)
    command = dict(lint.checks(fix=False))["GitHub's parser"]
    subprocess.run(command, cwd=tree, check=True)
    plant("GitHub's parser", ".github/workflows/ci.yml", CALLER.replace(".it }}", ".ti }}"), tree)


def test_fix_mends_the_format(tree: Path) -> None:
    for check in ("ruff format", "clang-format"):
        name, text = FAULTS[check]
        (tree / name).write_text(text)
        subprocess.run(dict(lint.checks(fix=True))[check], cwd=tree, check=True)
        assert (tree / name).read_text() != text


def test_generated_and_ignored_files_are_left_out(tree: Path) -> None:
    (tree / ".gitignore").write_text("build/\n")
    for name in ("build/it.h", "cpp/vulkan/vulkan_api.h", "cpp/with space.h"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).touch()
    assert lint.tracked("*.h") == ["cpp/with space.h"]


def test_failed_checks_are_named(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    commands = [("good", ["true"]), ("bad", ["false"]), ("absent", ["no-such-checker"])]
    monkeypatch.setattr(lint, "checks", lambda **_: commands)
    with pytest.raises(FactoryError, match=r"bad, absent failed\.") as raised:
        lint.main([])
    assert raised.value.failed == ["bad", "absent"]
    assert "no-such-checker is not installed" in capfd.readouterr().err


def test_tree_without_git_is_refused_before_the_first_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(lint, "ROOT", tmp_path)
    with pytest.raises(FactoryError, match=r"git cannot read .*Work in a clone"):
        lint.main([])
    assert capfd.readouterr().out == ""


def test_unknown_option_is_refused(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        lint.main(["--fxi"])
    assert "unrecognized arguments: --fxi" in capfd.readouterr().err
