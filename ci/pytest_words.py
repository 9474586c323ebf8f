"""The sessions that hand the words behind `--` to pytest: what they check, and how they run it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping

from ci.errors import UsageError
from ci.failed_tests import PLUGIN, failed_in_pytest
from ci.paths import ROOT
from ci.process import call_step


def check_words(arguments: list[str], session: str, description: str | None, epilog: str) -> None:
    """Answer --help, and refuse a file that pytest would not find: before anything is built."""
    parser = argparse.ArgumentParser(
        prog=f"nox -s {session} --",
        usage=f"nox -s {session} -- [-h] [WORDS FOR PYTEST ...]",
        description=description,
        epilog=f"All words are pytest's. {epilog}",
        allow_abbrev=False,
    )
    parser.add_argument("-k", metavar="WORD", help="only tests with that in their names")
    _, words = parser.parse_known_args(arguments)
    for word in words:
        file, _, _ = word.partition("::")
        if file.endswith(".py") and not file.startswith("-") and not (ROOT / file).is_file():
            raise UsageError(f"there is no {file}.", hint="Name it from the top of the checkout.")


def run_pytest(words: list[str], env: Mapping[str, str]) -> None:
    """Run pytest here with `words`; raise FactoryError, with the tests that failed, if any did."""
    command = [sys.executable, "-m", "pytest", *PLUGIN, *words]
    call_step("pytest", command, env, failed=failed_in_pytest)
