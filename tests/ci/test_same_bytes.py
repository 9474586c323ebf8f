import zipfile
from pathlib import Path

import pytest

from ci.same_bytes import differences

FILES = {"mlc_llm/__init__.py": b"one", "mlc_llm/lib/libmlc_llm.so": b"\x7fELF same, then A"}


def write(
    path: Path, files: dict[str, bytes], date: tuple[int, ...] = (2026, 1, 1, 0, 0, 0)
) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, date), content)  # type: ignore[arg-type]
    return path


def test_equal_wheels_have_no_difference(tmp_path: Path) -> None:
    wheels = [write(tmp_path / name, FILES) for name in ("a", "b")]
    assert list(differences(*wheels)) == []


@pytest.mark.parametrize(
    ("files", "fault"),
    [
        (FILES | {"extra": b""}, "extra is only in the second"),
        (
            FILES | {"mlc_llm/lib/libmlc_llm.so": b"\x7fELF same, then B"},
            "mlc_llm/lib/libmlc_llm.so differs from byte 16 on: b'A' / b'B'",
        ),
    ],
)
def test_difference_is_named(tmp_path: Path, files: dict[str, bytes], fault: str) -> None:
    first, second = write(tmp_path / "a", FILES), write(tmp_path / "b", files)
    assert fault in list(differences(first, second))


def test_times_in_the_archive_count(tmp_path: Path) -> None:
    first = write(tmp_path / "a", FILES)
    second = write(tmp_path / "b", FILES, (2026, 1, 1, 0, 0, 2))
    assert list(differences(first, second)) == [
        "the archives differ (order, times, modes or compression)"
    ]
