"""The version that the build backend reads, in every state that a source tree can be in."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ci.paths import ROOT

CODE = """
from scikit_build_core.metadata.setuptools_scm import dynamic_metadata
print(dynamic_metadata("version"))
"""


def read_version(tree: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CODE],
        cwd=tree,
        env=os.environ | {"PYTHONPATH": os.environ["MLC_LLM_TOOLCHAIN"]},
        capture_output=True,
        text=True,
        check=False,
    )


def git(tree: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.com"]
    command = ["git", "-C", os.fspath(tree), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A repository of two commits with this project's configuration."""
    path = tmp_path / "tree"
    path.mkdir()
    shutil.copy(ROOT / "pyproject.toml", path)
    git(path, "init", "--quiet")
    git(path, "add", ".")
    for number in range(2):
        git(path, "commit", "--quiet", "--allow-empty", "-m", f"commit {number}")
    return path


@pytest.mark.parametrize(("tag", "version"), [("v1.2.3", "1.2.3"), ("v1.2.3-rc.1", "1.2.3rc1")])
def test_tag_is_the_version(tree: Path, tag: str, version: str) -> None:
    git(tree, "tag", tag)
    assert read_version(tree).stdout.strip() == version


def test_commit_after_a_tag_counts_on(tree: Path) -> None:
    git(tree, "tag", "v1.2.3", "HEAD~1")
    commit = git(tree, "rev-parse", "HEAD")
    printed = read_version(tree).stdout.strip()
    assert printed.startswith("1.2.4.dev1+g")
    assert commit.startswith(printed.partition("+g")[2])


def test_no_tag_is_a_development_version(tree: Path) -> None:
    assert read_version(tree).stdout.startswith("0.1.dev2+g")


def test_other_tags_do_not_count(tree: Path) -> None:
    git(tree, "tag", "nightly")
    assert read_version(tree).stdout.startswith("0.1.dev2+g")


def test_dirty_tree_says_so(tree: Path) -> None:
    git(tree, "tag", "v1.2.3")
    with (tree / "pyproject.toml").open("a") as file:
        file.write("# at work\n")
    assert ".d20" in read_version(tree).stdout


def test_shallow_clone_fails_instead_of_guessing(tree: Path) -> None:
    shallow = tree.with_name("shallow")
    git(tree, "clone", "--quiet", "--depth", "1", tree.as_uri(), str(shallow))
    result = read_version(shallow)
    assert result.returncode != 0
    assert "shallow" in result.stderr


def test_sdist_carries_its_version(tree: Path) -> None:
    shutil.rmtree(tree / ".git")
    (tree / "PKG-INFO").write_text("Metadata-Version: 2.4\nName: mlc_llm\nVersion: 4.5.6\n")
    assert read_version(tree).stdout.strip() == "4.5.6"


def test_bare_folder_fails_instead_of_guessing(tree: Path) -> None:
    shutil.rmtree(tree / ".git")
    assert read_version(tree).returncode != 0
