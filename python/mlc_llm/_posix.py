"""What Linux and macOS say of memory."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")
_UNLIMITED = 1 << 60
_RSS_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes


def available_memory() -> tuple[int, int]:
    """See mlc_llm.memory."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    available = total
    for line in _read(Path("/proc/meminfo")).splitlines():
        if line.startswith("MemAvailable:"):
            available = int(line.split()[1]) * 1024
    limit = _number(_CGROUP / "memory.max", _UNLIMITED)
    if limit < total:
        cached = [
            int(line.split()[1])
            for line in _read(_CGROUP / "memory.stat").splitlines()
            if line.startswith(("inactive_file ", "active_file "))
        ]
        used = _number(_CGROUP / "memory.current", 0) - sum(cached)
        available = min(available, limit - max(used, 0))
        total = limit
    return total, max(available, 0)


def peak_memory() -> int:
    """See mlc_llm.memory."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RSS_UNIT


def _read(path: Path) -> str:
    return path.read_text(encoding="ascii") if path.is_file() else ""


def _number(path: Path, default: int) -> int:
    text = _read(path).strip()
    return int(text) if text.isdigit() else default
