"""The tables that sessions end with."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.table import Table

from ci.checks import NOT_RUN
from ci.lanes import Lane
from ci.results import LaneResult


def console() -> Console:
    """Return a console that never cuts a cell short: logs and pipes have no width."""
    wide = Console(soft_wrap=True)
    return wide if wide.is_terminal else Console(soft_wrap=True, width=200)


def show(results: list[LaneResult], not_built: list[Lane]) -> None:
    """Print what was built, where it is, which checks passed and how long each phase took."""
    table = Table("lane", "wheel", "size", "checks", "time", title="wheels", title_justify="left")
    for column in table.columns:
        column.overflow = "fold"
    for result in results:
        counts = Counter(check.status for check in result.checks)
        table.add_row(
            f"{result.lane}\n({result.engine})",
            _relative(result.wheel) if result.wheel else "",
            f"{result.wheel.stat().st_size / 1e6:.2f} MB" if result.wheel else "",
            "\n".join(f"{count} {status}" for status, count in counts.items()),
            "\n".join(f"{phase} {spent:.1f} s" for phase, spent in result.seconds.items())
            + f"\ntotal {sum(result.seconds.values()):.1f} s",
        )
    for lane in not_built:
        table.add_row(lane.id, f"not built: {lane.platform} is declared, not built here yet")
    screen = console()
    screen.print(table)
    for result in results:
        for check in result.checks:
            if check.status == NOT_RUN:
                screen.print(f"not run: {check.name} ({check.detail})")


def _relative(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
