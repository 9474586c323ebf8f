"""Release notes: what changed since the last release, how to install it, and the checksums."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from ci.lanes import Lane
from ci.release.plan import SUMS, Asset
from ci.version import VERSION_TAGS

# Commit subjects are imperative sentences: their first word says which kind they are.
GROUPS = {"New": {"Add"}, "Mended": {"Fix", "Mend", "Correct", "Repair"}}
MOST = 200  # subjects; GitHub cuts notes off at 125000 characters


def previous_tag(root: Path, tag: str) -> str:
    """Return the release before `tag`, empty for the first; final ones skip pre-releases."""
    final = [] if "-" in tag else ["--exclude=*-*"]
    found = subprocess.run(
        [
            *("git", "-C", root, "describe", "--tags", "--abbrev=0"),
            *(f"--match={VERSION_TAGS}", *final, f"{tag}^"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    return found.stdout.strip()


def read_subjects(root: Path, tag: str) -> list[str]:
    """Return the subject of every commit of `tag` that the release before has not, oldest first."""
    before = previous_tag(root, tag)
    commits = f"{before}..{tag}" if before else tag
    log = ["log", "--no-merges", "--reverse", "--format=%s", commits]
    done = subprocess.run(["git", "-C", root, *log], stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.splitlines()


def write_notes(
    subjects: Sequence[str], assets: Iterable[Asset], lanes: Iterable[Lane], url: str
) -> str:
    """Return the notes as Markdown; `url` is the folder that the assets are downloaded from."""
    shown = subjects[:MOST]
    sections: list[str] = []
    for title in (*GROUPS, "Changed"):
        sections += _section(title, [line for line in shown if _group(line) == title])
    if len(subjects) > MOST:
        sections += [f"... and {len(subjects) - MOST} more commits.\n"]
    digests = {asset.name: asset.sha256 for asset in assets}
    rows = [
        f"| `{lane.platform}` | `pip install {url}{name}` |"
        for lane in lanes
        for name in digests
        if name.endswith(f"-{lane.platform}.whl")
    ]
    sums = [f"{digest}  {name}" for name, digest in digests.items() if name != SUMS]
    return "\n".join(
        [
            *sections,
            *("## Install\n", "| platform | command |", "| --- | --- |", *rows, ""),
            *("## Checksums\n", f"As in `{SUMS}`:\n", "```text", *sums, "```", ""),
        ]
    )


def _group(subject: str) -> str:
    first = subject.partition(" ")[0]
    return next((title for title, words in GROUPS.items() if first in words), "Changed")


def _section(title: str, lines: Iterable[str]) -> list[str]:
    items = [f"- {line}" for line in lines]
    return [f"## {title}\n", *items, ""] if items else []
