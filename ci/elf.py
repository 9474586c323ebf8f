"""What the checks need to know of an ELF library, read once."""

from __future__ import annotations

import io
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from elftools.elf.dynamic import DynamicSegment
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerNeedSection, GNUVerSymSection
from elftools.elf.sections import SymbolTableSection

MAGIC = b"\x7fELF"

# Bits of p_flags, DT_FLAGS and DT_FLAGS_1; and the mask that takes the "hidden" bit off a version.
EXECUTE, WRITE = 1, 2
DF_BIND_NOW, DF_1_NOW = 8, 1
VERSION_INDEX = 0x7FFF
VERNEED_ENTRY = 16  # bytes


@dataclass(frozen=True)
class Symbol:
    """An undefined dynamic symbol; `library` and `version` are empty where it is unversioned."""

    name: str
    library: str
    version: str
    weak: bool


@dataclass(frozen=True)
class Library:
    """A shared library's dynamic interface and protections."""

    machine: str
    needed: tuple[str, ...]
    run_paths: tuple[str, ...]
    bind_now: bool
    segments: tuple[tuple[str, int], ...]
    sections: tuple[str, ...]
    versions: tuple[tuple[str, str], ...]
    imports: tuple[Symbol, ...]
    exports: tuple[str, ...]


def read_library(data: bytes) -> Library:
    """Return what `data`, an ELF file with section headers, declares.

    Raises ValueError, or ELFError of pyelftools, for anything else.
    """
    elf = ELFFile(io.BytesIO(data))
    tags = _dynamic_tags(elf)
    versions = _needed_versions(elf)
    imports, exports = _symbols(elf, versions)
    now = any(flags & DF_BIND_NOW for flags in tags["DT_FLAGS"])
    now_1 = any(flags & DF_1_NOW for flags in tags["DT_FLAGS_1"])
    return Library(
        machine=str(elf["e_machine"]),
        needed=tuple(tags["DT_NEEDED"]),
        run_paths=(*tags["DT_RPATH"], *tags["DT_RUNPATH"]),
        bind_now=now or now_1 or bool(tags["DT_BIND_NOW"]),
        segments=tuple((str(s["p_type"]), int(s["p_flags"])) for s in elf.iter_segments()),
        sections=tuple(section.name for section in elf.iter_sections()),
        versions=tuple(versions.values()),
        imports=imports,
        exports=exports,
    )


def _dynamic_tags(elf: ELFFile) -> defaultdict[str, list[Any]]:
    """Return the values of the dynamic segment by tag; names where the tag stands for a name."""
    for segment in elf.iter_segments():
        if isinstance(segment, DynamicSegment):
            values: defaultdict[str, list[Any]] = defaultdict(list)
            for tag in segment.iter_tags():
                kind = str(tag.entry.d_tag)
                # pyelftools keeps the name of a DT_NEEDED tag as its attribute "needed".
                values[kind].append(vars(tag).get(kind[3:].lower(), tag.entry.d_val))
            return values
    raise ValueError("there is no dynamic segment")


def _needed_versions(elf: ELFFile) -> dict[int, tuple[str, str]]:
    """Return (library, version) by the index that the symbols name them with."""
    found = {}
    for section in elf.iter_sections():
        if not isinstance(section, GNUVerNeedSection):
            continue
        # A damaged file may claim 2**32 entries, and pyelftools would read them all.
        most = section["sh_size"] // VERNEED_ENTRY
        if section.num_versions() > most:
            raise ValueError("the version table is damaged")
        for library, versions in section.iter_versions():
            if library["vn_cnt"] > most:
                raise ValueError("the version table is damaged")
            for version in versions:
                found[int(version["vna_other"])] = (str(library.name), str(version.name))
    return found


def _symbols(
    elf: ELFFile, versions: dict[int, tuple[str, str]]
) -> tuple[tuple[Symbol, ...], tuple[str, ...]]:
    """Return the dynamic symbols that the library wants and those that it gives."""
    table = elf.get_section_by_name(".dynsym")
    if not isinstance(table, SymbolTableSection):
        raise ValueError("there is no dynamic symbol table")  # noqa: TRY004 - of the data
    indices = elf.get_section_by_name(".gnu.version")
    imports, exports = [], []
    for number, symbol in enumerate(table.iter_symbols()):
        binding = symbol["st_info"]["bind"]
        if binding == "STB_LOCAL":
            continue
        if symbol["st_shndx"] != "SHN_UNDEF":
            exports.append(symbol.name)
            continue
        library, version = "", ""
        if isinstance(indices, GNUVerSymSection):
            index = indices.get_symbol(number)["ndx"]
            if isinstance(index, int):  # else one of the two names for "unversioned"
                library, version = versions[index & VERSION_INDEX]
        imports.append(Symbol(symbol.name, library, version, weak=binding == "STB_WEAK"))
    return tuple(imports), tuple(exports)
