"""Which tests failed: a plugin of pytest that writes their ids, and what ctest leaves."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ci.paths import WORK

if TYPE_CHECKING:  # the factory's environment has no pytest, and reads what ctest leaves
    import pytest

# A variable, since this plugin's own test runs under this plugin.
FILE = Path(os.environ.get("MLC_LLM_FAILED_TESTS", WORK / "failed-tests.txt"))
PLUGIN = ("-p", "ci.failed_tests")  # what a command of pytest needs for `read_failed`


def pytest_configure(config: pytest.Config) -> None:
    """Leave it to the process that hears of all tests, where xdist has several."""
    if hasattr(config, "workerinput"):
        config.pluginmanager.unregister(name=__name__)


def pytest_sessionstart() -> None:
    """Forget the run before."""
    FILE.parent.mkdir(parents=True, exist_ok=True)
    FILE.write_text("", encoding="utf-8")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note a test whose set-up, call or tear-down failed."""
    _note(report)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """Note a file that cannot be read as tests."""
    _note(report)


def _note(report: pytest.TestReport | pytest.CollectReport) -> None:
    if report.failed:
        with FILE.open("a", encoding="utf-8") as file:
            file.write(f"{report.nodeid}\n")


def failed_in_pytest() -> list[str]:
    """Return the ids of the tests that failed in the last run with this plugin."""
    return list(dict.fromkeys(_lines(FILE)))


def failed_in_ctest(build: Path) -> list[str]:
    """Return the names of the tests that failed in the last run of ctest in `build`."""
    lines = _lines(build / "Testing" / "Temporary" / "LastTestsFailed.log")
    return sorted(line.partition(":")[2] for line in lines)  # "7:name", in no order


def _lines(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
