"""A writer of GGUF files, llama.cpp's model format, with no more of it than the bench needs.

Source: ggml's `docs/gguf.md` (version 3) and `ggml-common.h` (`block_q4_0`).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

MAGIC = b"GGUF"
VERSION = 3
ALIGNMENT = 32
# Types of metadata values and of tensors.
UINT32, FLOAT32, STRING = 4, 6, 8
F32, F16, Q4_0 = 0, 1, 2


@dataclass(frozen=True)
class TensorInfo:
    """What the header says of a tensor: `type` is F32, F16 or Q4_0, `shape` has rows first."""

    name: str
    shape: tuple[int, ...]
    type: int

    @property
    def bytes(self) -> int:
        """Size of the data; a Q4_0 block of 32 values takes 18 bytes."""
        values = int(np.prod(self.shape))
        return {F32: values * 4, F16: values * 2, Q4_0: values // 32 * 18}[self.type]


def write_header(
    file: BinaryIO, metadata: Mapping[str, str | float], tensors: list[TensorInfo]
) -> None:
    """Write all that comes before the data; `write_tensor` follows for each of `tensors`."""
    file.write(struct.pack("<4sIQQ", MAGIC, VERSION, len(tensors), len(metadata)))
    file.writelines(_string(key) + _value(value) for key, value in metadata.items())
    offset = 0
    for tensor in tensors:
        dimensions = tensor.shape[::-1]  # the fastest first
        file.write(_string(tensor.name) + struct.pack("<I", len(dimensions)))
        file.write(struct.pack(f"<{len(dimensions)}QIQ", *dimensions, tensor.type, offset))
        offset += _padded(tensor.bytes)
    file.write(b"\0" * (_padded(file.tell()) - file.tell()))


def write_tensor(file: BinaryIO, data: NDArray[np.generic]) -> None:
    """Write one tensor's data, padded as the next one's offset in the header expects."""
    file.write(np.ascontiguousarray(data).data)
    file.write(b"\0" * (_padded(data.nbytes) - data.nbytes))


def pack_q4_0(values: NDArray[np.int8], scales: NDArray[np.float16]) -> NDArray[np.uint8]:
    """Return the blocks of a matrix: `values` [rows, cols] in -8..7, `scales` [rows, cols / 32]."""
    nibbles = (values + 8).astype(np.uint8).reshape(*scales.shape, 32)
    packed = nibbles[..., :16] | nibbles[..., 16:] << 4
    return np.concatenate([scales[..., None].view(np.uint8), packed], axis=-1)


def _value(value: str | float) -> bytes:
    if isinstance(value, str):
        return struct.pack("<I", STRING) + _string(value)
    if isinstance(value, int):
        return struct.pack("<II", UINT32, value)
    return struct.pack("<If", FLOAT32, value)


def _string(text: str) -> bytes:
    return struct.pack("<Q", len(text)) + text.encode()


def _padded(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
