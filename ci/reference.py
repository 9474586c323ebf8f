"""`nox -s reference`: the installed wheel against torch and transformers."""

from __future__ import annotations

import os
import sys

from ci import shell
from ci.failed_tests import PLUGIN, failed_in_pytest
from ci.process import call_step
from ci.session import run_session

FILES = ("tests/python/test_linear.py", "tests/python/test_transformers.py")


def main(arguments: list[str]) -> int:
    """Run the tests that compare, with `arguments` for pytest; raise FactoryError if one fails."""
    pytest = [sys.executable, "-m", "pytest", *PLUGIN, *FILES, "-k", "torch or transformers"]
    env = shell.without_wish(os.environ)
    call_step("pytest", [*pytest, *arguments], env, failed=failed_in_pytest)
    return 0


if __name__ == "__main__":
    run_session(main)
