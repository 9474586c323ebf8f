"""`nox -s walk`: GitHub's workflows here, job by job, with a registry and a GitHub of our own."""

from __future__ import annotations

import os

from ci import shell
from ci.pytest_words import check_words, run_pytest
from ci.session import run_session


def main(arguments: list[str]) -> int:
    """Walk through the jobs, with `arguments` for pytest; raise FactoryError if one fails."""
    check_words(arguments, "walk", __doc__, "A test is a job of a workflow, as in `-k lint`.")
    words = ["-sx", "-m", "workflow", "tests/ci/test_walk.py", *arguments]
    run_pytest(words, shell.without_wish(os.environ))
    return 0


if __name__ == "__main__":
    run_session(main)
