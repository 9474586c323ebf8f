"""Tiny wheels with tiny ELF files, right by default, for planting one fault at a time."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

VERSION = "1.2.3"
PLATFORM = "manylinux_2_28_x86_64"
WHEEL_NAME = f"mlc_llm-{VERSION}-py3-none-{PLATFORM}.whl"
DIST_INFO = f"mlc_llm-{VERSION}.dist-info"
LIBRARY = "mlc_llm/lib/libmlc_llm.so"

METADATA = f"""\
Metadata-Version: 2.4
Name: mlc_llm
Version: {VERSION}
Summary: A test wheel
License-Expression: Apache-2.0
License-File: LICENSE
Requires-Python: >=3.10
Requires-Dist: apache-tvm-ffi>=0.1.11
Description-Content-Type: text/markdown

A description.
"""
# What of pyproject.toml METADATA must agree with.
PROJECT = """\
[project]
requires-python = ">=3.10"
dependencies = ["apache-tvm-ffi>=0.1.11"]
"""
WHEEL = f"""\
Wheel-Version: 1.0
Generator: tests
Root-Is-Purelib: false
Tag: py3-none-{PLATFORM}
"""

# Names more than the tiny wheel needs, so that another fault does not show here too.
NAMED = (
    *("libc++", "compiler-rt of zig", "Apache TVM FFI headers", "DLPack"),
    *("libtvm_ffi.so", "libc.so.6", "libvulkan.so.1", "apache-tvm-ffi>=0.1.11"),
    *("apache-tvm-ffi>=0.1.12", 'apache-tvm-ffi; extra == "gpu"', "numpy", "numpy>=0.1.11"),
)


def sbom(*names: str, version: str = VERSION) -> bytes:
    """Return a bill of materials that names `names`."""
    component = {"name": "mlc_llm", "version": version}
    parts = [{"bom-ref": name} for name in names]
    return json.dumps({"metadata": {"component": component}, "components": parts}).encode()


EHDR = struct.Struct("<16sHHIQQQIHHHHHH")
PHDR = struct.Struct("<IIQQQQQQ")
SHDR = struct.Struct("<IIQQQQIIQQ")
SYM = struct.Struct("<IBBHQQ")
PT_LOAD, PT_DYNAMIC, PT_GNU_STACK, PT_GNU_RELRO = 1, 2, 0x6474E551, 0x6474E552
DT_NEEDED, DT_STRTAB, DT_SYMTAB, DT_RUNPATH, DT_FLAGS = 1, 5, 6, 29, 30


@dataclass(frozen=True)
class Elf:
    """A shared library without code: what the dynamic linker would read, and nothing else.

    `imports` are (name, version, weak); every version is one of libc.so.6.
    """

    machine: int = 62
    needed: tuple[str, ...] = ("libtvm_ffi.so", "libc.so.6")
    run_path: str = "$ORIGIN/../../tvm_ffi/lib"
    imports: tuple[tuple[str, str, bool], ...] = (
        ("malloc", "GLIBC_2.2.5", False),
        ("memcpy", "GLIBC_2.14", False),
        ("TVMFFIErrorSetRaised", "", False),
        ("__gmon_start__", "", True),
    )
    exports: tuple[str, ...] = ("__tvm_ffi_devices",)
    load_flags: int = 5
    stack_flags: int | None = 6
    relro: bool = True
    bind_now: bool = True
    debug: bool = False
    payload: bytes = b""

    def build(self) -> bytes:
        """Return the file's bytes."""
        strings = _Strings()
        versions = sorted({version for _, version, _ in self.imports if version})
        symbols, indices = [SYM.pack(0, 0, 0, 0, 0, 0)], [0]
        for name, version, weak in self.imports:
            symbols.append(SYM.pack(strings.add(name), 0x22 if weak else 0x12, 0, 0, 0, 0))
            indices.append(versions.index(version) + 2 if version else 1)
        for name in self.exports:
            symbols.append(SYM.pack(strings.add(name), 0x12, 0, 1, 0, 0))
            indices.append(1)
        need = struct.pack("<HHIII", 1, len(versions), strings.add("libc.so.6"), 16, 0)
        for number, version in enumerate(versions):
            last = number == len(versions) - 1
            need += struct.pack("<IHHII", 0, 0, number + 2, strings.add(version), 0 if last else 16)
        tags = [(DT_NEEDED, strings.add(name)) for name in self.needed]
        tags += [(DT_RUNPATH, strings.add(self.run_path))] if self.run_path else []
        tags += [(DT_FLAGS, 8)] if self.bind_now else []

        # Addresses are file offsets: one segment maps the whole file.
        headers = 2 + (self.stack_flags is not None) + self.relro
        layout = _Layout(EHDR.size + headers * PHDR.size)
        strtab = layout.add(".dynstr", 3, strings.data)
        symtab = layout.add(".dynsym", 11, b"".join(symbols), link=1, info=1, entry=SYM.size)
        versym = struct.pack(f"<{len(indices)}H", *indices)
        layout.add(".gnu.version", 0x6FFFFFFF, versym, link=2, entry=2)
        if versions:
            layout.add(".gnu.version_r", 0x6FFFFFFE, need, link=1, info=1)
        tags += [(DT_STRTAB, strtab), (DT_SYMTAB, symtab), (0, 0)]
        table = b"".join(struct.pack("<qQ", *tag) for tag in tags)
        dynamic = layout.add(".dynamic", 6, table, link=1, entry=16)
        layout.add(".rodata", 1, self.payload)
        if self.debug:
            layout.add(".debug_info", 1, b"\0")
        body, section_offset, sections = layout.finish()

        size = EHDR.size + headers * PHDR.size + len(body)
        segments = [
            (PT_LOAD, self.load_flags, 0, size),
            (PT_DYNAMIC, 6, dynamic, len(table)),
        ]
        segments += [(PT_GNU_STACK, self.stack_flags, 0, 0)] if self.stack_flags is not None else []
        segments += [(PT_GNU_RELRO, 4, dynamic, len(table))] if self.relro else []
        head = EHDR.pack(
            b"\x7fELF\2\1\1" + bytes(9),
            *(3, self.machine, 1, 0, EHDR.size, section_offset, 0),
            *(EHDR.size, PHDR.size, len(segments), SHDR.size, sections, sections - 1),
        )
        phdrs = b"".join(
            PHDR.pack(kind, flags, at, at, at, length, length, 8)
            for kind, flags, at, length in segments
        )
        return head + phdrs + body


