"""Where the factory keeps things."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOCKS = ROOT / "ci" / "locks"
WHEELHOUSE = ROOT / "wheelhouse"
WORK = ROOT / "build"  # staging and logs; one folder per lane
PROGRAMS = "Scripts" if os.name == "nt" else "bin"  # where a virtual environment has them


def cache_dir() -> Path:
    """Return the folder that outlives checkouts: $MLC_LLM_CACHE, or the user's cache."""
    if chosen := os.environ.get("MLC_LLM_CACHE"):
        return Path(chosen).resolve()
    if sys.platform == "win32":
        base = Path(os.environ["LOCALAPPDATA"])
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "mlc_llm-factory"


@contextmanager
def made_whole(final: Path) -> Iterator[Path]:
    """Give a new folder that becomes `final` in the end, unless another session was first.

    Where that fails it leaves nothing.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix="new-", dir=final.parent))
    try:
        yield staging
        staging.chmod(0o755)  # mkdtemp's is private, and the cache may be shared
        try:
            staging.rename(final)
        except OSError:
            if not final.is_dir():
                raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)
