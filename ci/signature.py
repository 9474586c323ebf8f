"""The code signature of a Mach-O file: whether the hashes in it are those of the file's pages."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass

# XNU's osfmk/kern/cs_blobs.h: the blobs' magic numbers, a slot, a flag and a kind of hash.
EMBEDDED_SIGNATURE, CODE_DIRECTORY = 0xFADE0CC0, 0xFADE0C02
SLOT_CODE_DIRECTORY = 0
AD_HOC = 0x2
SHA256 = 2

# Of a signature: magic, length, count. Of an entry: slot, offset. Of a directory: magic, length,
# version, flags, offset of the hashes, of the name, special slots, code slots, limit; size and kind
# of a hash, platform, page size as a power of two.
SIGNATURE = struct.Struct(">3I")
ENTRY = struct.Struct(">2I")
DIRECTORY = struct.Struct(">9I4B")


@dataclass(frozen=True)
class Signature:
    """What a signature promises: `size` bytes, but for the pages in `altered`.

    `whole` says that these are all the bytes before it.
    """

    ad_hoc: bool
    size: int
    whole: bool
    altered: tuple[int, ...]


def read_signature(file: bytes, start: int, size: int) -> Signature:
    """Return the signature that lies in `file` from `start` on; raises ValueError for any other."""
    try:
        return _read(file, start, memoryview(file)[start : start + size])
    except (struct.error, OverflowError) as error:
        raise ValueError(f"the code signature is damaged: {error}") from error


def _read(file: bytes, start: int, blob: memoryview) -> Signature:
    magic, _, count = SIGNATURE.unpack_from(blob)
    if magic != EMBEDDED_SIGNATURE:
        raise ValueError(f"the code signature begins with {magic:#x}")
    entries = ENTRY.iter_unpack(blob[SIGNATURE.size : SIGNATURE.size + count * ENTRY.size])
    directories = [blob[offset:] for slot, offset in entries if slot == SLOT_CODE_DIRECTORY]
    if len(directories) != 1:
        raise ValueError(f"the code signature has {len(directories)} code directories")
    (directory,) = directories
    (magic, _, _, flags, hashes, _, _, slots, limit, hash_size, kind, _, page) = (
        DIRECTORY.unpack_from(directory)
    )
    if (magic, kind, hash_size) != (CODE_DIRECTORY, SHA256, hashlib.sha256().digest_size):
        raise ValueError(f"the code directory begins with {magic:#x} and has hashes of kind {kind}")
    pages = [file[at : min(at + (1 << page), limit)] for at in range(0, limit, 1 << page)]
    if len(pages) != slots:
        raise ValueError(f"the code directory has {slots} hashes for {len(pages)} pages")
    altered = [
        number
        for number, content in enumerate(pages)
        if directory[hashes + number * hash_size :][:hash_size] != hashlib.sha256(content).digest()
    ]
    return Signature(bool(flags & AD_HOC), limit, limit == start, tuple(altered))
