"""GitHub's signed attestations of a release's files, by GitHub's own tool."""

from __future__ import annotations

import shutil
import subprocess

from ci.release.github.place import Place
from ci.trust.statements import CannotCheckError, Files


def check_attestations(files: Files, place: Place | None) -> str:
    """Return what `gh attestation verify` says of every wheel and of the sdist.

    Raises CannotCheckError where there is nothing to ask, ValueError for a wrong signature.
    """
    if place is None:
        raise CannotCheckError("no repository on GitHub is known for these files")
    if shutil.which("gh") is None:
        raise CannotCheckError("signatures are checked by GitHub's `gh`, which is not installed")
    manifest = files.manifest
    names = [*(wheel.file for wheel in manifest.wheels), manifest.sdist.file]
    for name in names:
        done = subprocess.run(
            [
                *("gh", "attestation", "verify", files.folder / name, "--repo", place.name),
                *("--source-ref", f"refs/tags/{files.tag}", "--source-digest", manifest.commit),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            reason = (done.stderr.strip() or "no reason given").splitlines()[-1]
            raise ValueError(f"{name}: {reason}")
    return f"GitHub signed {len(names)} files of {place.name}"
