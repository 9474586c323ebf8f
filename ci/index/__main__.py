"""`nox -s index`: a folder that any static server makes a package index of."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from ci.errors import UsageError
from ci.index.download import download_all
from ci.index.page import render
from ci.index.releases import Release, find_folders, read_folder
from ci.index.simple import write_simple
from ci.paths import ROOT, WORK
from ci.release.github.place import find_place
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
        default=str(WORK / "release"),
        metavar="DIR|OWNER/NAME",
        help="a folder with one folder per tag, whose files are copied; or a repository on GitHub, "
        "whose files stay where they are (default: build/release/)",
    )
    parser.add_argument(
        "--to", type=Path, default=DEFAULT, metavar="DIR", help="default: build/index/"
    )
    parser.add_argument(
        "--url",
        metavar="URL",
        help="where the folder will be served, for the commands on the page (default: GitHub Pages "
        "of OWNER/NAME, or where the folder lies on this machine)",
    )
    return parser.parse_args(arguments)


def check_target(target: Path) -> None:
    """Refuse to replace a folder that is not an index."""
    found = {path.name for path in target.iterdir()} if target.is_dir() else set()
    if (target.exists() and not target.is_dir()) or (found and not {"simple"} <= found <= OURS):
        raise UsageError(
            f"{target} is there, and is no package index.",
            hint="Choose another folder with --to: an index replaces all of it.",
        )


def copy_files(staging: Path, releases: Iterable[Release], top: Path) -> None:
    """Copy what the index lists, and the metadata of each wheel."""
    for release in releases:
        for file in release.files:
            copy = staging / file.url
            copy.parent.mkdir(parents=True, exist_ok=True)
            for suffix in ("", ".metadata" if file.metadata_sha256 else ""):
                shutil.copyfile(top / release.tag / f"{file.name}{suffix}", f"{copy}{suffix}")


def main(arguments: list[str]) -> int:
    """Make the index beside its place, and then put it there."""
    options = parse_arguments(arguments)
    target = options.to.resolve()
    check_target(target)
    top, downloads, url = Path(options.releases), "files", target.as_uri()
    if not top.is_dir() and re.fullmatch(r"[\w.-]+/[\w.-]+", options.releases):
        place = find_place(ROOT, {**os.environ, "GITHUB_REPOSITORY": options.releases})
        assert place is not None  # noqa: S101 - it has a name
        top, downloads = download_all(place), f"{place.url}/releases/download"
        owner, _, name = options.releases.partition("/")
        url = f"https://{owner.lower()}.github.io/{name}"
    releases = [read_folder(folder, downloads) for folder in find_folders(top)]
    releases.sort(key=lambda release: release.version, reverse=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as scratch:
        staging = Path(scratch) / "new"
        staging.mkdir()
        if "://" not in downloads:
            copy_files(staging, releases, top)
        write_simple(staging, releases)
        page = render(releases, f"{(options.url or url).rstrip('/')}/")
        (staging / "index.html").write_text(page, encoding="utf-8", newline="\n")
        if target.exists():
            target.rename(Path(scratch) / "old")
        staging.rename(target)
    count = sum(len(release.files) for release in releases)
    print(f"{target}: {count} files of {len(releases)} releases, {releases[0].version} the newest")
    return 0


if __name__ == "__main__":
    run_session(main)
