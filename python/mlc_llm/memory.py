"""The memory that this process may use, and has used."""

from __future__ import annotations

import sys

if sys.platform == "win32":
    from mlc_llm import _windows as system
else:
    from mlc_llm import _posix as system


def available_memory() -> tuple[int, int]:
    """Return (all, available) bytes of main memory, a container's limit respected.

    Pages of files that could be dropped count as available: mapped weights are among them.
    """
    return system.available_memory()


def peak_memory() -> int:
    """Return the most bytes of main memory that this process has ever occupied."""
    return system.peak_memory()
