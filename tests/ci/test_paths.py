"""A folder of a cache is made whole or not at all, whoever else makes it."""

from pathlib import Path

import pytest

from ci.paths import made_whole


def test_folder_is_there_in_the_end(tmp_path: Path) -> None:
    final = tmp_path / "cache" / "it"
    with made_whole(final) as staging:
        (staging / "file").write_text("ours")
        assert not final.exists()
    assert (final / "file").read_text() == "ours"


def test_failure_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), made_whole(tmp_path / "it") as staging:
        (staging / "absent").unlink()
    assert list(tmp_path.iterdir()) == []


def test_folder_of_a_session_that_was_first_stays(tmp_path: Path) -> None:
    final = tmp_path / "it"
    with made_whole(final) as staging:
        (staging / "file").write_text("ours")
        final.mkdir()
        (final / "file").write_text("theirs")
    assert list(tmp_path.iterdir()) == [final]
    assert (final / "file").read_text() == "theirs"
