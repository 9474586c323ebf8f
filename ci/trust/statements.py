"""Whether the files of a release are those that its own documents speak of."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

from ci.checks import FAILED, NOT_RUN, PASSED, Check
from ci.errors import FactoryError
from ci.manifest import Manifest, hash_file, read_manifest
from ci.release.plan import NOTES, SUMS
from ci.release.stage import INSIDE, PROVENANCE, read_dist_info
from ci.version import version_to_tag

LINE = re.compile(r"([0-9a-f]{64})  ([\w.+-]+)")


class CannotCheckError(Exception):
    """The check cannot run here; the message says what is missing."""


@dataclass(frozen=True)
class Files:
    """A release as files in a folder; `root` is a clone of the repository that it claims."""

    folder: Path
    root: Path

    @cached_property
    def manifest(self) -> Manifest:
        """The manifest, which the wheels and the sdist match; raises FactoryError."""
        return read_manifest(self.folder)

    @cached_property
    def provenance(self) -> Any:
        """The statement in provenance.json; raises ValueError or OSError."""
        return json.loads((self.folder / PROVENANCE).read_text(encoding="utf-8"))

    @cached_property
    def names(self) -> list[str]:
        """The files that are assets."""
        return sorted(path.name for path in self.folder.iterdir() if path.name != NOTES)

    @property
    def tag(self) -> str:
        """The tag that the manifest's version belongs to."""
        return version_to_tag(self.manifest.version)

    def git(self, *arguments: str) -> bytes:
        """Return what git says in the clone, or raise CannotCheckError."""
        done = subprocess.run(
            ["git", "-C", self.root, *arguments], capture_output=True, check=False
        )
        if done.returncode:
            missing = arguments[-1].removesuffix("^{commit}")
            raise CannotCheckError(f"this clone has no {missing}: fetch it with `git fetch --tags`")
        return done.stdout


def check_statements(files: Files) -> Iterator[Check]:
    """Yield what each check of the files came to."""
    for name, check in CHECKS.items():
        yield run_check(name, check, files)


def run_check(name: str, check: Callable[[Files], str], files: Files) -> Check:
    """Return a check's result: what it saw, what is wrong, or why it could not run."""
    try:
        return Check(name, PASSED, check(files))
    except CannotCheckError as reason:
        return Check(name, NOT_RUN, str(reason))
    except (FactoryError, ValueError, OSError, BadZipFile) as error:
        return Check(name, FAILED, str(error) or type(error).__name__)
    except Exception as error:  # noqa: BLE001 - whoever made the files chose what is in them
        kind = type(error).__name__
        return Check(name, FAILED, f"a file is damaged or made to deceive ({kind}: {error})")


def _check_sums(files: Files) -> str:
    lines = (files.folder / SUMS).read_text(encoding="utf-8").splitlines()
    matches = [LINE.fullmatch(line) for line in lines]
    if not matches or not all(matches):
        raise ValueError(f"{SUMS} is not a list of sha256 sums")
    listed = {match[2]: match[1] for match in matches if match}
    if wrong := sorted({*files.names} ^ {*listed, SUMS}):
        raise ValueError(f"{wrong[0]} is only in one of {SUMS} and the files")
    for name, digest in listed.items():
        if hash_file(files.folder / name) != digest:
            raise ValueError(f"{name} has another sum than {SUMS} says")
    return f"{len(listed)} files have the sums that {SUMS} says"


def _check_manifest(files: Files) -> str:
    manifest = files.manifest
    if manifest.dirty:
        raise ValueError("the wheels were built from a tree with changes")
    checks = [check for wheel in manifest.wheels for check in wheel.checks]
    if failed := [check.name for check in checks if check.status == FAILED]:
        raise ValueError(f"a wheel failed its check {failed[0]}")
    skipped = sum(check.status == NOT_RUN for check in checks)
    more = f", {skipped} were not run" if skipped else ""
    lanes = ", ".join(wheel.lane for wheel in manifest.wheels)
    return f"{manifest.version}: {lanes}; {len(checks) - skipped} checks passed{more}"


def _check_sboms(files: Files) -> str:
    for wheel in files.manifest.wheels:
        for suffix, name in INSIDE.items():
            outside = files.folder / f"{wheel.file}{suffix}"
            if outside.read_bytes() != read_dist_info(files.folder / wheel.file, name):
                raise ValueError(f"{outside.name} is not the one inside the wheel")
    return "those inside the wheels"


def _check_provenance(files: Files) -> str:
    subjects = {s["name"]: s["digest"]["sha256"] for s in files.provenance["subject"]}
    if wrong := sorted({*files.names} ^ {*subjects, SUMS, PROVENANCE}):
        raise ValueError(f"{wrong[0]} is only in one of {PROVENANCE} and the files")
    for name, digest in subjects.items():
        if hash_file(files.folder / name) != digest:
            raise ValueError(f"{name} has another sum than {PROVENANCE} says")
    if (commit := _source(files)["digest"]["gitCommit"]) != files.manifest.commit:
        raise ValueError(f"{PROVENANCE} says commit {commit}, the manifest {files.manifest.commit}")
    builder = files.provenance["predicate"]["runDetails"]["builder"]["id"]
    return f"built by {builder} from commit {commit[:12]}"


def _check_tag(files: Files) -> str:
    commit = files.git("rev-parse", "--verify", "--quiet", f"{files.tag}^{{commit}}")
    if (found := commit.decode().strip()) != files.manifest.commit:
        raise ValueError(
            f"{files.tag} is commit {found} in this clone, and the files say that they were built "
            f"from {files.manifest.commit}"
        )
    return f"{files.tag} is that commit in this clone"


def _check_locks(files: Files) -> str:
    commit = files.manifest.commit
    locks = [m for m in _materials(files) if m.get("name", "").startswith("ci/locks/")]
    for lock in locks:
        data = files.git("show", f"{commit}:{lock['name']}")
        if hashlib.sha256(data).hexdigest() != lock["digest"]["sha256"]:
            raise ValueError(f"{lock['name']} of commit {commit[:12]} is another file")
    toolchain = hashlib.sha256(files.git("show", f"{commit}:ci/locks/toolchain.txt")).hexdigest()
    for wheel in files.manifest.wheels:
        if wheel.toolchain_lock != toolchain:
            raise ValueError(f"{wheel.file} was made with another toolchain than the commit's")
    return f"{len(locks)} locks are those of the commit"


def _materials(files: Files) -> list[dict[str, Any]]:
    definition = files.provenance["predicate"]["buildDefinition"]
    materials: list[dict[str, Any]] = definition["resolvedDependencies"]
    return materials


def _source(files: Files) -> dict[str, Any]:
    return next(m for m in _materials(files) if "gitCommit" in m["digest"])


CHECKS: dict[str, Callable[[Files], str]] = {
    "sums": _check_sums,
    "manifest": _check_manifest,
    "bills of materials": _check_sboms,
    "provenance": _check_provenance,
    "tag": _check_tag,
    "locks": _check_locks,
}
