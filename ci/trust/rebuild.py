"""Building each wheel again from its tag, and comparing the bytes."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ci.checks import FAILED, NOT_RUN, PASSED, Check
from ci.clones import clone
from ci.manifest import hash_file, read_manifest
from ci.process import call_patiently
from ci.same_bytes import differences
from ci.trust.statements import Files


def rebuild(files: Files) -> Iterator[Check]:
    """Build each lane in a clean clone of the tag, from nothing; yield whether it is the same.

    $MLC_LLM_OBJECTS lets it use compiled objects that are there already.
    """
    with tempfile.TemporaryDirectory(prefix="mlc_llm-verify-") as name:
        checkout = clone(Path(name) / "checkout", files.root)
        done = subprocess.run(
            ["git", "-C", checkout, "checkout", "--quiet", files.tag], check=False
        )
        if done.returncode:
            yield Check("rebuild", NOT_RUN, f"this clone has no tag {files.tag}: fetch it")
            return
        env = {"MLC_LLM_OBJECTS": str(Path(name) / "objects"), **os.environ}
        for wheel in files.manifest.wheels:
            yield _rebuild_lane(files, checkout, wheel.lane, env)
        if (checkout / "wheelhouse").exists():
            sdist = files.manifest.sdist
            again = read_manifest(checkout / "wheelhouse").sdist
            same = again == sdist
            yield Check("rebuild: sdist", PASSED if same else FAILED, f"sha256 {again.sha256}")


def _rebuild_lane(files: Files, checkout: Path, lane: str, env: dict[str, str]) -> Check:
    """Run the tag's own `wheels` session for one lane."""
    name = f"rebuild: {lane}"
    (wheel,) = (wheel for wheel in files.manifest.wheels if wheel.lane == lane)
    command = [sys.executable, "noxfile.py", "-s", "wheels", "--", "--lane", lane]
    if call_patiently(command, cwd=checkout, env=env):
        return Check(name, NOT_RUN, "the build did not succeed here; its message is above")
    again = checkout / "wheelhouse" / wheel.file
    if not again.is_file():
        return Check(name, FAILED, f"the build made no {wheel.file}")
    if hash_file(again) == wheel.sha256:
        return Check(name, PASSED, f"the same {wheel.size} bytes")
    found = [*differences(files.folder / wheel.file, again)]
    # RECORD differs wherever another file does.
    first = min(found, key=lambda difference: "/RECORD " in difference)
    return Check(name, FAILED, f"another wheel came out: {first}")
