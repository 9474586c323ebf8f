"""Checks of the PE library in a wheel for Windows."""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatch
from typing import cast

from ci import pe
from ci.verify.subject import Subject, expect, expect_none, expect_protected

TVM_FFI = "tvm_ffi.dll"
EXPORTED = "mlc_llm_"
PROTECTIONS = {
    "HIGH_ENTROPY_VA": pe.HIGH_ENTROPY_VA,
    "DYNAMIC_BASE": pe.DYNAMIC_BASE,
    "NX_COMPAT": pe.NX_COMPAT,
}


def read(subject: Subject) -> pe.Library:
    """Return the library; raises ValueError when it cannot be read."""
    return cast("pe.Library", subject.library)


def _check_needed(subject: Subject) -> str:
    needed = read(subject).needed
    expect(TVM_FFI in needed, f"does not need {TVM_FFI}, which it takes its FFI from")
    allowed = [pattern.lower() for pattern in subject.lane.needed]  # Windows ignores the case
    wrong = (n for n in needed if not any(fnmatch(n.lower(), pattern) for pattern in allowed))
    expect_none(wrong, "needs undeclared libraries")
    return ", ".join(needed)


def _check_imports(subject: Subject) -> str:
    given = set(pe.read_library(subject.read_tvm_ffi(TVM_FFI)).exports)
    imports = read(subject).imports
    # A number means another function in the next version of a library.
    expect_none((f"{n} of {dll}" for dll, n in imports if n.startswith("#")), "imports by number")
    wanted = [name for dll, name in imports if dll == TVM_FFI]
    wrong = (name for name in wanted if not name.startswith("TVMFFI") or name not in given)
    expect_none(wrong, f"{TVM_FFI} does not have")
    return f"{len(imports)} symbols, {len(wanted)} of them of {TVM_FFI}, which has them"


def _check_exports(subject: Subject) -> str:
    library = read(subject)
    name = subject.lane.library.rpartition("/")[2]
    expect(library.name == name, f"calls itself {library.name!r}, not {name}")
    expect_none(
        (n for n in library.exports if not n.startswith(EXPORTED)), "exports what is not ours"
    )
    return f"{len(library.exports)} symbols, all ours"


def _check_protections(subject: Subject) -> str:
    library = read(subject)
    missing = (name for name, bit in PROTECTIONS.items() if not library.characteristics & bit)
    expect_none(missing, "lacks")
    expect(library.relocatable, "has no relocations, so it cannot be loaded at a random address")
    return ", ".join(PROTECTIONS)


def _check_segments(subject: Subject) -> str:
    return expect_protected(read(subject).sections, pe.WRITE | pe.EXECUTE)


def _check_timestamps(subject: Subject) -> str:
    library = read(subject)
    # A linker that is asked for the same bytes writes a hash there, and says so in an entry.
    dated = any(library.stamps) and pe.DEBUG_REPRO not in library.debug
    expect(not dated, "holds the time of the build")
    return "none is a time"


def _check_stripped(subject: Subject) -> str:
    library = read(subject)
    expect(not library.symbols, "holds a symbol table")
    expect_none((n for n, _ in library.sections if n.startswith((".debug", "/"))), "holds")
    expect(pe.DEBUG_CODEVIEW not in library.debug, "names a file of debug information")
    return "no symbol table, no debug sections"


CHECKS: dict[str, Callable[[Subject], str]] = {
    "needed": _check_needed,
    "imports": _check_imports,
    "exports": _check_exports,
    "protections": _check_protections,
    "segments": _check_segments,
    "timestamps": _check_timestamps,
    "stripped": _check_stripped,
}
