"""Git tags (SemVer) and wheel versions (PEP 440): one map, strict both ways."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ci.errors import FactoryError

NUMBER = r"(?:0|[1-9]\d*)"
TAG = re.compile(rf"v({NUMBER}\.{NUMBER}\.{NUMBER})(?:-(alpha|beta|rc)\.({NUMBER}))?")
VERSION = re.compile(rf"({NUMBER}\.{NUMBER}\.{NUMBER})(?:(a|b|rc)({NUMBER}))?")
VERSION_TAGS = "v[0-9]*"
SPELLING = (
    "Release tags are SemVer with a leading v, v1.2.3 or v1.2.3-rc.1 (alpha, beta and rc have a "
    "spelling on both sides): choose such a tag."
)
SHORT = {"alpha": "a", "beta": "b", "rc": "rc"}
LONG = {short: long for long, short in SHORT.items()}
ARCHIVE = ".git_archival.txt"  # into it `git archive` writes the nearest tag
DESCRIBED = re.compile(rf"^describe-name: {TAG.pattern}(?:-\d+-g[0-9a-f]+)?$", re.MULTILINE)


def tag_to_version(tag: str) -> str:
    """Return the wheel's version for a release tag: `v1.3.0-rc.1` is 1.3.0rc1.

    Raises FactoryError for any tag that has no exact PEP 440 spelling.
    """
    match = TAG.fullmatch(tag)
    if match is None:
        raise FactoryError(
            f"the tag {tag!r} is not a release tag.",
            hint=f"{SPELLING} A tag that is none is deleted with `git tag -d {tag}`.",
        )
    base, stage, number = match.groups()
    return f"{base}{SHORT[stage]}{number}" if stage else base


def version_to_tag(version: str) -> str:
    """Return the tag that a release version comes from; the inverse of `tag_to_version`."""
    match = VERSION.fullmatch(version)
    if match is None:
        raise FactoryError(f"{version!r} is not the version of a release.")
    base, stage, number = match.groups()
    return f"v{base}-{LONG[stage]}.{number}" if stage else f"v{base}"


@dataclass(frozen=True)
class Source:
    """The state of the checkout that a build starts from."""

    commit: str
    epoch: int  # commit time, seconds since 1970: what SOURCE_DATE_EPOCH becomes
    dirty: bool
    tag: str  # the release tag at HEAD, or empty


def read_source(root: Path) -> Source:
    """Return the checkout's state.

    Raises FactoryError where git cannot say, for a shallow clone, and for `v*` tags at HEAD or
    before it that are no release tags.
    """
    top = Path(run_git(root, "rev-parse", "--show-toplevel"))
    if top.resolve() != root.resolve():
        raise FactoryError(
            f"{root} is not a clone of its own: git takes {top} for it.",
            hint="Build from a clone, not from an unpacked archive inside another repository.",
        )
    if run_git(root, "rev-parse", "--is-shallow-repository") == "true":
        raise FactoryError(
            "this clone is shallow, so the version cannot be read from its tags.",
            hint="Run `git fetch --unshallow --tags` and try again.",
        )
    tags = run_git(root, "tag", "--points-at", "HEAD", "--list", VERSION_TAGS).split()
    reachable = run_git(root, "tag", "--merged", "HEAD", "--list", VERSION_TAGS).split()
    for tag in reachable:
        tag_to_version(tag)
    if len(tags) > 1:
        raise FactoryError(
            f"HEAD has {len(tags)} release tags ({', '.join(tags)}), and a commit is one release.",
            hint="Where one was pushed, tag another commit: `git commit --allow-empty`, then "
            "`git tag`. Else delete all but one with `git tag -d TAG`.",
        )
    # A user's own ignore file must hide nothing: whatever lies in the tree may reach the wheel.
    status = ("-c", "core.excludesFile=", "status", "--porcelain", "--untracked-files=all")
    return Source(
        commit=run_git(root, "rev-parse", "HEAD"),
        epoch=int(run_git(root, "log", "-1", "--format=%ct")),
        dirty=bool(run_git(root, *status)),
        tag="".join(tags),
    )


def check_source(root: Path) -> None:
    """Raise FactoryError unless the clone, sdist or archive at `root` has a version."""
    if (root / ".git").exists():
        read_source(root)
    elif not (root / "PKG-INFO").exists() and not DESCRIBED.search((root / ARCHIVE).read_text()):
        raise FactoryError(
            f"{root} is no clone, and its {ARCHIVE} names no release tag, so it has no version.",
            hint="Work in a clone with its tags, or unpack the archive of a release tag or of a "
            "later commit.",
        )


def check_version(version: str, source: Source) -> None:
    """Raise FactoryError if a clean tree at a release tag has another version than the tag's."""
    if source.tag and not source.dirty and version != tag_to_version(source.tag):
        raise FactoryError(
            f"the tag at HEAD is {source.tag}, but the version came out as {version}.",
            hint="Look for other tags near HEAD: `git describe --tags --long`.",
        )


def run_git(root: Path, *arguments: str) -> str:
    """Return what git says of the clone at `root`; raises FactoryError with its own words."""
    try:
        result = subprocess.run(
            ["git", "-C", root, *arguments], check=True, capture_output=True, text=True
        )
    except FileNotFoundError as error:
        raise FactoryError("git is not installed.", hint="Install git and try again.") from error
    except subprocess.CalledProcessError as error:
        raise FactoryError(
            f"git cannot read {root}: {error.stderr.strip()}.",
            hint="Work in a clone with at least one commit.",
        ) from error
    return result.stdout.rstrip("\n")
