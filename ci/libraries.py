"""Reading a native library, whichever system it is for."""

from __future__ import annotations

from collections.abc import Callable

from ci import elf, macho, pe
from ci.lanes import Lane

Library = elf.Library | pe.Library | macho.Library

READERS: dict[str, Callable[[bytes], Library]] = {
    "linux": elf.read_library,
    "windows": pe.read_library,
    "macos": macho.read_library,
}


def read_library(data: bytes, lane: Lane) -> Library:
    """Return what the lane's library declares; raises what its reader does for anything else."""
    return READERS[lane.system](data)
