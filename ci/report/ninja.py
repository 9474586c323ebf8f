"""The steps of a build from Ninja's log, as the repair step prints it.

A container takes its build directory with it when it ends; what was printed stays in build.log.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

PREFIX = "ninja log: "
LOG = Path("build", "cmake", ".ninja_log")  # in the unpacked sdist


@dataclass(frozen=True)
class Step:
    """One command of Ninja's: what it made, and when, in seconds from Ninja's start."""

    output: str
    start: float
    end: float

    @property
    def name(self) -> str:
        """The source file's name for an object file, else the output's."""
        return self.output.rpartition("/")[2].removesuffix(".o").removesuffix(".obj")


def print_log(log: Path = LOG) -> None:
    """Print each line of Ninja's log behind PREFIX, where there is a log."""
    if log.is_file():
        for line in log.read_text(encoding="utf-8").splitlines():
            print(PREFIX + line)


def read_steps(lines: Iterable[str]) -> list[Step]:
    """Return the steps among the `lines` of a build.log, in the order of their start."""
    steps: dict[str, Step] = {}
    for line in lines:
        _, found, entry = line.partition(PREFIX)
        fields = entry.rstrip().split("\t")  # start ms, end ms, mtime, output, command's hash
        if found and len(fields) == 5:  # noqa: PLR2004
            start, end, _mtime, output, command = fields
            # One command may make several files, or name one twice: with its times and its hash.
            steps.setdefault(command, Step(output, int(start) / 1000, int(end) / 1000))
    return sorted(steps.values(), key=lambda step: (step.start, step.end))


def rows(steps: Iterable[Step]) -> list[list[Step]]:
    """Spread `steps`, by their start, over as few rows as they ran beside each other."""
    spread: list[list[Step]] = []
    for step in steps:
        free = next((row for row in spread if row[-1].end <= step.start), None)
        if free is None:
            spread.append([step])
        else:
            free.append(step)
    return spread
