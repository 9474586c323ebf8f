"""Checks of the Mach-O library in a wheel for macOS."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import cast

from ci import macho
from ci.verify.subject import Subject, expect, expect_none, expect_protected, expect_run_path

TVM_FFI = "libtvm_ffi.dylib"
SYSTEM = "/usr/lib/"
RUN_PATH = "@loader_path/../../tvm_ffi/lib"
OURS = "_mlc_llm_"
# What zig's linker exports whatever it is told: marks of its own, and `operator new` and `delete`,
# which the C++ standard lets a program replace.
EXPORTED_BY_ZIG = re.compile(r"__mh_dylib_header|___dso_handle|__Z(nw|na|dl|da)[mP]\w*")
# Its own jumps to other libraries: the only names of what is inside that it keeps.
THUNK = "__thunk"


def read(subject: Subject) -> macho.Library:
    """Return the library; raises ValueError when it cannot be read."""
    return cast("macho.Library", subject.library)


def _check_kind(subject: Subject) -> str:
    library = read(subject)
    expect(library.kind == "DYLIB", f"it is a {library.kind}, not a DYLIB")
    name = f"@rpath/{subject.lane.library.rpartition('/')[2]}"
    expect(library.name == name, f"calls itself {library.name!r}, not {name}")
    expect(library.uuid, "has no LC_UUID, without which newer systems do not load it")
    return name


def _check_minimum(subject: Subject) -> str:
    library, minimum = read(subject), subject.lane.macos
    expect(library.system == "MACOS", f"is for {library.system or 'no system'}, not MACOS")
    expect(library.minimum == minimum, f"needs macOS {library.minimum}, and the tag says {minimum}")
    return f"macOS {minimum}"


def _check_needed(subject: Subject) -> str:
    needed = read(subject).needed
    expect(f"@rpath/{TVM_FFI}" in needed, f"does not need {TVM_FFI}, which it takes its FFI from")
    expect_none(set(needed) - set(subject.lane.needed), "needs undeclared libraries")
    return ", ".join(needed)


def _check_imports(subject: Subject) -> str:
    given = set(macho.read_library(subject.read_tvm_ffi(TVM_FFI)).exports)
    imports = read(subject).imports
    ffi = [name for name, library in imports if library == f"@rpath/{TVM_FFI}"]
    expect_none((n for n in ffi if not n.startswith("_TVMFFI") or n not in given), "TVM FFI lacks")
    others = ((n, lib) for n, lib in imports if n not in ffi and not lib.startswith(SYSTEM))
    expect_none((f"{n} of {lib or 'any library'}" for n, lib in others), "no system library has")
    return f"{len(imports)} symbols, {len(ffi)} of them of {TVM_FFI}, which has them"


def _check_exports(subject: Subject) -> str:
    exports = [n for n in read(subject).exports if not EXPORTED_BY_ZIG.fullmatch(n)]
    expect_none((n for n in exports if not n.startswith(OURS)), "exports what is not ours")
    return f"{len(exports)} symbols, all ours, beside those that zig always exports"


def _check_run_path(subject: Subject) -> str:
    return expect_run_path(read(subject).run_paths, RUN_PATH)


def _check_segments(subject: Subject) -> str:
    return expect_protected(read(subject).segments, macho.WRITE | macho.EXECUTE)


def _check_stripped(subject: Subject) -> str:
    library = read(subject)
    expect(not library.debug, "holds debug information")
    expect_none((n for n in library.local if not n.endswith(THUNK)), "names what is inside")
    return "no names of what is inside, no debug information"


def _check_signature(subject: Subject) -> str:
    signature = read(subject).signature
    if signature is None:
        raise ValueError("is not signed, and an Apple processor runs nothing that is not")
    expect(signature.ad_hoc, "the signature is not ad hoc, so it needs a certificate")
    expect(signature.whole, f"only {signature.size} bytes are signed")
    expect(not signature.altered, f"was changed after it was signed: pages {signature.altered[:5]}")
    return f"ad hoc, and every page of {signature.size} bytes has its hash"


CHECKS: dict[str, Callable[[Subject], str]] = {
    "kind": _check_kind,
    "minimum": _check_minimum,
    "needed": _check_needed,
    "imports": _check_imports,
    "exports": _check_exports,
    "run path": _check_run_path,
    "segments": _check_segments,
    "stripped": _check_stripped,
    "signature": _check_signature,
}
