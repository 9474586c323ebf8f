"""`nox -s reference`: the wheel in wheelhouse/ against torch and transformers."""

from __future__ import annotations

import os
import sys

from ci import shell
from ci.errors import UsageError
from ci.paths import WHEELHOUSE
from ci.process import call_step
from ci.pytest_words import check_words, run_pytest
from ci.session import run_session

FILES = ("tests/python/test_linear.py", "tests/python/test_transformers.py")
PEERS = ("torch==2.13.0", "transformers==5.23.0", "pytest>=9")


def main(arguments: list[str]) -> int:
    """Run the tests that compare, with `arguments` for pytest; raise FactoryError if one fails."""
    epilog = "The first time, torch and transformers are downloaded."
    check_words(arguments, "reference", __doc__, epilog)
    wheel = next(WHEELHOUSE.glob("*-manylinux*_x86_64.whl"), None)
    if wheel is None:
        raise UsageError(
            f"there is no wheel for Linux in {WHEELHOUSE}.", hint="Run `nox -s wheels` first."
        )
    env = shell.without_wish(os.environ)
    print("Installing the wheel, torch and transformers ...", flush=True)
    call_step("install", [sys.executable, "-m", "pip", "install", "--quiet", *PEERS, wheel], env)
    run_pytest([*FILES, "-k", "torch or transformers", *arguments], env)
    return 0


if __name__ == "__main__":
    run_session(main)