class _Strings:
    def __init__(self) -> None:
        self.data = b"\0"

    def add(self, text: str) -> int:
        offset = len(self.data)
        self.data += text.encode() + b"\0"
        return offset


class _Layout:
    """Sections one after the other, with their headers at the end."""

    def __init__(self, start: int) -> None:
        self._start = start
        self._body = b""
        self._names = _Strings()
        self._headers = [bytes(SHDR.size)]

    def add(
        self, name: str, kind: int, data: bytes, *, link: int = 0, info: int = 0, entry: int = 0
    ) -> int:
        self._body += bytes(-(self._start + len(self._body)) % 8)
        at = self._start + len(self._body)
        flags = 2 if name != ".shstrtab" else 0
        fields = (self._names.add(name), kind, flags, at, at, len(data), link, info, 8, entry)
        self._headers.append(SHDR.pack(*fields))
        self._body += data
        return at

    def finish(self) -> tuple[bytes, int, int]:
        """Return the sections with their headers, the headers' offset and their number."""
        self._names.add(".shstrtab")
        self.add(".shstrtab", 3, self._names.data)
        self._body += bytes(-(self._start + len(self._body)) % 8)
        offset = self._start + len(self._body)
        return self._body + b"".join(self._headers), offset, len(self._headers)


def good_files(library: bytes | None = None) -> dict[str, bytes]:
    """Return the files of a wheel without fault, RECORD left out."""
    return {
        "mlc_llm/__init__.py": b'"""A test package."""\n',
        "mlc_llm/cli.py": b"def main() -> None: ...\n",
        "mlc_llm/py.typed": b"",
        LIBRARY: Elf().build() if library is None else library,
        f"{DIST_INFO}/METADATA": METADATA.encode(),
        f"{DIST_INFO}/WHEEL": WHEEL.encode(),
        f"{DIST_INFO}/entry_points.txt": b"[console_scripts]\nmlc_llm = mlc_llm.cli:main\n",
        f"{DIST_INFO}/licenses/LICENSE": b"A licence.\n",
        f"{DIST_INFO}/sboms/mlc_llm.cdx.json": sbom(*NAMED),
    }


def record(files: Mapping[str, bytes]) -> bytes:
    """Return a right RECORD for `files`, written apart from the code under test."""
    rows = []
    for name, data in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
        field = f'"{name}"' if "," in name else name
        rows.append(f"{field},sha256={digest},{len(data)}\n")
    return "".join([*rows, f"{DIST_INFO}/RECORD,,\n"]).encode()


def write_wheel(folder: Path, files: Mapping[str, bytes], name: str = WHEEL_NAME) -> Path:
    """Zip `files` with a right RECORD, unless they bring one, and return the path."""
    path = folder / name
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for entry, data in ({f"{DIST_INFO}/RECORD": record(files)} | dict(files)).items():
            # A fixed date, so that wheels of two moments are the same bytes.
            member = zipfile.ZipInfo(entry, (2020, 2, 2, 0, 0, 0))
            archive.writestr(member, data, zipfile.ZIP_DEFLATED)
    return path


def write_toolchain(folder: Path) -> Path:
    """Make a toolchain folder whose libtvm_ffi.so exports one function, and return it."""
    library = folder / "tvm_ffi" / "lib" / "libtvm_ffi.so"
    library.parent.mkdir(parents=True)
    library.write_bytes(Elf(exports=("TVMFFIErrorSetRaised", "other_symbol"), imports=()).build())
    return folder
