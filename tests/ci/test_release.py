"""A release is laid out whole, says true things about itself, and is never altered."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
from in_toto_attestation.v1 import statement_pb2
from releases import RELEASED, SUBJECTS, git, stage_release, write_repository
from wheels import NAMED, sbom

from ci.manifest import hash_file, read_manifest
from ci.release import notes
from ci.release.plan import NOTES, SUMS

REPOSITORY = "https://github.com/o/r"
cli = importlib.import_module("ci.release.__main__")


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_release_holds_exactly_what_it_should(tmp_path: Path) -> None:
    release = stage_release(tmp_path)
    wheels = [f"mlc_llm-1.2.3-py3-none-{lane.platform}.whl" for lane in RELEASED.values()]
    expected = {
        *(f"{wheel}{suffix}" for wheel in wheels for suffix in ("", ".cdx.json", ".metadata")),
        *("mlc_llm-1.2.3.tar.gz", "manifest.json", "provenance.json", SUMS),
    }
    assert [asset.name for asset in release.assets] == sorted(expected)
    assert names(release.folder) == expected | {NOTES}
    assert read_manifest(release.folder).version == "1.2.3"


def test_same_wheelhouse_gives_the_same_bytes(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    first, second = (stage_release(tmp_path / folder) for folder in ("a", "b"))
    assert [(a.name, a.sha256) for a in first.assets] == [(a.name, a.sha256) for a in second.assets]
    assert first.notes == second.notes


def test_bill_of_materials_is_that_of_the_wheel(tmp_path: Path) -> None:
    release = stage_release(tmp_path)
    documents = [a.path.read_bytes() for a in release.assets if a.name.endswith(".cdx.json")]
    assert documents == [sbom(*NAMED)] * len(RELEASED)


def read_statement(release_folder: Path) -> tuple[Any, Any]:
    """Parse provenance.json by the published definitions, which refuse unknown fields."""
    text = (release_folder / "provenance.json").read_text()
    statement = json_format.Parse(text, statement_pb2.Statement())
    predicate = json.dumps(json.loads(text)["predicate"])
    return statement, json_format.Parse(predicate, provenance_pb2.Provenance())


def test_provenance_names_every_file_and_what_it_came_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_WORKFLOW_REF", "o/r/.github/workflows/release.yml@refs/tags/v1.2.3")
    release = stage_release(tmp_path, url=REPOSITORY)
    statement, provenance = read_statement(release.folder)
    covered = {subject.name: subject.digest["sha256"] for subject in statement.subject}
    assert covered == {
        asset.name: hash_file(asset.path)
        for asset in release.assets
        if asset.name not in {"provenance.json", SUMS}
    }
    assert statement.type == "https://in-toto.io/Statement/v1"
    assert statement.predicate_type == "https://slsa.dev/provenance/v1"
    definition, details = provenance.build_definition, provenance.run_details
    source, *others = definition.resolved_dependencies
    assert source.uri == f"git+{REPOSITORY}@refs/tags/v1.2.3"
    assert source.digest["gitCommit"] == "a" * 40
    named = {other.name for other in others}
    assert {"ci/locks/toolchain.txt", "build image of linux-x86_64"} <= named
    workflow = "o/r/.github/workflows/release.yml@refs/tags/v1.2.3"
    assert details.builder.id == f"https://github.com/{workflow}"


def test_provenance_without_a_workflow_is_local(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GITHUB_WORKFLOW_REF", raising=False)
    _, provenance = read_statement(stage_release(tmp_path).folder)
    assert provenance.run_details.builder.id == "local"


@pytest.mark.parametrize("variable", ["GITHUB_RUN_ID", "GITHUB_RUN_ATTEMPT"])
def test_another_run_gives_the_same_provenance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv("GITHUB_WORKFLOW_REF", "o/r/.github/workflows/release.yml@refs/tags/v1.2.3")
    digests = set()
    for number in ("1", "2"):
        monkeypatch.setenv(variable, number)
        (tmp_path / number).mkdir()
        digests.add(tuple(asset.sha256 for asset in stage_release(tmp_path / number).assets))
    assert len(digests) == 1


def test_notes_say_what_changed_how_to_install_and_the_sums(tmp_path: Path) -> None:
    release = stage_release(tmp_path, url=REPOSITORY)
    text = release.notes
    assert "## New\n\n- Add a lane\n" in text
    assert "## Mended\n\n- Fix the fix\n" in text
    assert "## Changed\n\n- Say more\n" in text
    for lane in RELEASED.values():
        wheel = f"mlc_llm-1.2.3-py3-none-{lane.platform}.whl"
        download = f"pip install {REPOSITORY}/releases/download/v1.2.3/{wheel}"
        assert f"| `{lane.platform}` | `{download}` |" in text
    assert (release.folder / SUMS).read_text() in text


def test_notes_of_a_long_history_stay_short() -> None:
    text = notes.write_notes([f"Change {n}" for n in range(5000)], [], [], "")
    assert len(text) < 20_000
    assert "... and 4800 more commits." in text


@pytest.mark.parametrize(
    ("tag", "before"),
    [
        ("v0.1.0", ""),
        ("v0.2.0-rc.1", "v0.1.0"),
        ("v0.2.0-rc.2", "v0.2.0-rc.1"),
        ("v0.2.0", "v0.1.0"),
    ],
)
def test_notes_begin_at_the_release_before(tmp_path: Path, tag: str, before: str) -> None:
    repository = write_repository(tmp_path / "repository", "v0.1.0")
    for later in ("v0.2.0-rc.1", "v0.2.0-rc.2", "v0.2.0"):
        git(repository, "commit", "--quiet", "--allow-empty", "-m", f"For {later}")
        git(repository, "tag", later)
    assert notes.previous_tag(repository, tag) == before
    subjects = {
        "v0.1.0": list(SUBJECTS),
        "v0.2.0-rc.1": ["For v0.2.0-rc.1"],
        "v0.2.0-rc.2": ["For v0.2.0-rc.2"],
        "v0.2.0": ["For v0.2.0-rc.1", "For v0.2.0-rc.2", "For v0.2.0"],
    }
    assert notes.read_subjects(repository, tag) == subjects[tag]
