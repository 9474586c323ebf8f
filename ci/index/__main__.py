"""`nox -s index`: a folder that any static server makes a package index of."""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from ci.errors import FactoryError
from ci.index.page import render
from ci.index.releases import Release, read_folders, read_metadata
from ci.index.simple import write_simple
from ci.paths import WORK
from ci.session import run_session

DEFAULT = WORK / "index"
OURS = {"files", "index.html", "simple"}


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """Read the words behind `nox -s index --`."""
    parser = argparse.ArgumentParser(
        prog="nox -s index --",
        description="Make a package index of all releases: a folder for any static server, with a "
        "page for people on top.",
    )
    parser.add_argument(
        "--releases",
        type=Path,
        default=WORK / "release",
        metavar="DIR",
        help="a folder with one folder per tag (default: build/release/)",
    )
    parser.add_argument(
        "--to", type=Path, default=DEFAULT, metavar="DIR", help="default: build/index/"
    )
    parser.add_argument(
        "--url",
        metavar="URL",
        help="where the folder will be served, for the commands on the page (default: where it "
        "lies on this machine)",
    )
    return parser.parse_args(arguments)


def check_target(target: Path) -> None:
    """Refuse to replace a folder that is not an index."""
    found = {path.name for path in target.iterdir()} if target.is_dir() else set()
    if (target.exists() and not target.is_dir()) or (found and not {"simple"} <= found <= OURS):
        raise FactoryError(
            f"{target} is there, and is no package index.",
            hint="Choose another folder with --to: an index replaces all of it.",
        )


def copy_files(staging: Path, releases: Iterable[tuple[Release, Path]]) -> None:
    """Copy what the index lists, and write each wheel's metadata beside it."""
    for release, folder in releases:
        for file in release.files:
            copy = staging / file.url
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / file.name, copy)
            if file.metadata_sha256:
                metadata = copy.with_name(f"{copy.name}.metadata")
                metadata.write_bytes(read_metadata(copy))


def main(arguments: list[str]) -> int:
    """Make the index beside its place, and then put it there."""
    options = parse_arguments(arguments)
    target = options.to.resolve()
    check_target(target)
    found = read_folders(options.releases)
    releases = [release for release, _ in found]
    base = options.url or target.as_uri()
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as scratch:
        staging = Path(scratch) / "new"
        staging.mkdir()
        copy_files(staging, found)
        write_simple(staging, releases)
        page = render(releases, f"{base.rstrip('/')}/")
        (staging / "index.html").write_text(page, encoding="utf-8", newline="\n")
        if target.exists():
            target.rename(Path(scratch) / "old")
        staging.rename(target)
    count = sum(len(release.files) for release in releases)
    print(f"{target}: {count} files of {len(releases)} releases, {releases[0].version} the newest")
    return 0


if __name__ == "__main__":
    run_session(main)
