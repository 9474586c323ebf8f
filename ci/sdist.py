"""Rewrites an sdist so that its bytes depend on its contents alone, as ci/repack.py does wheels."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import deflate

LEVEL = 9  # as in ci/repack.py


def repack_sdist(sdist: Path, epoch: int) -> None:
    """Rewrite `sdist` in place, atomically: one order, time, owner and compressor.

    A file that begins with `#!` may be executed, and no other: Windows keeps no such mode.
    """
    packed = io.BytesIO()
    with (
        tarfile.open(sdist, "r:gz") as old,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as new,
    ):
        members = {member.name: member for member in old.getmembers() if member.isfile()}
        for name in sorted(members):
            file = old.extractfile(members[name])
            data = file.read() if file else b""
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime = len(data), epoch
            entry.mode = 0o755 if data.startswith(b"#!") else 0o644
            new.addfile(entry, io.BytesIO(data))
    partial = sdist.with_name(f".{sdist.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(deflate.gzip_compress(packed.getvalue(), LEVEL))
        partial.replace(sdist)
    finally:
        partial.unlink(missing_ok=True)
