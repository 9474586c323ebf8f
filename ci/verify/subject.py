"""The wheel under inspection, and how a check says what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from packaging.metadata import ExceptionGroup, Metadata

from ci.lanes import Lane
from ci.libraries import Library, read_library
from ci.repack import find_dist_info


@dataclass(frozen=True)
class Subject:
    """The wheel under inspection, and what it is measured against."""

    wheel: Path
    lane: Lane
    version: str
    tvm_ffi: Path | None
    forbidden: tuple[str, ...]
    files: dict[str, bytes]

    def read(self, name: str) -> bytes:
        """Return the file `name`, or raise ValueError."""
        if name not in self.files:
            raise ValueError(f"{name} is absent")
        return self.files[name]

    def info(self, name: str) -> bytes:
        """Return the file `name` of the .dist-info folder, or raise ValueError."""
        return self.read(f"{find_dist_info(self.files)}/{name}")

    @property
    def library(self) -> Library:
        """The native library; raises ValueError when it cannot be read."""
        if isinstance(self._library, str):
            raise ValueError(self._library)  # noqa: TRY004 - of the wheel, not of an argument
        return self._library

    @cached_property
    def _library(self) -> Library | str:
        """The library, or why there is none: a failure is kept too, for ten checks ask."""
        try:
            return read_library(self.read(self.lane.library), self.lane)
        except Exception as error:  # noqa: BLE001 - pyelftools raises many kinds
            return f"{self.lane.library} cannot be read: {str(error) or type(error).__name__}"

    def read_tvm_ffi(self, name: str) -> bytes:
        """Return a library of the lane's TVM FFI, or raise ValueError where nobody said which."""
        if self.tvm_ffi is None:
            raise ValueError(f"no toolchain to take {name} from: set MLC_LLM_TOOLCHAIN")
        return (self.tvm_ffi / "tvm_ffi" / "lib" / name).read_bytes()

    @cached_property
    def metadata(self) -> Metadata:
        """METADATA, validated; raises ValueError."""
        try:
            return Metadata.from_email(self.info("METADATA"))
        except ExceptionGroup as group:
            raise ValueError("; ".join(str(e) for e in group.exceptions)) from group


def expect(condition: object, message: str) -> None:
    """Raise ValueError with `message` unless `condition` holds."""
    if not condition:
        raise ValueError(message)


def expect_none(wrong: Iterable[str], message: str) -> None:
    """Raise ValueError with the first few of `wrong`, so that the report stays readable."""
    names = sorted(set(wrong))
    first, rest = names[:5], names[5:]
    more = f" and {len(rest)} more" if rest else ""
    expect(not names, f"{message}: {', '.join(first)}{more}")


def expect_run_path(paths: tuple[str, ...], wanted: str) -> str:
    """Expect that a library is led to `wanted` and nowhere else; return that."""
    expect(paths == (wanted,), f"the run path is {list(paths)}, not {wanted}")
    return wanted


def expect_protected(segments: Iterable[tuple[str, int]], both: int) -> str:
    """Expect that no segment, a name and its flags, has `both` flags: may be written and run."""
    wrong = (name for name, flags in segments if flags & both == both)
    expect_none(wrong, "writable and executable")
    return "none is writable and executable"
