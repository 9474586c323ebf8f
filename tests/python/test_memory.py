"""Memory as the system tells it."""

from __future__ import annotations

from pathlib import Path

import pytest

posix = pytest.importorskip("mlc_llm._posix", reason="Windows has no control groups")


@pytest.mark.parametrize(
    ("current", "files", "available"),
    [
        (600_000, (100_000, 200_000), 700_000),  # pages of files can be dropped
        (100_000, (100_000, 200_000), 1_000_000),
        (1_100_000, (0, 0), 0),
    ],
)
def test_the_limit_of_a_container_is_respected(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    current: int,
    files: tuple[int, int],
    available: int,
) -> None:
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text(f"{current}\n")
    stat = f"anon 7\ninactive_anon 7\nactive_file {files[0]}\ninactive_file {files[1]}\n"
    (tmp_path / "memory.stat").write_text(stat)
    monkeypatch.setattr(posix, "_CGROUP", tmp_path)
    assert posix.available_memory() == (1_000_000, available)


@pytest.mark.parametrize("limit", ["max\n", f"{1 << 62}\n"])
def test_a_container_without_a_limit_has_all_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    monkeypatch.setattr(posix, "_CGROUP", tmp_path)
    total, _ = posix.available_memory()
    (tmp_path / "memory.max").write_text(limit)
    assert posix.available_memory()[0] == total
