"""The index of MLC's weight files: ``tensor-cache.json``, earlier ``ndarray-cache.json``.

Sources: tvm's ``python/tvm/contrib/tvmjs.py``, which writes it, and ``tensor_cache_support.cc``,
which reads it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from mlc_llm.models.errors import FormatError
from mlc_llm.models.json_file import check_regular_file, read_json_object
from mlc_llm.weights.files import map_file, resolve_inside, widen_bfloat16

INDEX_NAMES = ("tensor-cache.json", "ndarray-cache.json")
RAW = "raw"
BFLOAT16 = "f32-to-bf16"

_MAX_INDEX_BYTES = 64 << 20
_MAX_NDIM = 4
_DTYPES: dict[str, np.dtype[Any]] = {
    "float32": np.dtype("<f4"),
    "float16": np.dtype("<f2"),
    "uint32": np.dtype("<u4"),
}


@dataclass(frozen=True)
class Record:
    """One tensor: where its bytes are, and what they mean."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    encoding: str
    offset: int
    nbytes: int


@dataclass(frozen=True)
class Shard:
    """One file of tensors."""

    path: Path
    nbytes: int
    records: tuple[Record, ...]


def _is_count(value: Any) -> TypeGuard[int]:
    return type(value) is int and 0 <= value < 1 << 62


def _parse_record(item: Any, source: str) -> Record:
    if not isinstance(item, dict) or not isinstance(item.get("name"), str):
        raise FormatError(f"{source} has a record without a name.")
    name, shape, dtype = item["name"], item.get("shape"), item.get("dtype")
    shown = f"{source}: {name[:120]!r}"
    encoding = item.get("format", RAW)
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        raise FormatError(f"{shown} has the dtype {str(dtype)[:80]}; known: {', '.join(_DTYPES)}.")
    if encoding not in (RAW, BFLOAT16) or (encoding == BFLOAT16 and dtype != "float32"):
        raise FormatError(f"{shown} has the unknown format {str(encoding)[:80]!r}.")
    if (
        not isinstance(shape, list)
        or not 1 <= len(shape) <= _MAX_NDIM
        or not all(_is_count(extent) and extent > 0 for extent in shape)
    ):
        raise FormatError(f"{shown} has the impossible shape {str(shape)[:80]}.")
    offset, nbytes = item.get("byteOffset"), item.get("nbytes")
    itemsize = 2 if encoding == BFLOAT16 else _DTYPES[dtype].itemsize
    if not _is_count(offset) or not _is_count(nbytes) or nbytes != math.prod(shape) * itemsize:
        raise FormatError(f"{shown} has a shape and a size in bytes that do not fit each other.")
    return Record(name, tuple(shape), dtype, encoding, offset, nbytes)


def _parse_shard(item: Any, directory: Path, source: str) -> Shard:
    if not isinstance(item, dict) or not isinstance(item.get("records"), list):
        raise FormatError(f"{source} has a shard without records.")
    if item.get("format", "raw-shard") != "raw-shard":
        raise FormatError(f"{source} has a shard of format {str(item['format'])[:80]!r}.")
    path = resolve_inside(directory, item.get("dataPath"), source)
    records = sorted((_parse_record(record, source) for record in item["records"]), key=_start)
    nbytes = item.get("nbytes")
    end = 0
    for record in records:
        if record.offset < end:
            raise FormatError(f"{source}: {record.name[:120]!r} overlaps another tensor.")
        end = record.offset + record.nbytes
    if not _is_count(nbytes) or end > nbytes:
        raise FormatError(f"{source}: the tensors of {path.name} reach beyond its size in bytes.")
    size = check_regular_file(path)
    if size != nbytes:
        raise FormatError(
            f"{path} has {size} bytes, but {source} says {nbytes}: it is truncated or of another "
            "conversion. Download or convert it again."
        )
    return Shard(path, nbytes, tuple(records))


def _start(record: Record) -> int:
    return record.offset


def find_index(directory: Path) -> Path:
    """Return the path of a directory's index. Raises FormatError when there is none."""
    for name in INDEX_NAMES:
        if (directory / name).exists():
            return resolve_inside(directory, name, str(directory))
    raise FormatError(
        f"{directory} has no {INDEX_NAMES[0]}: it is not an MLC model directory, or its conversion "
        "was not finished. Make one with `mlc_llm convert_weight`."
    )


def read_index(directory: Path) -> list[Shard]:
    """Read and check a directory's index.

    Raises FormatError when it is malformed, names a file outside the directory, or does not fit
    the files.
    """
    path = find_index(directory)
    shards = read_json_object(path, _MAX_INDEX_BYTES).get("records")
    if not isinstance(shards, list):
        raise FormatError(f"{path} has no list of records.")
    result = [_parse_shard(shard, directory, path.name) for shard in shards]
    seen: set[object] = set()
    names: list[object] = [shard.path for shard in result]
    names += [record.name for shard in result for record in shard.records]
    for name in names:
        if name in seen:
            raise FormatError(f"{path.name} lists {str(name)[-120:]!r} twice.")
        seen.add(name)
    return result


def _decode(data: Any, record: Record) -> NDArray[Any]:
    """Return a tensor over `data`, in place where the bytes allow it."""
    count = math.prod(record.shape)
    if record.encoding == BFLOAT16:
        halves = np.frombuffer(data, "<u2", count, record.offset)
        return widen_bfloat16(halves).reshape(record.shape)
    array: NDArray[Any] = np.frombuffer(data, _DTYPES[record.dtype], count, record.offset)
    # Operators want what they read aligned.
    return (array if array.flags.aligned else array.copy()).reshape(record.shape)


def map_tensors(shards: list[Shard]) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield the name and the values of every tensor; the values lie in the mapped files.

    Only bfloat16 tensors and such that are not aligned are copied. Source of the encoding: a
    float32 whose lower 16 bits were rounded away.
    """
    for shard in shards:
        if not shard.records:
            continue
        data = map_file(shard.path)
        for record in shard.records:
            yield record.name, _decode(data, record)
