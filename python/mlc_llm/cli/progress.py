"""How far long work has come."""

from __future__ import annotations

import sys
import time

_BAR = 30  # characters
_INTERVAL = 0.1  # seconds between two drawings, and before the first


class Bar:
    """A progress bar on a terminal, for work that takes a while; nothing elsewhere."""

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()
        self._last = time.monotonic()
        self._drawn = False

    def update(self, name: str, done: int, total: int) -> None:
        """Show that `done` of `total` is done, and `name` comes next."""
        now = time.monotonic()
        finished = self._drawn and done == total
        if not self._shown or (now - self._last < _INTERVAL and not finished):
            return
        self._last = now
        self._drawn = True
        filled = _BAR * done // total
        bar = "#" * filled + "-" * (_BAR - filled)
        print(f"\r\33[K[{bar}] {100 * done // total:3}% {name}", end="", file=sys.stderr)

    def close(self) -> None:
        """Leave the bar as it is, and go to the next line."""
        if self._drawn:
            print(file=sys.stderr)
