"""`nox -s verify`: what can be known about a release here, and what cannot."""

from __future__ import annotations

import argparse
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from rich.table import Table

from ci.checks import FAILED, NOT_RUN, PASSED, Check
from ci.errors import FactoryError, UsageError
from ci.images import ENGINES
from ci.manifest import NAME as MANIFEST
from ci.paths import ROOT, WORK
from ci.release.github.client import Client
from ci.release.github.download import download
from ci.release.github.place import Place, find_place
from ci.release.plan import SUMS
from ci.report.tables import console
from ci.session import run_session
from ci.trust.attestations import check_attestations
from ci.trust.rebuild import rebuild
from ci.trust.statements import Files, check_statements, run_check
from ci.version import TAG


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """Read the words behind `nox -s verify --`."""
    parser = argparse.ArgumentParser(
        prog="nox -s verify --",
        description="Check a release: its sums and its documents against each other and against "
        "this clone, GitHub's signatures, and with --rebuild every byte against a build of your "
        "own. Says what it could not check.",
    )
    parser.add_argument("release", metavar="TAG|DIR", help="v1.2.3, to download it, or a folder")
    parser.add_argument(
        "--rebuild",
        action="store_true",
        help="build each wheel again, from the tag and from nothing, and compare (minutes)",
    )
    parser.add_argument(
        "--engine",
        choices=["auto", *ENGINES, "host"],
        default="auto",
        help="where --rebuild builds (default: %(default)s)",
    )
    parser.add_argument(
        "--lane",
        action="append",
        metavar="ID",
        help="rebuild this lane only; may be given more than once (default: every lane)",
    )
    return parser.parse_args(arguments)


def fetch(tag: str, place: Place | None) -> Path:
    """Download the release of `tag` and return its folder."""
    if place is None:
        raise FactoryError(
            f"it is not known where {tag} was released.",
            hint="Set GITHUB_REPOSITORY to OWNER/NAME, or verify a folder.",
        )
    folder = WORK / "verify" / tag
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with Client(place) as client:
        print(download(client, tag, folder))
    return folder


def check(files: Files, place: Place | None, options: argparse.Namespace) -> Iterator[Check]:
    """Yield the result of every check."""
    yield from check_statements(files)
    yield run_check("attestations", partial(check_attestations, place=place), files)
    if options.rebuild:
        yield from rebuild(files, options.lane, options.engine, WORK / "verify" / "rebuild")
    else:
        yield Check("rebuild", NOT_RUN, "`--rebuild` builds every wheel again and compares")


def main(arguments: list[str]) -> int:
    """Check a release and print what came of it."""
    options = parse_arguments(arguments)
    place = find_place(ROOT, os.environ)
    folder = Path(options.release)
    if not folder.is_dir():
        if not TAG.fullmatch(options.release):
            raise UsageError(
                f"{options.release} is neither a folder nor a release tag.",
                hint="Name a tag like v1.2.3, or the folder that a release is in.",
            )
        folder = fetch(options.release, place)
    if not any((folder / name).exists() for name in (SUMS, MANIFEST)):
        raise UsageError(
            f"{folder} is no release: it has neither {SUMS} nor {MANIFEST}.",
            hint="Name a tag like v1.2.3, or the folder that a release is in.",
        )
    table = Table("check", "result", "what was seen", title=f"{folder}", title_justify="left")
    table.columns[-1].overflow = "fold"
    results = list(check(Files(folder, ROOT), place, options))
    for result in results:
        table.add_row(result.name, result.status, result.detail)
    console().print(table)
    counts = Counter(result.status for result in results)
    print(", ".join(f"{counts[status]} {status}" for status in (PASSED, FAILED, NOT_RUN)))
    asked = [result for result in results if options.rebuild and result.name.startswith("rebuild")]
    return int(counts[FAILED] > 0 or any(result.status == NOT_RUN for result in asked))


if __name__ == "__main__":
    run_session(main)
