"""A repacked sdist is a function of its contents: not of host, clock, owner or compressor."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from ci.errors import FactoryError
from ci.lanes import load_lanes
from ci.paths import ROOT
from ci.sdist import Checkout, repack_sdist
from ci.toolchain import Toolchain
from ci.version import read_source

FILES = {
    "mlc_llm-1.2.3/README.md": b"# mlc_llm\n",
    "mlc_llm-1.2.3/run": b"#!/bin/sh\n",
    "mlc_llm-1.2.3/" + "deep/" * 30 + "file": b"",
}


def write_sdist(path: Path, *, names: list[str], mode: int, mtime: int, level: int) -> bytes:
    with tarfile.open(path, "w:gz", compresslevel=level) as archive:
        for name in names:
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode, entry.mtime, entry.uname = len(FILES[name]), mode, mtime, "me"
            archive.addfile(entry, io.BytesIO(FILES[name]))
    repack_sdist(path, 1_700_000_000)
    return path.read_bytes()


def test_same_contents_give_the_same_bytes(tmp_path: Path) -> None:
    names = list(FILES)
    first = write_sdist(tmp_path / "a.tar.gz", names=names, mode=0o600, mtime=1, level=1)
    names.reverse()
    second = write_sdist(tmp_path / "b.tar.gz", names=names, mode=0o777, mtime=2, level=9)
    assert first == second


def test_contents_stay_and_scripts_may_run(tmp_path: Path) -> None:
    sdist = tmp_path / "a.tar.gz"
    write_sdist(sdist, names=list(FILES), mode=0o600, mtime=1, level=1)
    with tarfile.open(sdist) as archive:
        found = {m.name: archive.extractfile(m).read() for m in archive}  # type: ignore[union-attr]
        modes = {m.name.partition("/")[2]: m.mode for m in archive}
        assert {(m.mtime, m.uid, m.uname) for m in archive} == {(1_700_000_000, 0, "")}
    assert found == FILES
    assert modes["run"] == 0o755
    assert modes["README.md"] == 0o644
    assert [p.name for p in tmp_path.iterdir()] == ["a.tar.gz"]


LANE, OTHER, *_ = load_lanes().values()


def git(tree: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.com"]
    subprocess.run(["git", "-C", tree, *identity, *arguments], check=True)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A clone with one commit, tagged v1.2.3, that an sdist can be made of."""
    folder = tmp_path / "tree"
    folder.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, folder)
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "-m", "first")
    git(folder, "tag", "v1.2.3")
    return folder


@pytest.fixture
def toolchain() -> Toolchain:
    if "MLC_LLM_TOOLCHAIN" not in os.environ:
        pytest.skip("`nox -s tests` has the toolchain")
    return Toolchain(Path(os.environ["MLC_LLM_TOOLCHAIN"]), "")


def test_new_file_shows_in_the_version(tree: Path, toolchain: Toolchain) -> None:
    assert Checkout(tree, read_source(tree)).read_version(toolchain) == "1.2.3"
    (tree / "new.py").touch()
    version = Checkout(tree, read_source(tree)).read_version(toolchain)
    assert re.fullmatch(r"1\.2\.3\+d20\d{6}", version)


def test_commit_between_two_lanes_changes_nothing(
    tree: Path, toolchain: Toolchain, tmp_path: Path
) -> None:
    checkout = Checkout(tree, read_source(tree))
    works = [tmp_path / lane.id for lane in (LANE, OTHER)]
    found = []
    for lane, work in zip((LANE, OTHER), works, strict=True):
        work.mkdir()
        found.append(checkout.sdist(work, toolchain, log=work / "log", lane=lane))
        git(tree, "commit", "--quiet", "--allow-empty", "-m", "another")
    assert [version for version, _ in found] == ["1.2.3", "1.2.3"]
    assert [sdist.parent for _, sdist in found] == works
    first, second = (sdist.read_bytes() for _, sdist in found)
    assert first == second


def test_commit_before_the_sdist_is_made_stops_the_build(
    tree: Path, toolchain: Toolchain, tmp_path: Path
) -> None:
    checkout = Checkout(tree, read_source(tree))
    git(tree, "commit", "--quiet", "--allow-empty", "-m", "another")
    with pytest.raises(FactoryError, match=r"was changed .* when the build had begun"):
        checkout.sdist(tmp_path, toolchain, log=tmp_path / "log", lane=LANE)
