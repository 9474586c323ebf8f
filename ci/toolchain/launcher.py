"""Starts a compiler with paths that begin at the source's folder, wherever that lies.

Zig knows a compiled object again by the command line and by what is in the files: so it finds what
another checkout compiled. CMake runs `launcher.py SOURCE COMPILER ARGUMENTS` in the build's folder.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path


def make_relative(arguments: Iterable[str], source: str, build: Path) -> Iterator[str]:
    """Yield `arguments` as they are to be given in the folder `source` instead of `build`."""
    previous = ""
    for argument in arguments:
        is_file = previous in ("-c", "-o")
        previous = argument
        # No name of a file has the source's folder now, which would need another one.
        if not argument.startswith(f"-ffile-prefix-map={source}="):
            path = Path(build, argument).as_posix() if is_file else argument
            yield path.replace(f"{source}/", "")


def main() -> int:
    """Compile, and return the compiler's status."""
    _, source, *command = sys.argv
    return subprocess.call(list(make_relative(command, source, Path.cwd())), cwd=source)


if __name__ == "__main__":
    sys.exit(main())
