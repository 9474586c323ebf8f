"""A repacked wheel is a function of its contents, and still an ordinary wheel."""

from __future__ import annotations

import stat
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wheels import DIST_INFO, LIBRARY, good_files, record, write_wheel

from ci.errors import FactoryError
from ci.repack import read_wheel, record_problems, repack

EPOCH = 1_700_000_001
RECORD = f"{DIST_INFO}/RECORD"

# Names that a wheel may have: plain, with a comma (RECORD quotes it), outside ASCII.
parts = st.text(st.sampled_from("abXY09_-.,é字 "), min_size=1, max_size=8).filter(
    lambda part: part not in (".", "..")
)
names = st.lists(parts, min_size=1, max_size=3).map(lambda p: "mlc_llm/" + "/".join(p) + ".py")
contents = st.dictionaries(names, st.binary(max_size=200), max_size=6)


def write_zip(path: Path, entries: list[tuple[str, bytes]], method: int, level: int) -> Path:
    with zipfile.ZipFile(path, "w", method, compresslevel=level) as archive:
        for name, data in entries:
            archive.writestr(name, data)
    return path


@given(contents, st.randoms(), st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))
def test_same_contents_give_the_same_bytes(
    tmp_path_factory: pytest.TempPathFactory, extra: dict[str, bytes], random: object, method: int
) -> None:
    folder = tmp_path_factory.mktemp("repack")
    files = good_files() | extra
    files[RECORD] = record(files)
    entries = list(files.items())
    first = write_zip(folder / "a.whl", entries, zipfile.ZIP_DEFLATED, 9)
    random.shuffle(entries)  # type: ignore[attr-defined]
    second = write_zip(folder / "b.whl", [("mlc_llm/", b""), *entries], method, 1)
    repack(first, EPOCH)
    repack(second, EPOCH)
    assert first.read_bytes() == second.read_bytes()
    packed = read_wheel(first)
    assert packed | {RECORD: b""} == files | {RECORD: b""}
    assert record_problems(packed) == []


def test_repacking_again_changes_nothing(tmp_path: Path) -> None:
    wheel = write_wheel(tmp_path, good_files())
    repack(wheel, EPOCH)
    before = wheel.read_bytes()
    repack(wheel, EPOCH)
    assert wheel.read_bytes() == before


def test_entries_are_canonical(tmp_path: Path) -> None:
    script = f"{DIST_INFO.removesuffix('.dist-info')}.data/scripts/run"
    wheel = write_wheel(tmp_path, {script: b"#!python\n", **good_files()})
    repack(wheel, EPOCH)
    with zipfile.ZipFile(wheel) as archive:
        assert archive.testzip() is None
        infos = archive.infolist()
    order = [info.filename for info in infos]
    inside = [name.startswith(DIST_INFO) for name in order]
    assert inside == sorted(inside)
    assert order[-1] == RECORD
    assert {info.date_time for info in infos} == {(2023, 11, 14, 22, 13, 20)}
    assert {(info.create_system, info.extra, info.comment) for info in infos} == {(3, b"", b"")}
    modes = {info.filename: info.external_attr >> 16 for info in infos}
    assert all(stat.S_ISREG(mode) for mode in modes.values())
    assert {name for name, mode in modes.items() if mode & 0o777 == 0o755} == {LIBRARY, script}
    assert {mode & 0o777 for mode in modes.values()} == {0o644, 0o755}


@pytest.mark.parametrize(
    ("epoch", "stamp"),
    [(0, (1980, 1, 1, 0, 0, 0)), (10**11, (2107, 12, 31, 23, 59, 58))],
)
def test_clamps_the_time_to_what_a_zip_holds(
    tmp_path: Path, epoch: int, stamp: tuple[int, ...]
) -> None:
    wheel = write_wheel(tmp_path, good_files())
    repack(wheel, epoch)
    with zipfile.ZipFile(wheel) as archive:
        assert {info.date_time for info in archive.infolist()} == {stamp}


@pytest.mark.parametrize(
    "name",
    ["/etc/passwd", "../up.py", "a/../b.py", "./a.py", "a//b.py", "a\\b.py", "C:/a.py", "a\nb.py"],
)
def test_refuses_an_unsafe_name(tmp_path: Path, name: str) -> None:
    wheel = write_wheel(tmp_path, good_files() | {name: b""})
    with pytest.raises(FactoryError, match="holds an entry"):
        repack(wheel, EPOCH)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_refuses_a_repeated_name(tmp_path: Path) -> None:
    wheel = write_wheel(tmp_path, good_files())
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr(LIBRARY, b"other")
    with pytest.raises(FactoryError, match="twice"):
        repack(wheel, EPOCH)


def test_refuses_what_is_no_zip(tmp_path: Path) -> None:
    wheel = tmp_path / "a.whl"
    wheel.write_bytes(b"not a zip")
    with pytest.raises(FactoryError, match="cannot be read"):
        repack(wheel, EPOCH)


def test_refuses_a_damaged_entry(tmp_path: Path) -> None:
    wheel = write_zip(tmp_path / "a.whl", [("a.py", b"text")], zipfile.ZIP_STORED, 0)
    wheel.write_bytes(wheel.read_bytes().replace(b"text", b"TEXT"))
    with pytest.raises(FactoryError, match="cannot be read"):
        repack(wheel, EPOCH)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace(b"sha256=", b"sha256=0", 1), "has another hash or size"),
        (lambda text: text + b"mlc_llm/gone.py,,\n", "listed and absent"),
        (lambda text: text + text.splitlines(keepends=True)[0], "listed twice"),
        (lambda text: text.split(b"\n", 1)[1], "is not listed"),
    ],
)
def test_refuses_a_wrong_record(tmp_path: Path, change: object, message: str) -> None:
    files = good_files()
    text = change(record(files))  # type: ignore[operator]
    wheel = write_wheel(tmp_path, files | {RECORD: text})
    before = wheel.read_bytes()
    with pytest.raises(FactoryError, match=message):
        repack(wheel, EPOCH)
    assert wheel.read_bytes() == before


def test_leaves_the_wheel_alone_when_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = write_wheel(tmp_path, good_files())
    before = wheel.read_bytes()

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        repack(wheel, EPOCH)
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [before]
