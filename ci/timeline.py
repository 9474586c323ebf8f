"""How long each phase of a build took, read off the output of the tools themselves."""

from __future__ import annotations

import time

# A line that contains the text starts the phase. The first four are scikit-build-core's and
# this factory's, the rest cibuildwheel's.
MARKERS = {
    "*** Configuring CMake": "configure",
    "*** Building project": "compile",
    "*** Installing project": "package",
    "Repairing wheel...": "repair",
    "Testing wheel...": "smoke",
    "Starting container image": "container",
}


class Timeline:
    """Seconds per phase; a phase lasts until the next one starts."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.current = ""
        self.since = 0.0

    def start(self, phase: str) -> None:
        """End the current phase and start `phase` (again, perhaps)."""
        self.stop()
        self.current = phase
        self.since = time.monotonic()

    def stop(self) -> None:
        """End the current phase."""
        if self.current:
            spent = time.monotonic() - self.since
            self.seconds[self.current] = self.seconds.get(self.current, 0.0) + spent
        self.current = ""

    def read(self, line: str) -> None:
        """Start the phase that `line` announces, if it announces one."""
        for text, phase in MARKERS.items():
            if text in line:
                self.start(phase)
                return
