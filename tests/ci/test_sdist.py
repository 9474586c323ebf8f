"""A repacked sdist is a function of its contents: not of host, clock, owner or compressor."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

from ci.sdist import repack_sdist

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
