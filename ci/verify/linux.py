"""Checks of the ELF library in a wheel for Linux."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import cast

from ci import elf
from ci.verify.subject import Subject, expect, expect_none, expect_protected, expect_run_path

TVM_FFI = "libtvm_ffi.so"
RUN_PATH = "$ORIGIN/../../tvm_ffi/lib"
EXPORTED = ("__tvm_ffi_", "mlc_llm_")

# What GCC's start-up objects leave undefined and weak in every library, on purpose.
STARTUP = {"__gmon_start__", "_ITM_deregisterTMCloneTable", "_ITM_registerTMCloneTable"}


def read(subject: Subject) -> elf.Library:
    """Return the library; raises ValueError when it cannot be read."""
    return cast("elf.Library", subject.library)


def _check_needed(subject: Subject) -> str:
    needed = read(subject).needed
    expect(TVM_FFI in needed, f"does not need {TVM_FFI}, which it takes its FFI from")
    expect_none(set(needed) - set(subject.lane.needed), "needs undeclared libraries")
    return ", ".join(needed)


def _check_glibc(subject: Subject) -> str:
    versions = {version for _, version in read(subject).versions}
    numbers = {v: re.fullmatch(r"GLIBC_(\d+)\.(\d+)(\.\d+)?", v) for v in versions}
    expect_none((v for v, match in numbers.items() if not match), "needs more than plain glibc")
    floor = _release(subject.lane.glibc)
    expect_none((v for v in versions if _release(v[6:]) > floor), f"over {subject.lane.glibc}")
    newest = max(versions, key=lambda v: _release(v[6:]), default="no version")
    return f"{newest} of {subject.lane.glibc}"


def _release(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _check_imports(subject: Subject) -> str:
    given = set(elf.read_library(subject.read_tvm_ffi(TVM_FFI)).exports)
    unresolved = [
        symbol.name
        for symbol in read(subject).imports
        if not (symbol.name.startswith("TVMFFI") and symbol.name in given)
        and not (symbol.weak and symbol.name in STARTUP)
        and not (symbol.version.startswith("GLIBC_") and symbol.library in subject.lane.needed)
    ]
    expect_none(unresolved, "no declared library has")
    return f"{len(read(subject).imports)} symbols, all resolved"


def _check_exports(subject: Subject) -> str:
    exports = read(subject).exports
    expect_none((n for n in exports if not n.startswith(EXPORTED)), "exports what is not ours")
    return f"{len(exports)} symbols, all ours"


def _check_run_path(subject: Subject) -> str:
    return expect_run_path(read(subject).run_paths, RUN_PATH)


def _check_stack(subject: Subject) -> str:
    flags = [flags for kind, flags in read(subject).segments if kind == "PT_GNU_STACK"]
    expect(flags, "PT_GNU_STACK is missing, which makes the stack executable")
    expect(not any(f & elf.EXECUTE for f in flags), "PT_GNU_STACK is executable")
    return "not executable"


def _check_segments(subject: Subject) -> str:
    loaded = [segment for segment in read(subject).segments if segment[0] == "PT_LOAD"]
    return expect_protected(loaded, elf.WRITE | elf.EXECUTE)


def _check_relro(subject: Subject) -> str:
    expect("PT_GNU_RELRO" in dict(read(subject).segments), "PT_GNU_RELRO is missing")
    expect(read(subject).bind_now, "BIND_NOW is missing, so the GOT stays writable")
    return "full"


def _check_stripped(subject: Subject) -> str:
    debug = re.compile(r"\.z?debug_|\.symtab$|\.gnu_debug")
    expect_none((s for s in read(subject).sections if debug.match(s)), "holds")
    return "no symbol table, no debug sections"


CHECKS: dict[str, Callable[[Subject], str]] = {
    "needed": _check_needed,
    "glibc": _check_glibc,
    "imports": _check_imports,
    "exports": _check_exports,
    "run path": _check_run_path,
    "stack": _check_stack,
    "segments": _check_segments,
    "relro": _check_relro,
    "stripped": _check_stripped,
}
