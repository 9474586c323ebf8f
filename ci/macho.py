"""What the checks need to know of a macOS library (Mach-O), read once."""

from __future__ import annotations

from dataclasses import dataclass

import lief

from ci.signature import Signature, read_signature

# Bits of a segment's protections and of n_type in the symbol table (mach-o/nlist.h).
WRITE, EXECUTE = 2, 4
DEBUG_ENTRY, EXTERNAL, DEFINED = 0xE0, 0x01, 0x0E
DWARF = "__DWARF"

MAGIC = b"\xcf\xfa\xed\xfe"  # 64 bits, little-endian: all that macOS still runs

lief.logging.disable()  # what it says of a damaged file is not for the build's log


@dataclass(frozen=True)
class Library:
    """A dylib's interface and protections. `imports` are (name, library, "" for whichever has it).

    `system` and `minimum` are those that it was built for ("MACOS", "11.0").
    """

    machine: str
    kind: str
    name: str
    needed: tuple[str, ...]
    run_paths: tuple[str, ...]
    system: str
    minimum: str
    uuid: bool
    imports: tuple[tuple[str, str], ...]
    exports: tuple[str, ...]
    local: tuple[str, ...]
    debug: bool
    segments: tuple[tuple[str, int], ...]
    signature: Signature | None


def read_library(data: bytes) -> Library:
    """Return what `data`, a Mach-O file for one processor, declares; raises ValueError else."""
    binary = _parse(data)
    libraries = [*binary.libraries]
    needed = [lib.name for lib in libraries if lib.command != lief.MachO.LoadCommand.TYPE.ID_DYLIB]
    build = binary.build_version
    signed = binary.code_signature
    table = [s for s in binary.symbols if s.origin == lief.MachO.Symbol.ORIGIN.SYMTAB]
    debug = [symbol for symbol in table if symbol.raw_type & DEBUG_ENTRY]
    names = [symbol for symbol in table if not symbol.raw_type & DEBUG_ENTRY]
    return Library(
        machine=binary.header.cpu_type.name,
        kind=binary.header.file_type.name,
        name="".join(lib.name for lib in libraries if lib.name not in needed),
        needed=tuple(needed),
        run_paths=tuple(path.path for path in binary.rpaths),
        system=build.platform.name if build else "",
        minimum=".".join(map(str, build.minos[:2])) if build else "",
        uuid=binary.has_uuid,
        imports=tuple(
            (_text(symbol.name), _library_of(symbol, needed))
            for symbol in names
            if not symbol.raw_type & DEFINED
        ),
        exports=tuple(_text(symbol.name) for symbol in binary.exported_symbols),
        local=tuple(_text(symbol.name) for symbol in names if not symbol.raw_type & EXTERNAL),
        debug=bool(debug) or any(segment.name == DWARF for segment in binary.segments),
        segments=tuple(
            (_text(segment.name), segment.init_protection | segment.max_protection)
            for segment in binary.segments
        ),
        signature=read_signature(data, signed.data_offset, signed.data_size) if signed else None,
    )


def read_sections(data: bytes) -> dict[str, bytes]:
    """Return what each section of a Mach-O file holds in the file."""
    binary = _parse(data)
    return {
        f"{section.segment_name},{_text(section.name)}": bytes(section.content)
        for section in binary.sections
        if section.offset
    }


def _parse(data: bytes) -> lief.MachO.Binary:
    parsed = lief.MachO.parse(data) if data.startswith(MAGIC) else None
    binary = parsed.at(0) if parsed else None
    if binary is None:
        raise ValueError("it is no Mach-O file for one processor of 64 bits")
    return binary


def _text(name: str | bytes) -> str:
    """Return a name of the file; lief leaves one that is no UTF-8 as it is."""
    return name if isinstance(name, str) else name.decode("utf-8", "backslashreplace")


def _library_of(symbol: lief.MachO.Symbol, needed: list[str]) -> str:
    """Return the library that the dynamic linker asks for `symbol`: names have two levels."""
    number = symbol.library_ordinal
    return needed[number - 1] if 0 < number <= len(needed) else ""
