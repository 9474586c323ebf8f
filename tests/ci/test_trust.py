"""`nox -s verify` sees a file that is not what the release says, and says what it did not see."""

from __future__ import annotations

import importlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from github_double import Double, Repository
from github_runs import TOKEN, run
from releases import LANES, RELEASED, SUBJECTS, TAG, git, write_repository, write_wheelhouse
from wheels import good_files, write_wheel

from ci.checks import FAILED, NOT_RUN, PASSED, Check
from ci.errors import FactoryError
from ci.manifest import hash_file
from ci.release.gate import gather
from ci.release.github.place import Place
from ci.release.plan import NOTES, SUMS, Release
from ci.release.stage import stage
from ci.trust.attestations import check_attestations
from ci.trust.rebuild import rebuild
from ci.trust.statements import Files, check_statements, run_check

cli = importlib.import_module("ci.trust.__main__")
WHEEL = f"mlc_llm-1.2.3-py3-none-{next(iter(RELEASED.values())).platform}.whl"
SDIST = "mlc_llm-1.2.3.tar.gz"

# What the tag's own `wheels` session does in these tests: it has built everything already.
NOXFILE = """
import shutil, sys
assert sys.argv[1:4] == ["-s", "wheels", "--"]
if {fails}: sys.exit("error: not here")
shutil.copytree({wheelhouse!r}, "wheelhouse", dirs_exist_ok=True)
"""


