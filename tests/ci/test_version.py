import subprocess
from pathlib import Path

import pytest

from ci.errors import FactoryError
from ci.version import (
    ARCHIVE,
    check_source,
    check_version,
    read_source,
    tag_to_version,
    version_to_tag,
)

PAIRS = [
    ("v0.1.0", "0.1.0"),
    ("v10.20.30", "10.20.30"),
    ("v1.3.0-rc.1", "1.3.0rc1"),
    ("v1.3.0-alpha.0", "1.3.0a0"),
    ("v1.3.0-beta.12", "1.3.0b12"),
]


@pytest.mark.parametrize(("tag", "version"), PAIRS)
def test_tag_and_version_map_both_ways(tag: str, version: str) -> None:
    assert tag_to_version(tag) == version
    assert version_to_tag(version) == tag


@pytest.mark.parametrize(
    "tag",
    ["0.1.0", "v1.2", "v1.2.3.4", "v01.2.3", "v1.2.3-rc1", "v1.2.3-rc.01", "v1.2.3-dev.1",
     "v1.2.3+build", "V1.2.3", "v1.2.3 ", "v1.2.3-rc.1\n", "v", ""],
)  # fmt: skip
def test_other_tags_are_refused(tag: str) -> None:
    with pytest.raises(FactoryError, match=r"is not a release tag.*SemVer"):
        tag_to_version(tag)


@pytest.mark.parametrize("version", ["1.2", "1.2.3.dev1", "1.2.3rc01", "1!1.2.3", "1.2.3+local"])
def test_versions_of_no_release_are_refused(version: str) -> None:
    with pytest.raises(FactoryError, match="not the version of a release"):
        version_to_tag(version)


def git(repository: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.com"]
    subprocess.run(["git", "-C", repository, *identity, *arguments], check=True)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    path = tmp_path / "repository"
    path.mkdir()
    git(path, "init", "--quiet")
    for number in range(2):
        git(path, "commit", "--quiet", "--allow-empty", "-m", f"commit {number}")
    return path


def test_source_is_read(repository: Path) -> None:
    git(repository, "tag", "v1.2.3")
    source = read_source(repository)
    assert len(source.commit) == 40
    assert source.epoch > 1_700_000_000
    assert not source.dirty


def test_untracked_file_makes_the_tree_dirty(repository: Path) -> None:
    (repository / "new.txt").touch()
    assert read_source(repository).dirty


def test_bad_tag_at_head_stops_the_build(repository: Path) -> None:
    git(repository, "tag", "v1.2")
    with pytest.raises(FactoryError, match=r"'v1\.2' is not a release tag"):
        read_source(repository)


def test_users_own_ignore_file_hides_nothing(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gitconfig").write_text(
        f"[core]\nexcludesFile = {tmp_path / 'ignore'}\n[status]\nshowUntrackedFiles = no\n"
    )
    (tmp_path / "ignore").write_text("*.secret\n")
    (repository / "token.secret").touch()
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    assert read_source(repository).dirty


def test_bad_tag_before_head_stops_the_build(repository: Path) -> None:
    git(repository, "tag", "v1.3.0-dev.1", "HEAD~1")
    with pytest.raises(FactoryError, match=r"'v1\.3\.0-dev\.1' is not a release tag"):
        read_source(repository)


def test_two_release_tags_on_a_commit_are_refused(repository: Path) -> None:
    git(repository, "tag", "v1.2.3")
    git(repository, "tag", "v1.2.3-rc.1")
    with pytest.raises(FactoryError, match=r"HEAD has 2 release tags .*tag another commit"):
        read_source(repository)


def test_folder_inside_another_repository_is_refused(repository: Path) -> None:
    (repository / "inside").mkdir()
    with pytest.raises(FactoryError, match="is not a clone of its own"):
        read_source(repository / "inside")


def test_version_must_be_the_tags(repository: Path) -> None:
    git(repository, "tag", "v1.2.3")
    source = read_source(repository)
    check_version("1.2.3", source)
    with pytest.raises(FactoryError, match=r"tag at HEAD is v1\.2\.3, .*came out as 1\.2\.4"):
        check_version("1.2.4", source)


def test_shallow_clone_is_refused(repository: Path, tmp_path: Path) -> None:
    url = repository.as_uri()
    subprocess.run(["git", "clone", "-q", "--depth", "1", url, tmp_path / "shallow"], check=True)
    with pytest.raises(FactoryError, match=r"shallow.*git fetch --unshallow --tags"):
        read_source(tmp_path / "shallow")


@pytest.mark.parametrize("name", ["v1.2.3", "v1.3.0-rc.1", "v1.2.3-14-g6f6c137"])
def test_archive_that_names_a_release_has_a_version(name: str, tmp_path: Path) -> None:
    (tmp_path / ARCHIVE).write_text(f"node: 6f6c137\ndescribe-name: {name}\n")
    check_source(tmp_path)


@pytest.mark.parametrize("name", ["", "v1", "v1-14-g6f6c137", "$Format:%(describe:tags=true)$"])
def test_archive_that_names_no_release_has_none(name: str, tmp_path: Path) -> None:
    (tmp_path / ARCHIVE).write_text(f"node: 6f6c137\ndescribe-name: {name}\n")
    with pytest.raises(FactoryError, match=r"names no release tag.*Work in a clone"):
        check_source(tmp_path)
    (tmp_path / "PKG-INFO").touch()  # of an sdist
    check_source(tmp_path)


def test_clone_is_checked_by_its_git(repository: Path) -> None:
    check_source(repository)
    git(repository, "tag", "v1")
    with pytest.raises(FactoryError, match="'v1' is not a release tag"):
        check_source(repository)


def test_folder_without_history_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FactoryError, match=r"git cannot read .*: fatal: not a git"):
        read_source(tmp_path)
