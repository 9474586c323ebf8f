"""How long each phase of a build took, read off the output of the tools themselves."""

from __future__ import annotations

import time
from dataclasses import dataclass

# A line that contains the text starts the phase. The first five are scikit-build-core's and
# this factory's, the rest cibuildwheel's.
MARKERS = {
    "*** Configuring CMake": "configure",
    "*** Building project": "compile",
    "*** Installing project": "package",
    "Testing the core...": "ctest",
    "Repairing wheel...": "repair",
    "Testing wheel...": "smoke",
    "Starting container image": "container",
}


@dataclass(frozen=True)
class Span:
    """A phase from `start` to `end`, in seconds from the beginning of the build."""

    phase: str
    start: float
    end: float


class Timeline:
    """The spans of a build; a phase lasts until the next one starts, and may come again."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.current = ""
        self.since = self.origin = time.monotonic()

    def start(self, phase: str) -> None:
        """End the current phase and start `phase` (again, perhaps)."""
        self.stop()
        self.current = phase
        self.since = time.monotonic()

    def stop(self) -> None:
        """End the current phase."""
        if self.current:
            start, end = (moment - self.origin for moment in (self.since, time.monotonic()))
            self.spans.append(Span(self.current, round(start, 3), round(end, 3)))
        self.current = ""

    def read(self, line: str) -> None:
        """Start the phase that `line` announces, if it announces one."""
        for text, phase in MARKERS.items():
            if text in line:
                self.start(phase)
                return


def seconds(spans: list[Span]) -> dict[str, float]:
    """Return the seconds of each phase, in the order of their first start."""
    total: dict[str, float] = {}
    for span in spans:
        total[span.phase] = total.get(span.phase, 0.0) + span.end - span.start
    return total
