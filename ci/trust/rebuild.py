"""Building each wheel again from its tag, and comparing the bytes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from ci.checks import FAILED, NOT_RUN, PASSED, Check
from ci.clones import clone
from ci.errors import FactoryError
from ci.manifest import WheelRecord, hash_file, read_manifest
from ci.process import call_patiently
from ci.same_bytes import differences
from ci.trust.statements import Files


def rebuild(files: Files, lanes: Sequence[str] | None, engine: str, work: Path) -> Iterator[Check]:
    """Build `lanes` in a clean clone of the tag, from nothing; yield whether they are the same.

    Without `lanes`, all that the release has. `work` is emptied first, and keeps the clone with its
    logs. $MLC_LLM_OBJECTS lets it use compiled objects that are there already. Raises FactoryError
    for a lane that the release has not.
    """
    wheels = {wheel.lane: wheel for wheel in files.manifest.wheels}
    if absent := sorted({*(lanes or ())} - {*wheels}):
        raise FactoryError(
            f"the release has no lane {absent[0]}.", hint=f"It has {', '.join(wheels)}."
        )
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    checkout = clone(work / "checkout", files.root)
    done = subprocess.run(["git", "-C", checkout, "checkout", "--quiet", files.tag], check=False)
    if done.returncode:
        yield Check("rebuild", NOT_RUN, f"this clone has no tag {files.tag}: fetch it")
        return
    env = {"MLC_LLM_OBJECTS": str(work / "objects"), **os.environ}
    for lane in lanes or wheels:
        yield _rebuild_wheel(files, wheels[lane], checkout, ["--engine", engine], env)
    if (checkout / "wheelhouse").exists():
        again = read_manifest(checkout / "wheelhouse").sdist
        same = again == files.manifest.sdist
        detail = f"the same {again.size} bytes" if same else f"another sdist: {again.sha256}"
        yield Check("rebuild: sdist", PASSED if same else FAILED, detail)


def _rebuild_wheel(
    files: Files, wheel: WheelRecord, checkout: Path, options: list[str], env: dict[str, str]
) -> Check:
    """Run the tag's own `wheels` session for one lane."""
    name = f"rebuild: {wheel.lane}"
    session = ["noxfile.py", "-s", "wheels", "--", "--lane", wheel.lane, *options]
    if call_patiently([sys.executable, *session], cwd=checkout, env=env):
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
