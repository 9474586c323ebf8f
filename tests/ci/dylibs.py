"""Tiny macOS libraries, right by default, for planting one fault at a time."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass

PAGE = 0x1000
DYLIB, ARM64 = 6, 0x0100000C
SEGMENT, SYMTAB, LOAD, ID, DYLD_INFO = 0x19, 0x2, 0xC, 0xD, 0x80000022
UUID, SIGNATURE, RPATH, BUILD_VERSION = 0x1B, 0x1D, 0x8000001C, 0x32
UNDEFINED, SECTION, STAB = 0x01, 0x0E, 0x66


@dataclass(frozen=True)
class Dylib:
    """A dylib without code: what the dynamic linker would read, and nothing else.

    `imports` are (name, number of the library in `needed`, from 1 on).
    """

    processor: int = ARM64
    kind: int = DYLIB
    name: str = "@rpath/libmlc_llm.dylib"
    needed: tuple[str, ...] = ("@rpath/libtvm_ffi.dylib", "/usr/lib/libSystem.B.dylib")
    run_paths: tuple[str, ...] = ("@loader_path/../../tvm_ffi/lib",)
    platform: int = 1
    minimum: int = 11 << 16
    uuid: bool = True
    imports: tuple[tuple[str, int], ...] = (("_TVMFFIErrorSetRaised", 1), ("_malloc", 2))
    exports: tuple[str, ...] = ("__mh_dylib_header", "__Znwm")
    local: tuple[str, ...] = ("_malloc__thunk",)
    stab: bool = False
    segment: str = "__TEXT"
    protections: int = 5
    signed: bool = True
    flags: int = 0x20002  # ad hoc, by the linker
    unsigned: int = 0  # bytes at the end that the signature leaves out
    altered: bool = False
    payload: bytes = b""

    def build(self) -> bytes:
        """Return the file's bytes."""
        strings, symbols = b"\0", b""
        entries = [(name, SECTION, 1, 0) for name in self.local]
        entries += [("main.o", STAB, 0, 0)] if self.stab else []
        entries += [(name, SECTION | 1, 1, 0) for name in self.exports]
        entries += [(name, UNDEFINED, 0, number << 8) for name, number in self.imports]
        for name, kind, section, description in entries:
            symbols += struct.pack("<IBBHQ", len(strings), kind, section, description, 0)
            strings += name.encode() + b"\0"
        trie = _trie(self.exports)
        body = trie + symbols + strings + self.payload
        commands = self._commands(0, 0, 0, 0, 0)
        start = PAGE * (1 + sum(map(len, commands)) // PAGE)
        at_symbols = start + len(trie)
        end = start + len(body) + -len(body) % 16
        commands = self._commands(start, len(trie), at_symbols, len(entries), end)
        place = sum(map(len, commands))
        head = struct.pack(
            "<8I", 0xFEEDFACF, self.processor, 0, self.kind, len(commands), place, 5, 0
        )
        file = (head + b"".join(commands)).ljust(start, b"\0") + body.ljust(end - start, b"\0")
        signed = file + self._signature(file) if self.signed else file
        return signed.replace(b"\0\0\0\0\0\0\0\0", b"altered!", 1) if self.altered else signed

    def _commands(
        self, trie: int, trie_size: int, symbols: int, count: int, end: int
    ) -> list[bytes]:
        """Return the load commands; offsets and sizes are of the file."""
        text = struct.pack(
            "<16s4Q4I", self.segment.encode(), 0, PAGE, 0, PAGE, *[self.protections] * 2, 0, 0
        )
        linked = struct.pack(
            "<16s4Q4I", b"__LINKEDIT", trie, PAGE, trie, max(0, end - trie), 1, 1, 0, 0
        )
        commands = [
            _command(SEGMENT, text),
            _command(SEGMENT, linked),
            _command(DYLD_INFO, struct.pack("<10I", *[0] * 8, trie, trie_size)),
            _command(
                SYMTAB,
                struct.pack(
                    "<4I", symbols, count, symbols + 16 * count, max(0, end - symbols - 16 * count)
                ),
            ),
            _command(ID, struct.pack("<4I", 24, 2, 0, 0) + self.name.encode() + b"\0")
            if self.name
            else b"",
            *(
                _command(LOAD, struct.pack("<4I", 24, 2, 0, 0) + n.encode() + b"\0")
                for n in self.needed
            ),
            *(
                _command(RPATH, struct.pack("<I", 12) + path.encode() + b"\0")
                for path in self.run_paths
            ),
            _command(BUILD_VERSION, struct.pack("<4I", self.platform, self.minimum, 0, 0)),
            _command(UUID, bytes(range(16))) if self.uuid else b"",
            _command(SIGNATURE, struct.pack("<2I", end, 12 + 8 + 48 + 32 * -(-end // PAGE)))
            if self.signed
            else b"",
        ]
        return [command for command in commands if command]

    def _signature(self, file: bytes) -> bytes:
        limit = len(file) - self.unsigned
        pages = [file[at : min(at + PAGE, limit)] for at in range(0, limit, PAGE)]
        hashes = b"".join(hashlib.sha256(page).digest() for page in pages)
        numbers = (0xFADE0C02, 48 + len(hashes), 0x20001, self.flags, 48, 44, 0, len(pages), limit)
        directory = struct.pack(">9I4BI", *numbers, 32, 2, 0, 12, 0) + b"id\0\0"
        blob = directory + hashes
        return struct.pack(">5I", 0xFADE0CC0, 20 + len(blob), 1, 0, 20) + blob


def _command(kind: int, content: bytes) -> bytes:
    padded = content + bytes(-len(content) % 8)
    return struct.pack("<2I", kind, 8 + len(padded)) + padded


def _trie(names: tuple[str, ...]) -> bytes:
    """Return the exports as the dynamic linker finds them: one node, and a leaf for each name."""
    size = 2 + sum(len(name) + 3 for name in names)
    edges = b""
    for number, name in enumerate(names):
        place = size + 4 * number
        edges += name.encode() + b"\0" + bytes([place & 0x7F | 0x80, place >> 7])
    return bytes([0, len(names)]) + edges + bytes([2, 0, 0, 0]) * len(names)
