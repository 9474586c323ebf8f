"""The sdist that wheels are built from: its bytes depend on its contents alone, as theirs do."""

from __future__ import annotations

import datetime as dt
import io
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import deflate

from ci.engines import clean_environ
from ci.errors import FactoryError
from ci.lanes import Lane
from ci.process import run_logged
from ci.toolchain import Toolchain
from ci.version import Source, check_version, read_source

LEVEL = 9  # as in ci/repack.py
READ_VERSION = """
from scikit_build_core.metadata.setuptools_scm import dynamic_metadata
print(dynamic_metadata("version"))
"""


class Checkout:
    """The checkout at `root` as `source` found it: all lanes are built from one sdist of it."""

    def __init__(self, root: Path, source: Source) -> None:
        self.root = root
        self.source = source
        self._sdist: Path | None = None
        self._version = ""

    def sdist(self, work: Path, toolchain: Toolchain, *, log: Path, lane: Lane) -> tuple[str, Path]:
        """Return the version and, in `work`, the sdist: made for the first lane, then copied.

        Raises FactoryError when it cannot be made, or no longer of what `source` found.
        """
        if self._sdist is None:
            self._refuse_changes(lane)
            self._version = self.read_version(toolchain)
            self._sdist = work / f"mlc_llm-{self._version}.tar.gz"
            self._make(self._sdist, toolchain, log, lane)
            self._refuse_changes(lane)
            return self._version, self._sdist
        return self._version, shutil.copyfile(self._sdist, work / self._sdist.name)

    def read_version(self, toolchain: Toolchain) -> str:
        """Return the version that setuptools-scm reads from the checkout, in PEP 440."""
        result = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", READ_VERSION],
            cwd=self.root,
            env=clean_environ() | {"PYTHONPATH": os.fspath(toolchain.directory)},
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode:
            reason = result.stderr.strip().splitlines()[-1:]
            raise FactoryError(f"no version can be read from the git tags: {''.join(reason)}")
        version = result.stdout.strip()
        if self.source.dirty and ".d20" not in version:
            # setuptools-scm overlooks files that git does not know of, yet they reach the wheel.
            date = dt.datetime.now(dt.timezone.utc).strftime("d%Y%m%d")
            version += f"{'.' if '+' in version else '+'}{date}"
        check_version(version, self.source)
        return version

    def _make(self, sdist: Path, toolchain: Toolchain, log: Path, lane: Lane) -> None:
        """Write the sdist; git is needed only up to here."""
        run_logged(
            [
                *(sys.executable, "-m", "build", "--sdist", "--no-isolation"),
                *(f"--outdir={sdist.parent}", self.root),
            ],
            log=log,
            lane=lane.id,
            phase="sdist",
            cwd=sdist.parent,
            env=clean_environ()
            | {
                "PYTHONPATH": os.fspath(toolchain.directory),
                "SOURCE_DATE_EPOCH": str(self.source.epoch),
                "SETUPTOOLS_SCM_PRETEND_VERSION_FOR_MLC_LLM": self._version,
            },
        )
        repack_sdist(sdist, self.source.epoch)

    def _refuse_changes(self, lane: Lane) -> None:
        """Installing the toolchain may have taken minutes, in which somebody has committed."""
        if read_source(self.root) != self.source:
            raise FactoryError(
                f"{self.root} was changed (a commit, a tag, an edit) when the build had begun.",
                hint="Run it again; once the sdist is made, changes do no harm.",
                lane=lane.id,
            )


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
