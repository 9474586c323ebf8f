"""The little of Apple's `otool` that delocate asks for, on Linux, which has none.

`otool -arch all -m -L|-D|-l FILE` prints the libraries that FILE loads, its own install name, or
its run paths, as Apple's does for a file of one processor. It is called a dozen times for a wheel,
so it reads with macholib, which delocate brings: lief takes longer to start.
"""

from __future__ import annotations

import sys

from macholib.mach_o import (
    LC_ID_DYLIB,
    LC_LOAD_DYLIB,
    LC_LOAD_WEAK_DYLIB,
    LC_REEXPORT_DYLIB,
    LC_RPATH,
)
from macholib.MachO import MachO

LOADS = (LC_ID_DYLIB, LC_LOAD_DYLIB, LC_LOAD_WEAK_DYLIB, LC_REEXPORT_DYLIB)
VERSIONS = "(compatibility version 0.0.0, current version 0.0.0)"  # which delocate does not use


def answer(question: str, file: str) -> list[str]:
    """Return the lines that `otool` prints about `file` below its name."""
    (header,) = MachO(file).headers

    def names(*kinds: int) -> list[str]:
        found = [data for load, _, data in header.commands if load.cmd in kinds]
        return [data.rstrip(b"\0").decode() for data in found]

    if question == "-D":
        return names(LC_ID_DYLIB)
    if question == "-L":
        return [f"\t{name} {VERSIONS}" for name in names(*LOADS)]
    return [
        line
        for path in names(LC_RPATH)
        for line in ("cmd LC_RPATH", "cmdsize 0", f"path {path} (offset 0)")
    ]


def main(arguments: list[str]) -> int:
    """Answer one question about one file."""
    *_, question, file = arguments
    print("\n".join([f"{file}:", *answer(question, file)]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
