"""`nox -s walk`: GitHub's workflows here, job by job, with a registry and a GitHub of our own."""

from __future__ import annotations

import os
import sys

from ci import shell
from ci.failed_tests import PLUGIN, failed_in_pytest
from ci.process import call_step
from ci.pytest_words import check_words
from ci.session import run_session


def main(arguments: list[str]) -> int:
    """Walk through the jobs, with `arguments` for pytest; raise FactoryError if one fails."""
    check_words(arguments, "walk", __doc__, "A test is a job of a workflow, as in `-k lint`.")
    pytest = [sys.executable, "-m", "pytest", *PLUGIN, "-sx", "-m", "workflow"]
    command = [*pytest, "tests/ci/test_walk.py", *arguments]
    call_step("pytest", command, shell.without_wish(os.environ), failed=failed_in_pytest)
    return 0


if __name__ == "__main__":
    run_session(main)
