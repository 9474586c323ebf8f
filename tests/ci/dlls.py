"""Tiny Windows libraries, right by default, for planting one fault at a time."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

BASE, ALIGN = 0x1000, 0x200  # where the one section lies in memory, and in the file
IMPORT, EXPORT, RELOCATION, DEBUG = 1, 0, 5, 6  # indices of the data directories
DIRECTORIES = 16


@dataclass(frozen=True)
class Dll:
    """A DLL without code: what the loader would read, and nothing else.

    `imports` maps a library to names, or to numbers.
    """

    machine: int = 0x8664
    imports: dict[str, tuple[str | int, ...]] = field(
        default_factory=lambda: {
            "tvm_ffi.dll": ("TVMFFIErrorSetRaised",),
            "KERNEL32.dll": ("Sleep",),
            "api-ms-win-crt-heap-l1-1-0.dll": ("malloc",),
        }
    )
    name: str = "mlc_llm.dll"
    exports: tuple[str, ...] = ("mlc_llm_version",)
    characteristics: int = 0x160
    relocatable: bool = True
    section: str = ".rdata"
    flags: int = 0x40000040
    symbols: int = 0
    stamp: int = 0x12345678
    debug: tuple[int, ...] = (16,)
    payload: bytes = b""

    def build(self) -> bytes:
        """Return the file's bytes."""
        data = _Data()
        directories = [(0, 0)] * DIRECTORIES
        directories[IMPORT] = self._add_imports(data)
        if self.exports:
            directories[EXPORT] = self._add_exports(data)
        if self.relocatable:
            directories[RELOCATION] = data.add(struct.pack("<IIHH", BASE, 12, 0, 0))
        if self.debug:
            entries = [
                struct.pack("<IIHHIIII", 0, self.stamp, *[0] * 2, kind, *[0] * 3)
                for kind in self.debug
            ]
            directories[DEBUG] = data.add(b"".join(entries))
        data.add(self.payload)
        body = bytes(data.body) + bytes(-len(data.body) % ALIGN)
        optional = struct.pack("<HBBIIIII", 0x20B, 14, 0, 0, len(body), 0, 0, BASE)
        optional += struct.pack("<QIIHHHHHHI", 0x180000000, BASE, ALIGN, 6, 0, 0, 0, 6, 0, 0)
        size = BASE + len(body) + (-len(body) % BASE)
        optional += struct.pack("<IIIHH", size, ALIGN, 0, 2, self.characteristics)
        optional += struct.pack("<QQQQII", *[BASE] * 4, 0, DIRECTORIES)
        optional += b"".join(struct.pack("<II", *entry) for entry in directories)
        head = b"MZ" + bytes(58) + struct.pack("<I", 64) + b"PE\0\0"
        head += struct.pack(
            "<HHIIIHH", self.machine, 1, self.stamp, self.symbols, 0, len(optional), 0x2022
        )
        head += optional
        head += struct.pack(
            "<8sIIIIIIHHI",
            *(self.section.encode(), len(body), BASE, len(body), ALIGN, 0, 0, 0, 0, self.flags),
        )
        return head + bytes(ALIGN - len(head)) + body

    def _add_imports(self, data: _Data) -> tuple[int, int]:
        table = b""
        for library, symbols in self.imports.items():
            hints = [
                1 << 63 | symbol
                if isinstance(symbol, int)
                else data.add(b"\0\0" + symbol.encode() + b"\0")[0]
                for symbol in symbols
            ]
            thunks = struct.pack(f"<{len(hints) + 1}Q", *hints, 0)
            first, second = data.add(thunks)[0], data.add(thunks)[0]
            name = data.add(library.encode() + b"\0")[0]
            table += struct.pack("<IIIII", first, 0, 0, name, second)
        return data.add(table + bytes(20))

    def _add_exports(self, data: _Data) -> tuple[int, int]:
        count = len(self.exports)
        name = data.add(self.name.encode() + b"\0")[0]
        names = [data.add(export.encode() + b"\0")[0] for export in self.exports]
        addresses = data.add(struct.pack(f"<{count}I", *[BASE] * count))[0]
        pointers = data.add(struct.pack(f"<{count}I", *names))[0]
        numbers = data.add(struct.pack(f"<{count}H", *range(count)))[0]
        fields = (0, self.stamp, 0, 0, name, 1, count, count, addresses, pointers, numbers)
        return data.add(struct.pack("<IIHHIIIIIII", *fields))


class _Data:
    """The section: things one after the other, each with its address and size."""

    def __init__(self) -> None:
        self.body = bytearray()

    def add(self, data: bytes) -> tuple[int, int]:
        self.body += bytes(-len(self.body) % 8)
        address = BASE + len(self.body)
        self.body += data
        return address, len(data)
