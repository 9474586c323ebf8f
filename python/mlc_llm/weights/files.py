"""Files that a model directory names: only inside it, regular, and mapped rather than read."""

from __future__ import annotations

import mmap
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlc_llm.models.errors import FormatError
from mlc_llm.models.json_file import check_regular_file

_MAX_NAME = 1024  # characters


def resolve_inside(directory: Path, name: object, source: str) -> Path:
    """Return the path of `name`, which `source` says lies in `directory`.

    Links may lead to another place in the directory, or, in a download of huggingface_hub
    (``snapshots/REVISION``), to its store ``blobs``. Raises FormatError for anything else.
    """
    if not isinstance(name, str) or not 0 < len(name) <= _MAX_NAME:
        raise FormatError(f"{source} names a file by {str(name)[:80]!r}, which is not a name.")
    pure = PurePosixPath(name)
    if pure.is_absolute() or ".." in pure.parts or "\\" in name or ":" in name or "\0" in name:
        raise FormatError(
            f"{source} names the file {name[:80]!r}, which is not inside {directory}."
        )
    root = directory.resolve()
    path = directory.joinpath(*pure.parts)
    try:
        target = path.resolve()
    except (OSError, RuntimeError, ValueError):  # a loop of links, characters of no file
        raise FormatError(f"{source} names the file {name[:80]!r}, which cannot be.") from None
    roots = [root]
    if root.parent.name == "snapshots":
        roots.append(root.parent.parent / "blobs")
    if not any(target.is_relative_to(allowed) for allowed in roots):
        raise FormatError(f"{path} leads out of the model directory.")
    return path


def map_file(path: Path) -> mmap.mmap:
    """Map a file, copied on write, so that arrays over it count as writable.

    Raises FormatError when it is missing, empty, or not a regular file.
    """
    if check_regular_file(path) == 0:
        raise FormatError(f"{path} is empty.")
    try:
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise FormatError(f"{path} cannot be read: {reason}.") from None


def widen_bfloat16(halves: NDArray[Any]) -> NDArray[np.float32]:
    """Return the float32 values whose upper halves are given."""
    return (halves.astype(np.uint32) << 16).view(np.float32)
