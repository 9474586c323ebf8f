"""Where the factory keeps things."""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOCKS = ROOT / "ci" / "locks"
WHEELHOUSE = ROOT / "wheelhouse"
WORK = ROOT / "build"  # staging and logs; one folder per lane


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