@pytest.fixture(autouse=True)
def no_github(monkeypatch: pytest.MonkeyPatch) -> None:
    """Know of no repository on GitHub, whatever runs the tests."""
    for variable in ("GH_TOKEN", "GITHUB_TOKEN", "GITHUB_REPOSITORY"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    repository = write_repository(tmp_path / "repository")
    locks = repository / "ci" / "locks"
    shutil.copytree(Path(__file__).parents[2] / "ci" / "locks", locks)
    write_noxfile(repository, tmp_path / "built")
    git(repository, "tag", TAG)
    return repository


def write_noxfile(repository: Path, wheelhouse: Path, *, fails: bool = False) -> None:
    text = NOXFILE.format(wheelhouse=str(wheelhouse), fails=fails)
    (repository / "noxfile.py").write_text(text)
    git(repository, "add", ".")
    git(repository, "commit", "--quiet", "-m", "Build")


@pytest.fixture
def release(tmp_path: Path, repository: Path) -> Release:
    """The release of the repository's tag."""
    commit = git(repository, "rev-parse", "HEAD")
    gathered = gather(write_wheelhouse(tmp_path / "built", commit=commit))
    folder = tmp_path / "release"
    folder.mkdir()
    return stage(gathered, folder, tag=TAG, subjects=SUBJECTS, lanes=LANES, url="")


@pytest.fixture
def files(release: Release, repository: Path) -> Files:
    return Files(release.folder, repository)


def results(files: Files) -> dict[str, str]:
    return {check.name: check.status for check in check_statements(files)}


def complaints(files: Files) -> dict[str, str]:
    checks = check_statements(files)
    return {check.name: check.detail for check in checks if check.status == FAILED}


def test_a_good_release_passes(files: Files) -> None:
    assert set(results(files).values()) == {PASSED}
    assert len(results(files)) == 6


def write_sums(folder: Path) -> None:
    """Make the sums right again, as somebody would who has changed a file."""
    names = sorted(p.name for p in folder.iterdir() if p.name not in {SUMS, NOTES})
    (folder / SUMS).write_text("".join(f"{hash_file(folder / n)}  {n}\n" for n in names))


def edit(folder: Path, name: str, change: Callable[[Any], object]) -> None:
    document = json.loads((folder / name).read_text())
    change(document)
    (folder / name).write_text(json.dumps(document))


def material(**fields: object) -> Callable[[Any], object]:
    def change(document: Any) -> None:
        document["predicate"]["buildDefinition"]["resolvedDependencies"][1].update(fields)

    return change


@pytest.mark.parametrize("name", [WHEEL, SDIST, "manifest.json", "provenance.json"])
def test_changed_file_is_seen(files: Files, name: str) -> None:
    with (files.folder / name).open("ab") as file:
        file.write(b" ")
    assert f"{name} has another sum than SHA256SUMS says" in complaints(files)["sums"]


@pytest.mark.parametrize("name", [WHEEL, f"{WHEEL}.cdx.json", "manifest.json"])
def test_missing_file_is_seen(files: Files, name: str) -> None:
    (files.folder / name).unlink()
    assert f"{name} is only in one of SHA256SUMS and the files" in complaints(files)["sums"]


def test_added_file_is_seen(files: Files) -> None:
    (files.folder / "setup.exe").touch()
    assert "setup.exe is only in one" in complaints(files)["sums"]
    assert "setup.exe is only in one" in complaints(files)["provenance"]


def test_wrong_sums_are_seen(files: Files) -> None:
    (files.folder / SUMS).write_text("all is well\n")
    assert "is not a list of sha256 sums" in complaints(files)["sums"]


# With sums that somebody has made right again, the other documents still disagree.


@pytest.mark.parametrize("name", [WHEEL, SDIST, f"{WHEEL}.cdx.json"])
def test_changed_file_with_right_sums_is_seen(files: Files, name: str) -> None:
    with (files.folder / name).open("ab") as file:
        file.write(b" ")
    write_sums(files.folder)
    found = complaints(files)
    assert "sums" not in found
    assert f"{name} has another sum than provenance.json says" in found["provenance"]


@pytest.mark.parametrize(
    ("check", "name", "change", "message"),
    [
        ("manifest", "manifest.json", lambda d: d.update(dirty=True), "a tree with changes"),
        (
            "manifest",
            "manifest.json",
            lambda d: d["wheels"][0]["checks"][0].update(status="failed"),
            "failed its check archive",
        ),
        ("provenance", "manifest.json", lambda d: d.update(commit="b" * 40), "another sum"),
        ("tag", "manifest.json", lambda d: d.update(commit="b" * 40), "v1.2.3 is commit"),
        ("provenance", "provenance.json", lambda d: d["subject"].pop(), "is only in one of"),
        ("locks", "provenance.json", material(digest={"sha256": "0" * 64}), "is another file"),
        (
            "locks",
            "manifest.json",
            lambda d: d["wheels"][0].update(toolchain_lock="0" * 64),
            "another toolchain than the commit's",
        ),
    ],
)
def test_changed_document_with_right_sums_is_seen(
    files: Files, check: str, name: str, change: Callable[[Any], object], message: str
) -> None:
    edit(files.folder, name, change)
    write_sums(files.folder)
    found = complaints(files)
    assert "sums" not in found
    assert message in found[check]


def materials(*held: object) -> str:
    """Return provenance with these materials."""
    return json.dumps({"predicate": {"buildDefinition": {"resolvedDependencies": held}}})


@pytest.mark.parametrize(
    ("check", "name", "text"),
    [
        ("provenance", "provenance.json", "[]"),
        pytest.param("provenance", "provenance.json", "[" * 100_000, id="deep"),
        ("locks", "provenance.json", materials("x")),
        ("locks", "provenance.json", materials({"name": None})),
    ],
)
def test_document_of_another_form_is_a_failed_check(
    files: Files, check: str, name: str, text: str
) -> None:
    (files.folder / name).write_text(text)
    assert results(files)[check] == FAILED


def test_provenance_without_a_source_is_a_failed_check(files: Files) -> None:
    def change(document: Any) -> None:
        document["predicate"]["buildDefinition"]["resolvedDependencies"] = []

    edit(files.folder, "provenance.json", change)
    assert "is damaged or made to deceive (StopIteration" in complaints(files)["provenance"]


def test_clone_without_the_tag_checks_the_rest(files: Files) -> None:
    git(files.root, "tag", "--delete", TAG)
    found = results(files)
    assert found.pop("tag") == NOT_RUN
    assert set(found.values()) == {PASSED}


# Signatures


def write_gh(folder: Path, status: int, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a `gh` in front that notes its arguments and exits with `status`."""
    gh = folder / "bin" / "gh"
    gh.parent.mkdir()
    gh.write_text(f'#!/bin/sh\necho "$*" >>{folder}/asked\necho no match >&2\nexit {status}\n')
    gh.chmod(0o755)
    monkeypatch.setenv("PATH", str(gh.parent), prepend=":")
    return folder / "asked"


PLACE = Place("o/r", "https://github.com", "https://api.github.com", "")


def test_signature_of_each_wheel_and_the_sdist_is_asked_for(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = write_gh(tmp_path, 0, monkeypatch)
    assert f"GitHub signed {len(RELEASED) + 1} files of o/r" in check_attestations(files, PLACE)
    lines = asked.read_text().splitlines()
    assert len(lines) == len(RELEASED) + 1
    assert lines[0].startswith(f"attestation verify {files.folder}/mlc_llm-1.2.3-")
    commit = files.manifest.commit
    assert lines[0].endswith(f"--repo o/r --source-ref refs/tags/v1.2.3 --source-digest {commit}")


def test_wrong_signature_fails(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_gh(tmp_path, 1, monkeypatch)
    with pytest.raises(ValueError, match=r"\.whl: no match"):
        check_attestations(files, PLACE)


@pytest.mark.parametrize("place", [None, PLACE])
def test_signatures_that_cannot_be_checked_are_not_run(
    files: Files, monkeypatch: pytest.MonkeyPatch, place: Place | None
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    result = run_check("attestations", lambda files: check_attestations(files, place), files)
    assert result.status == NOT_RUN


# Building again


def again(files: Files, tmp_path: Path) -> list[Check]:
    return [*rebuild(files, None, "host", tmp_path / "rebuild")]


def test_rebuild_of_the_same_bytes_passes(files: Files, tmp_path: Path) -> None:
    found = {check.name: check.status for check in again(files, tmp_path)}
    names = {*(f"rebuild: {lane}" for lane in RELEASED), "rebuild: sdist"}
    assert found == dict.fromkeys(names, PASSED)


def test_lanes_may_be_chosen(files: Files, tmp_path: Path) -> None:
    lane = [*RELEASED][-1]
    found = [check.name for check in rebuild(files, [lane], "host", tmp_path / "rebuild")]
    assert found == [f"rebuild: {lane}", "rebuild: sdist"]
    with pytest.raises(FactoryError, match=r"the release has no lane amiga-68k\. It has linux-"):
        [*rebuild(files, ["amiga-68k"], "host", tmp_path / "rebuild")]


def test_rebuild_that_differs_fails_and_says_where(files: Files, tmp_path: Path) -> None:
    built = tmp_path / "built"
    wheel = write_wheel(built, good_files() | {"mlc_llm/cli.py": b"other"}, WHEEL)
    (built / SDIST).write_bytes(b"other")

    def change(document: Any) -> None:
        for entry in (document["wheels"][0], document["sdist"]):
            path = built / entry["file"]
            entry.update(sha256=hash_file(path), size=path.stat().st_size)

    edit(built, "manifest.json", change)
    found = {check.name: check for check in again(files, tmp_path)}
    (lane,) = (lane for lane, row in RELEASED.items() if row.platform in wheel.name)
    assert found["rebuild: sdist"].status == FAILED
    assert found[f"rebuild: {lane}"].status == FAILED
    assert "mlc_llm/cli.py differs from byte 0 on" in found[f"rebuild: {lane}"].detail


def test_rebuild_that_cannot_be_done_is_not_run(files: Files, tmp_path: Path) -> None:
    write_noxfile(files.root, Path("/nowhere"), fails=True)
    git(files.root, "tag", "--force", TAG)
    assert {check.status for check in again(files, tmp_path)} == {NOT_RUN}


def test_rebuild_without_the_tag_is_not_run(files: Files, tmp_path: Path) -> None:
    git(files.root, "tag", "--delete", TAG)
    (only,) = again(files, tmp_path)
    assert (only.status, only.detail) == (NOT_RUN, "this clone has no tag v1.2.3: fetch it")


# The command


@pytest.fixture
def verify(files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    monkeypatch.setattr(cli, "ROOT", files.root)
    monkeypatch.setattr(cli, "WORK", tmp_path / "work")
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    main: Callable[[list[str]], int] = cli.main
    return lambda *arguments: main([*arguments])


def test_folder_is_verified(
    files: Files, verify: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert verify(str(files.folder)) == 0
    said = capsys.readouterr().out
    assert "6 passed, 0 failed, 2 not run" in said
    assert "`--rebuild` builds every wheel again" in said


def test_folder_is_rebuilt(
    files: Files, verify: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert verify(str(files.folder), "--rebuild") == 0
    assert f"{6 + len(RELEASED) + 1} passed, 0 failed, 1 not run" in capsys.readouterr().out


def test_rebuild_that_was_asked_for_and_not_done_is_no_success(
    files: Files, verify: Callable[..., int]
) -> None:
    git(files.root, "tag", "--delete", TAG)
    assert verify(str(files.folder)) == 0
    assert verify(str(files.folder), "--rebuild") == 1


def test_bad_folder_fails(files: Files, verify: Callable[..., int]) -> None:
    (files.folder / SDIST).write_bytes(b"other")
    assert verify(str(files.folder)) == 1


@pytest.mark.parametrize("words", ["1.2.3", "nowhere/at/all"])
def test_neither_tag_nor_folder_is_refused(verify: Callable[..., int], words: str) -> None:
    with pytest.raises(FactoryError, match="neither a folder nor a release tag"):
        verify(words)


def test_folder_of_something_else_is_refused(verify: Callable[..., int], tmp_path: Path) -> None:
    with pytest.raises(FactoryError, match="is no release: it has neither SHA256SUMS nor manif"):
        verify(str(tmp_path))


def test_tag_of_nowhere_is_refused(verify: Callable[..., int]) -> None:
    with pytest.raises(FactoryError, match=r"not known where v1\.2\.3 was released"):
        verify(TAG)


@pytest.fixture
def double(release: Release, monkeypatch: pytest.MonkeyPatch) -> Iterator[Double]:
    """A GitHub on which the release is published."""
    with Double.run() as running:
        expected = {asset.name: asset.digest for asset in release.assets}
        tags = {TAG: {"type": "commit", "sha": release.commit}}
        running.begin(Repository(expected, tags=tags))
        run(running, release)
        monkeypatch.setenv("GITHUB_REPOSITORY", "o/r")
        monkeypatch.setenv("GITHUB_API_URL", running.bases["api"])
        yield running


@pytest.mark.parametrize("token", ["", TOKEN])
def test_tag_is_downloaded_and_verified(
    double: Double,
    verify: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    token: str,
) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", token)
    assert verify(TAG) == 0
    assert double.repository.wrong == []
    folder = tmp_path / "work" / "verify" / TAG
    assert {p.name for p in folder.iterdir()} == {*double.repository.expected, NOTES}


def test_download_that_is_not_what_the_server_states_is_refused(
    double: Double, verify: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    (release,) = double.repository.releases.values()
    asset = next(iter(release.assets.values()))
    monkeypatch.setattr(type(asset), "digest", f"sha256:{'0' * 64}")
    with pytest.raises(FactoryError, match="did not arrive as the server states it"):
        verify(TAG)


def test_tag_that_is_not_released_is_refused(double: Double, verify: Callable[..., int]) -> None:
    assert double
    with pytest.raises(FactoryError, match=r"o/r has no release v9\.9\.9"):
        verify("v9.9.9")
