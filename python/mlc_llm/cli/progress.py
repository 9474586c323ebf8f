"""How far long work has come."""

from __future__ import annotations

import os
import sys
import time

_BAR = 30  # characters
_INTERVAL = 0.1  # seconds between two drawings, and before the first
_ERASE = "\r\33[K"  # the line


class Bar:
    """A progress bar on a terminal that can erase it, for work that takes a while."""

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._last = time.monotonic()
        self._drawn = False

    def update(self, name: str, done: int, total: int) -> None:
        """Show that `done` of `total` is done, and `name` comes next."""
        now = time.monotonic()
        if not self._shown or now - self._last < _INTERVAL:
            return
        self._last = now
        self._drawn = True
        filled = _BAR * done // total
        bar = "#" * filled + "-" * (_BAR - filled)
        print(f"{_ERASE}[{bar}] {100 * done // total:3}% {name}", end="", file=sys.stderr)

    def close(self) -> None:
        """Erase the bar: what comes next has its line."""
        if self._drawn:
            print(_ERASE, end="", file=sys.stderr)
