"""Writing into a model directory: nothing incomplete there looks whole."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def working_directory(output: Path, needed: int, prefix: str) -> Iterator[Path]:
    """Give a folder for unfinished files inside `output`; it goes away whatever happens.

    Its name begins with `prefix`, and so do those of leftovers, which go away too. `needed` is how
    many bytes the disk must have room for.
    """
    output.mkdir(parents=True, exist_ok=True)
    for leftover in output.glob(f"{prefix}*"):
        shutil.rmtree(leftover, ignore_errors=True)
    full = f"The disk of {output} is full: the conversion needs {needed / 1e9:.2f} GB. Make room"
    if shutil.disk_usage(output).free < needed:
        raise OSError(errno.ENOSPC, full)
    work = Path(tempfile.mkdtemp(prefix=prefix, dir=output))
    try:
        yield work
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise OSError(errno.ENOSPC, full) from error
        raise
    finally:
        shutil.rmtree(work, ignore_errors=True)


def publish(work: Path, output: Path, index_names: Sequence[str], former: Iterable[Path]) -> None:
    """Move finished files into `output` in place of the `former`; its index goes first, comes last.

    The index is the first of `index_names`; the others are names that it may have had.
    """
    for path in work.iterdir():
        _sync(path)
    for name in index_names:
        (output / name).unlink(missing_ok=True)
    _sync(output)
    for path in former:
        path.unlink(missing_ok=True)
    index = work / index_names[0]
    for path in sorted(work.iterdir()):
        if path != index:
            path.replace(output / path.name)
    _sync(output)
    index.replace(output / index.name)
    _sync(output)


def _sync(path: Path) -> None:
    """Make a file, or on POSIX the entries of a directory, survive a power cut."""
    if path.is_dir() and os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
