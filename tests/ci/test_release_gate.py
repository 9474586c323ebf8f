"""A release refuses whatever is not one clean commit at its tag with every wheel it owes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from releases import (
    LANES,
    RELEASED,
    TAG,
    edit,
    git,
    write_repository,
    write_wheelhouse,
)

from ci.errors import FactoryError, UsageError
from ci.release.gate import check_tag, check_wheels, gather, leave_out
from ci.version import Source

SOURCE = Source(commit="a" * 40, epoch=1, dirty=False, tag=TAG)
ONE, *OTHERS = RELEASED


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return write_repository(tmp_path / "repository", TAG)


def test_tag_at_head_of_a_clean_tree_is_accepted(repository: Path) -> None:
    assert check_tag(repository, TAG).commit == git(repository, "rev-parse", "HEAD")


def test_annotated_tag_is_accepted(tmp_path: Path) -> None:
    repository = write_repository(tmp_path / "repository")
    git(repository, "tag", "--annotate", "--message=release", TAG)
    assert check_tag(repository, TAG).tag == TAG


@pytest.mark.parametrize("tag", ["1.2.3", "v1.2", "v1.2.3-rc1", "v01.2.3", "v1.2.3+local", "main"])
def test_what_is_no_release_tag_is_refused(repository: Path, tag: str) -> None:
    with pytest.raises(UsageError, match=r"is not a release tag\..*choose such a tag\.$"):
        check_tag(repository, tag)


def test_absent_tag_is_refused(repository: Path) -> None:
    with pytest.raises(FactoryError, match=r"there is no tag v9\.9\.9 here\. Make it with"):
        check_tag(repository, "v9.9.9")


def test_branch_of_that_name_is_no_tag(repository: Path) -> None:
    git(repository, "branch", "v9.9.9")
    with pytest.raises(FactoryError, match=r"there is no tag v9\.9\.9"):
        check_tag(repository, "v9.9.9")


def test_tag_elsewhere_is_refused(repository: Path) -> None:
    git(repository, "commit", "--quiet", "--allow-empty", "-m", "more")
    with pytest.raises(FactoryError, match=r"the tag v1\.2\.3 is at \w{12}, and HEAD is at"):
        check_tag(repository, TAG)


def test_new_file_is_refused(repository: Path) -> None:
    (repository / "new").touch()
    with pytest.raises(FactoryError, match="holds changes that the tag does not"):
        check_tag(repository, TAG)


def test_one_wheelhouse_with_every_lane_is_accepted(tmp_path: Path) -> None:
    gathered = gather(write_wheelhouse(tmp_path / "wheelhouse"))
    check_wheels(gathered.manifest, SOURCE, LANES)
    assert len(gathered.files) == len(RELEASED) + 1


def test_wheelhouses_of_several_jobs_become_one(tmp_path: Path) -> None:
    for lane in RELEASED.values():
        write_wheelhouse(tmp_path / "all" / f"wheel-{lane.id}", {lane.id: lane})
    whole = gather(write_wheelhouse(tmp_path / "wheelhouse"))
    merged = gather(tmp_path / "all")
    assert {w.lane for w in merged.manifest.wheels} == set(RELEASED)
    assert [p.name for p in merged.files] == [p.name for p in whole.files]
    check_wheels(merged.manifest, SOURCE, LANES)


@pytest.mark.parametrize(
    ("difference", "field"),
    [({"commit": "b" * 40}, "commit"), ({"sdist": b"other"}, "sdist"), ({"version": "1.2.4"}, "v")],
)
def test_wheelhouses_of_two_sources_are_refused(
    tmp_path: Path, difference: dict[str, Any], field: str
) -> None:
    write_wheelhouse(tmp_path / "all" / "a", {ONE: RELEASED[ONE]})
    other = {lane: RELEASED[lane] for lane in OTHERS}
    write_wheelhouse(tmp_path / "all" / "b", other, **difference)
    with pytest.raises(FactoryError, match=f"differs from .* in its {field}"):
        gather(tmp_path / "all")


def test_empty_wheelhouse_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FactoryError, match="is empty"):
        gather(tmp_path)


def test_absent_wheelhouse_is_a_wrong_word(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no wheelhouse"):
        gather(tmp_path / "elsewhere")


@pytest.mark.parametrize("jobs", [False, True])
def test_stray_file_is_refused(tmp_path: Path, *, jobs: bool) -> None:
    wheelhouse = write_wheelhouse(tmp_path / "all" / "job")
    (wheelhouse / "notes.txt").touch()
    with pytest.raises(FactoryError, match=r"holds notes\.txt, which manifest\.json does not list"):
        gather(wheelhouse.parent if jobs else wheelhouse)


def wheel(**fields: object) -> Callable[[dict[str, Any]], object]:
    return lambda document: document["wheels"][0].update(fields)


def check(name: str, **fields: str) -> Callable[[dict[str, Any]], object]:
    """Change one check of the first wheel, or without `fields` take it out."""

    def change(document: dict[str, Any]) -> None:
        checks = document["wheels"][0]["checks"]
        (found,) = (check for check in checks if check["name"] == name)
        if fields:
            found.update(fields)
        else:
            checks.remove(found)

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(commit="b" * 40), "built from commit bbbbbbbbbbbb, and v1.2.3 is aaaa"),
        (lambda d: d.update(dirty=True), "from a tree with changes"),
        (lambda d: d["wheels"].pop(0) and d, "lies in"),
        (wheel(lane="linux-riscv64"), f"one wheel of lane {ONE}, and the wheelhouse has 0"),
        (wheel(toolchain_lock="b" * 64), "another toolchain than ci/locks/toolchain.txt"),
        (wheel(sha256="b" * 64), "has the sha256"),
        (check("size", status="failed"), '"size" of .* is "failed": seen'),
        (check("smoke: import", status="not run"), '"smoke: import" of .* is "not run": seen'),
        (check("sbom"), 'never met the check "sbom"'),
        (check("archive"), 'never met the check "archive"'),
        (check("smoke: import"), "was never run by a smoke test"),
    ],
)
def test_wrong_manifest_is_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    wheelhouse = write_wheelhouse(tmp_path / "wheelhouse")
    edit(wheelhouse, change)
    with pytest.raises(FactoryError, match=message):
        check_wheels(gather(wheelhouse).manifest, SOURCE, LANES)


def test_lane_may_say_that_a_check_cannot_run(tmp_path: Path) -> None:
    wheelhouse = write_wheelhouse(tmp_path / "wheelhouse")
    edit(
        wheelhouse,
        lambda d: d["wheels"][0]["checks"].append(
            {"name": "smoke: Mesa lavapipe", "status": "not run", "detail": "no driver"}
        ),
    )
    manifest = gather(wheelhouse).manifest
    strict = LANES | {ONE: replace(LANES[ONE], may_not_run=("smoke: other*",))}
    with pytest.raises(FactoryError, match="Mesa lavapipe"):
        check_wheels(manifest, SOURCE, strict)
    allowed = LANES | {ONE: replace(LANES[ONE], may_not_run=("smoke: Mesa*",))}
    check_wheels(manifest, SOURCE, allowed)


def test_missing_lane_is_an_error_and_never_a_silence(tmp_path: Path) -> None:
    wheelhouse = write_wheelhouse(tmp_path / "wheelhouse", {ONE: RELEASED[ONE]})
    with pytest.raises(FactoryError, match=f"one wheel of lane {OTHERS[0]}, and .* has 0"):
        check_wheels(gather(wheelhouse).manifest, SOURCE, LANES)


def test_lane_that_is_not_released_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lanes = LANES | {ONE: replace(LANES[ONE], released=False)}
    everything = gather(write_wheelhouse(tmp_path / "wheelhouse"))
    rest = leave_out(everything, lanes)
    assert {wheel.lane for wheel in rest.manifest.wheels} == {*OTHERS}
    assert {*everything.files} - {*rest.files} == {
        path for path in everything.files if LANES[ONE].platform in path.name
    }
    assert f"left out: ci/lanes.toml does not release {ONE}" in capsys.readouterr().out
    check_wheels(rest.manifest, SOURCE, lanes)


def test_lane_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    lanes = {name: lane for name, lane in LANES.items() if name != ONE}
    everything = leave_out(gather(write_wheelhouse(tmp_path / "wheelhouse")), lanes)
    with pytest.raises(FactoryError, match=f"a wheel of lane {ONE}, which .* does not know"):
        check_wheels(everything.manifest, SOURCE, lanes)


def test_wheel_of_another_version_is_refused(tmp_path: Path) -> None:
    manifest = gather(write_wheelhouse(tmp_path / "wheelhouse", version="1.2.4")).manifest
    with pytest.raises(FactoryError, match=r"are of version 1\.2\.4, and v1\.2\.3 is 1\.2\.3"):
        check_wheels(manifest, SOURCE, LANES)


def test_wheel_of_another_platform_is_refused(tmp_path: Path) -> None:
    lanes = LANES | {ONE: replace(LANES[ONE], platform="manylinux_2_99_x86_64")}
    manifest = gather(write_wheelhouse(tmp_path / "wheelhouse")).manifest
    with pytest.raises(FactoryError, match=r"should be called .*manylinux_2_99"):
        check_wheels(manifest, SOURCE, lanes)
