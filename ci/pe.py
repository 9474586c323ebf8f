"""What the checks need to know of a Windows library (PE), read once."""

from __future__ import annotations

from dataclasses import dataclass

import pefile

# Bits of DllCharacteristics and of a section's Characteristics; the kinds of debug entries.
HIGH_ENTROPY_VA, DYNAMIC_BASE, NX_COMPAT = 0x20, 0x40, 0x100
EXECUTE, WRITE = 0x20000000, 0x80000000
DEBUG_CODEVIEW, DEBUG_REPRO = 2, 16


@dataclass(frozen=True)
class Library:
    """A DLL's interface and protections. An import by number has the name "#1", and so on."""

    machine: str
    needed: tuple[str, ...]
    imports: tuple[tuple[str, str], ...]
    name: str
    exports: tuple[str, ...]
    characteristics: int
    relocatable: bool
    sections: tuple[tuple[str, int], ...]
    symbols: int
    debug: tuple[int, ...]
    stamps: tuple[int, ...]


def read_library(data: bytes) -> Library:
    """Return what `data`, a PE file, declares. Raises pefile.PEFormatError for anything else."""
    pe = pefile.PE(data=data)
    imports = [
        (library.dll.decode(), symbol.name.decode() if symbol.name else f"#{symbol.ordinal}")
        for library in _directory(pe, "IMPORT") + _directory(pe, "DELAY_IMPORT")
        for symbol in library.imports
    ]
    libraries = _directory(pe, "IMPORT") + _directory(pe, "DELAY_IMPORT")
    exports = getattr(pe, "DIRECTORY_ENTRY_EXPORT", None)
    debug = _directory(pe, "DEBUG")
    machine = pe.FILE_HEADER.Machine
    return Library(
        machine=str(pefile.MACHINE_TYPE.get(machine, hex(machine))).removeprefix(
            "IMAGE_FILE_MACHINE_"
        ),
        needed=tuple(library.dll.decode() for library in libraries),
        imports=tuple(imports),
        name=exports.name.decode() if exports else "",
        exports=tuple((e.name or b"").decode() for e in exports.symbols) if exports else (),
        characteristics=pe.OPTIONAL_HEADER.DllCharacteristics,
        relocatable=bool(_directory(pe, "BASERELOC")),
        sections=tuple((s.Name.rstrip(b"\0").decode(), s.Characteristics) for s in pe.sections),
        symbols=pe.FILE_HEADER.PointerToSymbolTable,
        debug=tuple(entry.struct.Type for entry in debug),
        stamps=(
            pe.FILE_HEADER.TimeDateStamp,
            *(entry.struct.TimeDateStamp for entry in debug),
            *([exports.struct.TimeDateStamp] if exports else []),
        ),
    )


def _directory(pe: pefile.PE, name: str) -> list[pefile.Structure]:
    return list(getattr(pe, f"DIRECTORY_ENTRY_{name}", []))
