import hashlib
import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ci.checks import PASSED, Check
from ci.errors import FactoryError, UsageError
from ci.manifest import (
    Manifest,
    SdistRecord,
    WheelRecord,
    hash_file,
    read_manifest,
    record_sdist,
)
from ci.wheelhouse import check_wheelhouse, publish

SDIST = SdistRecord("mlc_llm-1.2.3.tar.gz", hashlib.sha256(b"s").hexdigest(), size=1)
MANIFEST = Manifest("1.2.3", "a" * 40, dirty=False, source_date_epoch=1, sdist=SDIST, wheels=())


def add(tmp_path: Path, lane: str, manifest: Manifest = MANIFEST, content: bytes = b"x") -> Path:
    wheel = tmp_path / f"mlc_llm-{manifest.version}-py3-none-{lane.replace('-', '_')}.whl"
    wheel.write_bytes(content)
    record = WheelRecord(
        file=wheel.name,
        lane=lane,
        engine="host",
        sha256=hash_file(wheel),
        size=len(content),
        toolchain_lock="b" * 64,
        image=None,
        checks=(Check("some check", PASSED, "seen"),),
    )
    sdist = tmp_path / f"mlc_llm-{manifest.version}.tar.gz"
    sdist.write_bytes(b"s")
    manifest = replace(manifest, sdist=record_sdist(sdist))
    publish(wheel, record, sdist, manifest, tmp_path / "wheelhouse")
    return tmp_path / "wheelhouse"


def lanes(wheelhouse: Path) -> list[str]:
    return [wheel.lane for wheel in read_manifest(wheelhouse).wheels]


def test_lanes_of_one_source_gather(tmp_path: Path) -> None:
    add(tmp_path, "lane-a")
    assert lanes(add(tmp_path, "lane-b")) == ["lane-a", "lane-b"]


def test_a_lane_built_again_replaces_its_wheel(tmp_path: Path) -> None:
    add(tmp_path, "lane-a", content=b"old")
    wheelhouse = add(tmp_path, "lane-a", content=b"new")
    assert [path.read_bytes() for path in wheelhouse.glob("*.whl")] == [b"new"]


@pytest.mark.parametrize("change", [{"version": "1.2.4"}, {"commit": "c" * 40}, {"dirty": True}])
def test_wheels_of_another_source_go(tmp_path: Path, change: dict[str, Any]) -> None:
    add(tmp_path, "lane-a")
    assert lanes(add(tmp_path, "lane-b", replace(MANIFEST, **change))) == ["lane-b"]


def test_failure_leaves_the_old_wheelhouse(tmp_path: Path) -> None:
    wheelhouse = add(tmp_path, "lane-a")
    before = {path: path.read_bytes() for path in wheelhouse.iterdir()}
    with pytest.raises(FactoryError):
        add(tmp_path, "lane-b", replace(MANIFEST, commit="not a commit"))
    assert {path: path.read_bytes() for path in wheelhouse.iterdir()} == before
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["wheelhouse"]


@pytest.mark.parametrize("name", ["thesis.txt", "numpy-2.0-py3-none-any.whl", "folder/file"])
@pytest.mark.parametrize("ours", [False, True])
def test_foreign_file_is_refused_and_kept(tmp_path: Path, name: str, *, ours: bool) -> None:
    if ours:
        add(tmp_path, "lane-a")
    precious = tmp_path / "wheelhouse" / name
    precious.parent.mkdir(parents=True, exist_ok=True)
    precious.touch()
    with pytest.raises(
        FactoryError, match=f"holds {name.split('/', maxsplit=1)[0]}, which no build put there"
    ):
        add(tmp_path, "lane-b")
    assert precious.exists()


@pytest.mark.parametrize(
    "text", ["", "[]", '{"manifest_version": 3}', json.dumps({"project": "other"})]
)
def test_manifest_of_something_else_is_refused_and_kept(tmp_path: Path, text: str) -> None:
    foreign = tmp_path / "wheelhouse" / "manifest.json"
    foreign.parent.mkdir()
    foreign.write_text(text)
    with pytest.raises(FactoryError, match="holds other files and no manifest of mlc_llm"):
        check_wheelhouse(foreign.parent)
    assert foreign.read_text() == text


def test_wheels_without_a_manifest_are_refused(tmp_path: Path) -> None:
    (tmp_path / "mlc_llm-1.0.0-py3-none-any.whl").touch()
    with pytest.raises(FactoryError, match="holds other files and no manifest of mlc_llm"):
        check_wheelhouse(tmp_path)


def test_new_empty_and_own_wheelhouses_are_accepted(tmp_path: Path) -> None:
    check_wheelhouse(tmp_path / "new")
    (tmp_path / "empty").mkdir()
    check_wheelhouse(tmp_path / "empty")
    check_wheelhouse(add(tmp_path, "lane-a"))


def test_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"no folder can be made at \S+file/wheelhouse: .*--wheel"):
        check_wheelhouse(tmp_path / "file" / "wheelhouse")


def test_looking_at_a_place_leaves_nothing_there(tmp_path: Path) -> None:
    (tmp_path / ".wheelhouse.new").mkdir()  # of a build that was killed
    check_wheelhouse(tmp_path / "wheelhouse")
    assert [*tmp_path.iterdir()] == []


def test_outdated_manifest_of_ours_is_replaced(tmp_path: Path) -> None:
    wheelhouse = tmp_path / "wheelhouse"
    wheelhouse.mkdir()
    (wheelhouse / "manifest.json").write_text('{"project": "mlc_llm", "schema": 0}')
    assert lanes(add(tmp_path, "lane-a")) == ["lane-a"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_interruption_between_the_renames_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    wheelhouse = add(tmp_path, "lane-a")
    rename = Path.rename

    def fail_second(self: Path, target: Path) -> Path:
        if self.name == ".wheelhouse.new":
            raise error
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail_second)
    with pytest.raises(error):
        add(tmp_path, "lane-b")
    assert lanes(wheelhouse) == ["lane-a"]


def test_wheelhouse_that_a_kill_left_aside_comes_back(tmp_path: Path) -> None:
    wheelhouse = add(tmp_path, "lane-a")
    wheelhouse.rename(tmp_path / ".wheelhouse.old")
    check_wheelhouse(wheelhouse)
    assert lanes(wheelhouse) == ["lane-a"]


@pytest.mark.root
def test_full_disk_loses_nothing(tmp_path: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", tmp_path], check=True)
    try:
        wheelhouse = add(tmp_path, "lane-a", content=b"x" * 60_000)
        before = {path: path.read_bytes() for path in wheelhouse.iterdir()}
        with pytest.raises(OSError, match="No space left"):
            add(tmp_path, "lane-b", content=b"y" * 60_000)
        assert {path: path.read_bytes() for path in wheelhouse.iterdir()} == before
    finally:
        subprocess.run(["umount", tmp_path], check=True)
