"""`nox -s release`: one tag becomes one complete release, or nothing."""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from pathlib import Path

from rich.progress import DownloadColumn, Progress
from rich.table import Table

from ci.errors import FactoryError
from ci.lanes import load_lanes
from ci.paths import ROOT, WHEELHOUSE, WORK
from ci.release import directory
from ci.release.gate import check_tag, check_wheels, gather, leave_out
from ci.release.github import publish as github
from ci.release.github.client import Client
from ci.release.github.place import Place, find_place
from ci.release.github.publish import Watch
from ci.release.notes import read_subjects
from ci.release.plan import Release
from ci.release.stage import stage
from ci.report.tables import console
from ci.session import run_session
from ci.version import tag_to_version


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
        help="make the release as this directory (default: GitHub, where GH_TOKEN or GITHUB_TOKEN "
        "is set, else build/release/TAG)",
    )
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--dry-run", action="store_true", help="show what would be released, only")
    only.add_argument(
        "--check-tag",
        action="store_true",
        help="see that the tag can be released from this checkout, only: before anything is built",
    )
    return parser.parse_args(arguments)


def show(release: Release, where: str) -> None:
    """Print the plan."""
    kind = "pre-release" if release.prerelease else "release"
    title = (
        f"{kind} {release.tag}, version {release.version}, commit {release.commit[:12]}, to {where}"
    )
    table = Table("file", "bytes", "sha256", title=title, title_justify="left")
    for asset in release.assets:
        table.add_row(asset.name, f"{asset.size}", asset.sha256)
    console().print(table)


def choose_target(options: argparse.Namespace, place: Place | None) -> Place | Path:
    """Return where the release goes: the repository on GitHub, or a directory."""
    if options.to is not None:
        directory: Path = options.to.resolve()
        return directory
    if place and place.token:
        return place
    if "GITHUB_ACTIONS" in os.environ:
        raise FactoryError(
            "there is no token to release with.",
            hint="Give this step `GITHUB_TOKEN: ${{ github.token }}` in its environment, and its "
            "job the permission `contents: write`.",
        )
    return WORK / "release" / str(options.tag)


def publish_on_github(release: Release, place: Place) -> str:
    """Publish with a progress bar, and a line for each file."""
    sizes = {asset.name: asset.size for asset in release.assets}
    sent: dict[str, int] = {}
    columns = (*Progress.get_default_columns(), DownloadColumn())
    with Progress(*columns, console=console()) as progress, Client(place) as client:
        task = progress.add_task("uploading", total=sum(sizes.values()), visible=False)

        def uploaded(name: str, size: int) -> None:
            if size == sizes[name] != sent.get(name):
                progress.print(f"{name}: {size} bytes")
            sent[name] = size
            progress.update(task, completed=sum(sent.values()), visible=True)

        return github.publish(client, release, Watch(uploaded=uploaded, say=progress.print))


def main(arguments: list[str]) -> int:
    """Check, lay out, and publish."""
    options = parse_arguments(arguments)
    lanes = load_lanes()
    source = check_tag(ROOT, options.tag)
    if options.check_tag:
        print(
            f"{options.tag} is at HEAD, {source.commit[:12]}, and can be released as "
            f"{tag_to_version(options.tag)}."
        )
        return 0
    gathered = leave_out(gather(options.wheelhouse), lanes)
    check_wheels(gathered.manifest, source, lanes)
    place = find_place(ROOT, os.environ)
    target = choose_target(options, place)
    beside = None
    if isinstance(target, Path) and not options.dry_run:
        beside = target.parent  # so that one rename puts it there
        beside.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{options.tag}.", dir=beside))
    try:
        staging.chmod(0o755)  # mkdtemp's is private, and a release is for everybody
        release = stage(
            gathered,
            staging,
            tag=options.tag,
            subjects=read_subjects(ROOT, options.tag),
            lanes=lanes,
            url=place.url if place else "",
        )
        show(release, str(target) if isinstance(target, Path) else target.url)
        if options.dry_run:
            print("A dry run: nothing was written or sent.")
        elif isinstance(target, Path):
            print(directory.publish(release, target))
        else:
            print(publish_on_github(release, target))
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return 0


if __name__ == "__main__":
    run_session(main)
