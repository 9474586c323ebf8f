"""What is inside a wheel, as a tree of compressed sizes: folders, files, sections of libraries."""

from __future__ import annotations

import io
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import pefile
from elftools.elf.elffile import ELFFile

from ci import elf, macho

PE_MAGIC = b"MZ"


@dataclass(frozen=True)
class Node:
    """A folder, file or section: `packed` bytes in the wheel, `size` bytes when unpacked."""

    path: str
    packed: float
    size: int
    children: tuple[Node, ...] = ()

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]

    def leaves(self) -> list[Node]:
        """Return the files and sections below, or the node itself if it is one."""
        return [leaf for child in self.children for leaf in child.leaves()] or [self]


def read_contents(wheel: Path) -> Node:
    """Return the tree of `wheel`; a node's children descend by size."""
    with zipfile.ZipFile(wheel) as archive:
        files = [
            Node(info.filename, info.compress_size, info.file_size, _sections(archive, info))
            for info in archive.infolist()
            if info.compress_size
        ]
    return _folder("", files)


def _folder(path: str, files: list[Node]) -> Node:
    """Return the folder `path` of `files`, whose paths all begin with it."""
    groups: dict[str, list[Node]] = {}
    for file in files:
        top, below, _ = file.path[len(path) :].partition("/")
        groups.setdefault(top + below, []).append(file)
    children = [
        _folder(path + name, group) if name.endswith("/") else group[0]
        for name, group in groups.items()
    ]
    return _node(path.rstrip("/"), children)


def _node(path: str, children: list[Node]) -> Node:
    children = sorted(children, key=lambda node: (-node.packed, node.path))
    packed, size = sum(c.packed for c in children), sum(c.size for c in children)
    return Node(path, packed, size, tuple(children))


def _sections(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> tuple[Node, ...]:
    """Return the sections of a library, each with its share of the file's compressed size."""
    sizes = read_sections(archive.read(info))
    packed = {name: len(zlib.compress(content, 1)) for name, content in sizes.items()}
    scale = info.compress_size / sum(packed.values()) if packed else 0
    sections = [
        Node(f"{info.filename}/{name}", packed[name] * scale, len(content))
        for name, content in sizes.items()
    ]
    return _node(info.filename, sections).children


def read_sections(data: bytes) -> dict[str, bytes]:
    """Return the sections that a native library holds; none of another file."""
    if data.startswith(elf.MAGIC):
        return {
            section.name: section.data()
            for section in ELFFile(io.BytesIO(data)).iter_sections()
            if section["sh_type"] != "SHT_NOBITS" and section.data_size and section.name
        }
    if data.startswith(PE_MAGIC):
        sections = pefile.PE(data=data, fast_load=True).sections
        return {s.Name.rstrip(b"\0").decode(): s.get_data() for s in sections if s.SizeOfRawData}
    return macho.read_sections(data) if data.startswith(macho.MAGIC) else {}
