"""A repository with a tag, and the wheelhouses of its jobs: tiny, and right by default."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from wheels import good_files, write_wheel

from ci.checks import PASSED, Check
from ci.lanes import Lane, load_lanes
from ci.manifest import NAME, Manifest, WheelRecord, hash_file, record_sdist, write_manifest
from ci.release.gate import gather
from ci.release.plan import Release
from ci.release.stage import stage
from ci.toolchain import lock_digest
from ci.verify import checks_of

TAG, VERSION = "v1.2.3", "1.2.3"
LANES = load_lanes()
RELEASED = {lane.id: lane for lane in LANES.values() if lane.released}
SUBJECTS = ("Add a lane", "Fix the fix", "Say more")


def git(repository: Path, *arguments: str) -> str:
    """Run git in `repository` and return what it printed."""
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.com"]
    command = ["git", "-C", str(repository), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def write_repository(folder: Path, *tags: str) -> Path:
    """Make a repository with one commit for each of SUBJECTS, and `tags` at its end."""
    folder.mkdir()
    git(folder, "init", "--quiet")
    for subject in SUBJECTS:
        git(folder, "commit", "--quiet", "--allow-empty", "-m", subject)
    for tag in tags:
        git(folder, "tag", tag)
    return folder


def write_wheelhouse(
    folder: Path,
    lanes: Mapping[str, Lane] = RELEASED,
    *,
    version: str = VERSION,
    commit: str = "a" * 40,
    sdist: bytes = b"sdist",
) -> Path:
    """Make a wheelhouse with a tiny wheel for each lane."""
    folder.mkdir(parents=True)
    records = []
    for lane in lanes.values():
        name = f"mlc_llm-{version}-py3-none-{lane.platform}.whl"
        wheel = write_wheel(folder, good_files(), name)
        records.append(
            WheelRecord(
                file=name,
                lane=lane.id,
                engine="podman",
                sha256=hash_file(wheel),
                size=wheel.stat().st_size,
                toolchain_lock=lock_digest(),
                image=f"sha256:{'c' * 64}",
                checks=tuple(
                    Check(check, PASSED, "seen")
                    for check in ("archive", *checks_of(lane), "smoke: import")
                ),
            )
        )
    path = folder / f"mlc_llm-{version}.tar.gz"
    path.write_bytes(sdist)
    manifest = Manifest(
        version=version,
        commit=commit,
        dirty=False,
        source_date_epoch=1_700_000_000,
        sdist=record_sdist(path),
        wheels=tuple(records),
    )
    write_manifest(folder, manifest)
    return folder


def edit(wheelhouse: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the manifest of `wheelhouse` behind the factory's back."""
    path = wheelhouse / NAME
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def stage_release(folder: Path, tag: str = TAG, url: str = "") -> Release:
    """Return a whole release, staged in a new folder below `folder`."""
    version = tag.removeprefix("v").replace("-rc.", "rc")
    wheelhouse = write_wheelhouse(folder / "wheelhouse", version=version)
    (folder / "staged").mkdir()
    gathered = gather(wheelhouse)
    staged = folder / "staged"
    return stage(gathered, staged, tag=tag, subjects=SUBJECTS, lanes=LANES, url=url)
