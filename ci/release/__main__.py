"""`nox -s release`: one tag becomes one complete release, or nothing."""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

from rich.table import Table

from ci.lanes import load_lanes
from ci.paths import ROOT, WHEELHOUSE, WORK
from ci.release import directory
from ci.release.gate import check_tag, check_wheels, gather
from ci.release.notes import read_subjects
from ci.release.plan import Release
from ci.release.stage import stage
from ci.report.tables import console
from ci.session import run_session


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """Read the words behind `nox -s release --`."""
    parser = argparse.ArgumentParser(
        prog="nox -s release --",
        description="Make the release of a tag from the wheels of its commit: every file is there "
        "and has the right digest before anybody sees one of them. Run it again after a crash; a "
        "finished release is left as it is.",
    )
    parser.add_argument("--tag", required=True, help="SemVer with a leading v, at HEAD: v1.2.3")
    parser.add_argument(
        "--wheelhouse",
        type=Path,
        default=WHEELHOUSE,
        metavar="DIR",
        help="a wheelhouse, or a folder with the wheelhouse of each job (default: wheelhouse/)",
    )
    parser.add_argument(
        "--to",
        type=Path,
        metavar="DIR",
        help="make the release as this directory (default: build/release/TAG)",
    )
    parser.add_argument("--dry-run", action="store_true", help="show what would be released, only")
    return parser.parse_args(arguments)


def show(release: Release) -> None:
    """Print the plan."""
    kind = "pre-release" if release.prerelease else "release"
    title = f"{kind} {release.tag}, version {release.version}, commit {release.commit[:12]}"
    table = Table("file", "bytes", "sha256", title=title, title_justify="left")
    for asset in release.assets:
        table.add_row(asset.name, f"{asset.size}", asset.digest.removeprefix("sha256:"))
    console().print(table)


def main(arguments: list[str]) -> int:
    """Check, lay out, and publish."""
    options = parse_arguments(arguments)
    lanes = load_lanes()
    source = check_tag(ROOT, options.tag)
    gathered = gather(options.wheelhouse)
    check_wheels(gathered.manifest, source, lanes)
    target = (options.to or WORK / "release" / options.tag).resolve()
    if not options.dry_run:
        target.parent.mkdir(parents=True, exist_ok=True)
    # Beside the target, so that one rename puts it there.
    staging = Path(
        tempfile.mkdtemp(prefix=f".{target.name}.", dir=None if options.dry_run else target.parent)
    )
    try:
        staging.chmod(0o755)
        subjects = read_subjects(ROOT, options.tag)
        release = stage(gathered, staging, tag=options.tag, subjects=subjects, lanes=lanes, url="")
        show(release)
        if not options.dry_run:
            print(directory.publish(release, target))
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return 0


if __name__ == "__main__":
    run_session(main)
