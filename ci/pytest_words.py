"""The words behind `--` of the sessions that hand them to pytest."""

from __future__ import annotations

import argparse

from ci.errors import UsageError
from ci.paths import ROOT


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
