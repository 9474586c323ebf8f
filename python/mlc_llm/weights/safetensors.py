"""Reading safetensors files: a checked header, and values that stay in the mapped file.

Source: the format's description in the README of huggingface/safetensors.
"""

from __future__ import annotations

import math
import mmap
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlc_llm.models.errors import FormatError
from mlc_llm.models.json_file import check_regular_file, parse_json_object, read_json_object
from mlc_llm.weights.files import map_file, resolve_inside, widen_bfloat16

INDEX_NAME = "model.safetensors.index.json"
FILE_NAME = "model.safetensors"

_LENGTH_BYTES = 8
_MAX_HEADER_BYTES = 16 << 20  # a hundred thousand tensors; Python makes twenty times as much of it
_MAX_NDIM = 8
_BITS = {"BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8}
_BITS |= {"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "C64": 64}
_BITS |= {f"{kind}{bits}": bits for kind in ("I", "U", "F") for bits in (16, 32, 64)}
_BITS |= {"BF16": 16}
_DTYPES: dict[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
}


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in a file: [rows, cols] or [rows] of float32, float16 or bfloat16."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    data: mmap.mmap = field(repr=False)
    offset: int

    def read_rows(self, begin: int, end: int) -> NDArray[Any]:
        """Return rows [begin, end): a view, or for bfloat16 new float32 values.

        Raises FormatError when the tensor is of another dtype.
        """
        if self.dtype not in _DTYPES:
            raise FormatError(
                f"Tensor {self.name!r} is {self.dtype}; only {', '.join(_DTYPES)} can be converted."
            )
        row = math.prod(self.shape[1:])
        dtype = _DTYPES[self.dtype]
        start = self.offset + begin * row * dtype.itemsize
        values: NDArray[Any] = np.frombuffer(self.data, dtype, (end - begin) * row, start)
        values = values.reshape(end - begin, *self.shape[1:])
        return widen_bfloat16(values) if self.dtype == "BF16" else values


def _parse_entry(name: str, entry: Any, source: str) -> tuple[str, tuple[int, ...], int, int]:
    shown = f"{source}: {name[:120]!r}"
    if not isinstance(entry, dict):
        raise FormatError(f"{shown} is not described by an object.")
    dtype, shape, offsets = (entry.get(key) for key in ("dtype", "shape", "data_offsets"))
    if not isinstance(dtype, str) or dtype not in _BITS:
        raise FormatError(f"{shown} has the unknown dtype {str(dtype)[:80]!r}.")
    if (
        not isinstance(shape, list)
        or len(shape) > _MAX_NDIM
        or not all(type(extent) is int and 0 <= extent < 1 << 48 for extent in shape)
    ):
        raise FormatError(f"{shown} has the impossible shape {str(shape)[:80]}.")
    if (
        not isinstance(offsets, list)
        or len(offsets) != 2  # noqa: PLR2004 - begin and end
        or not all(type(offset) is int for offset in offsets)
    ):
        raise FormatError(f"{shown} has no data_offsets of two integers.")
    begin, end = offsets
    if (end - begin) * 8 != math.prod(shape) * _BITS[dtype]:
        raise FormatError(f"{shown} has a shape and a size in bytes that do not fit each other.")
    return dtype, tuple(shape), begin, end


def parse_header(header: bytes, data_bytes: int, source: str) -> dict[str, tuple[Any, ...]]:
    """Return (dtype, shape, begin, end) of every tensor; offsets count from the end of the header.

    `data_bytes` follow the header. Raises FormatError unless the tensors cover them, in any order,
    without holes and overlaps.
    """
    entries = parse_json_object(header, source)
    entries.pop("__metadata__", None)
    tensors = {name: _parse_entry(name, entry, source) for name, entry in entries.items()}
    position = 0
    for name, (_, _, begin, end) in sorted(tensors.items(), key=lambda item: item[1][2:]):
        if begin != position:
            raise FormatError(f"{source}: {name[:120]!r} overlaps a tensor or follows a hole.")
        position = end
    if position != data_bytes:
        raise FormatError(
            f"{source} describes {position} bytes of tensors, but {data_bytes} follow its header: "
            "it is truncated or damaged. Download it again."
        )
    return tensors


def read_safetensors(path: Path) -> dict[str, StoredTensor]:
    """Return the tensors of one file by name. Raises FormatError when it is malformed."""
    size = check_regular_file(path)
    if size < _LENGTH_BYTES:
        raise FormatError(f"{path} is too short to be a safetensors file.")
    data = map_file(path)
    length = int.from_bytes(data[:_LENGTH_BYTES], "little")
    start = _LENGTH_BYTES + length
    if length > _MAX_HEADER_BYTES or start > size:
        raise FormatError(f"{path} states a header of {length} bytes, which it cannot have.")
    tensors = parse_header(data[_LENGTH_BYTES:start], size - start, str(path))
    return {
        name: StoredTensor(name, dtype, shape, data, start + begin)
        for name, (dtype, shape, begin, _) in tensors.items()
    }


def _list_files(directory: Path) -> list[Path]:
    index = directory / INDEX_NAME
    if index.exists():
        weight_map = read_json_object(resolve_inside(directory, INDEX_NAME, str(directory))).get(
            "weight_map"
        )
        if not isinstance(weight_map, dict):
            raise FormatError(f"{index} has no weight_map.")
        names = {str(name): name for name in weight_map.values()}
        return [resolve_inside(directory, names[name], INDEX_NAME) for name in sorted(names)]
    if (directory / FILE_NAME).exists():
        return [resolve_inside(directory, FILE_NAME, str(directory))]
    raise FormatError(
        f"{directory} has neither {FILE_NAME} nor {INDEX_NAME}. Other formats (pytorch_model.bin, "
        "GGUF) are not supported: get the model's safetensors files."
    )


def read_directory(directory: Path) -> dict[str, StoredTensor]:
    """Return the tensors of a model directory of Hugging Face by name.

    Raises FormatError when a file is missing or malformed, or two hold the same tensor.
    """
    tensors: dict[str, StoredTensor] = {}
    for path in _list_files(directory):
        for name, tensor in read_safetensors(path).items():
            if name in tensors:
                raise FormatError(f"{directory} has the tensor {name[:120]!r} twice.")
            tensors[name] = tensor
    return tensors
