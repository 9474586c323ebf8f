"""`nox -s report`: a page about the last build of each lane: times, contents, checks, sizes."""

from __future__ import annotations

import argparse
import datetime as dt
import os
import webbrowser
from pathlib import Path

from ci.errors import FactoryError
from ci.lanes import Lane, load_lanes
from ci.paths import ROOT, WORK
from ci.release.github.place import find_place
from ci.report.contents import read_contents
from ci.report.last import LastRelease, from_folder, from_github, keep, recall
from ci.report.ninja import read_steps
from ci.report.page import Built, render
from ci.results import NAME, read_result
from ci.session import run_session


def read_built(lane: Lane, work: Path, page: Path) -> Built:
    """Return all that the lane's last build left in its folder `work`."""
    result = read_result(work)
    log = work / "build.log"
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
    # A later build of another commit empties the wheelhouse; the lane's folder has its own copy.
    places = (result.wheel, work / "repaired" / result.wheel.name) if result.wheel else ()
    wheel = next((place for place in places if place.is_file()), None)
    return Built(
        lane=lane,
        result=result,
        steps=read_steps(lines),
        contents=read_contents(wheel) if wheel else None,
        size=wheel.stat().st_size if wheel else 0,
        log=link(log, page),
        wheel=link(wheel, page) if wheel else "",
    )


def link(path: Path, page: Path) -> str:
    """Return the address of a file for a page, relative unless it is on another disk of Windows."""
    if path.drive != page.drive:
        return path.as_uri()
    return Path(os.path.relpath(path, page.parent)).as_posix()


def write_page(work: Path) -> Path | None:
    """Write the page of all lanes that have been built in `work`; None if there is none."""
    lanes = load_lanes().values()
    built = [lane for lane in lanes if (work / lane.id / NAME).is_file()]
    if not built:
        return None
    page = work / "report.html"
    results = [read_built(lane, work / lane.id, page) for lane in built]
    others = [lane for lane in lanes if lane not in built]
    now = dt.datetime.now(dt.timezone.utc)
    made = f"{now.day} {now:%B %Y, %H:%M} UTC"
    page.write_text(render(results, others, recall(work), made), encoding="utf-8")
    return page


def find_last(against: str) -> LastRelease:
    """Return the release in the folder `against`, or with "latest" that of the repository."""
    if against != "latest":
        return from_folder(Path(against))
    place = find_place(ROOT, os.environ)
    if place is None:
        raise FactoryError(
            "which repository has the releases is not known.",
            hint="Set GITHUB_REPOSITORY=OWNER/NAME, or the remote `origin`.",
        )
    return from_github(place)


def main(arguments: list[str]) -> int:
    """Write the page and print its path."""
    parser = argparse.ArgumentParser(prog="nox -s report --", description=__doc__)
    parser.add_argument(
        "--against",
        metavar="FOLDER|latest",
        help="compare sizes with a release: a folder with its manifest.json, or the latest on "
        "GitHub; later pages do so too",
    )
    parser.add_argument("--open", action="store_true", help="show it in the browser")
    options = parser.parse_args(arguments)
    if options.against:
        keep(find_last(options.against), WORK)
    page = write_page(WORK)
    if page is None:
        raise FactoryError("no lane has been built here.", hint="Run `nox -s wheels` first.")
    print(f"report: {page}")
    if options.open:
        webbrowser.open(page.as_uri())
    return 0


if __name__ == "__main__":
    run_session(main)
