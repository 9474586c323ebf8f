"""Writing MLC's weight files and their index.

Source: tvm's ``python/tvm/contrib/tvmjs.py`` for the names, the fields and the rule of 32 MiB.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from mlc_llm.weights.tensor_cache import INDEX_NAMES, RAW

_SHARD_BYTES = 32 << 20
_ALIGNMENT = 64  # of a tensor in its file: a cache line


class ShardWriter:
    """Collects tensors into files of less than 32 MiB; a larger one has a file of its own."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._shards: list[dict[str, Any]] = []
        self._pending: list[tuple[dict[str, Any], NDArray[Any]]] = []
        self._end = 0  # of what is pending
        self.total_bytes = 0
        self.tensors = 0

    def add(self, name: str, array: NDArray[Any]) -> None:
        """Append one contiguous tensor; it must not be changed afterwards."""
        self.total_bytes += array.nbytes
        self.tensors += 1
        record = {
            "name": name,
            "shape": list(array.shape),
            "dtype": array.dtype.name,
            "format": RAW,
            "nbytes": array.nbytes,
        }
        if self._end + array.nbytes >= _SHARD_BYTES:
            if 2 * array.nbytes >= _SHARD_BYTES:
                self._write([({**record, "byteOffset": 0}, array)])
                return
            self._flush()
        offset = -(-self._end // _ALIGNMENT) * _ALIGNMENT
        self._pending.append(({**record, "byteOffset": offset}, array))
        self._end = offset + array.nbytes

    def finish(self, parameters: int) -> None:
        """Write what is pending, and the index; `parameters` counts the values of the model."""
        self._flush()
        metadata = {
            "ParamSize": self.tensors,
            "ParamBytes": float(self.total_bytes),
            "BitsPerParam": self.total_bytes * 8 / parameters,
        }
        text = json.dumps({"metadata": metadata, "records": self._shards}, indent=4)
        (self._directory / INDEX_NAMES[0]).write_text(text, encoding="utf-8")

    def _flush(self) -> None:
        if self._pending:
            self._write(self._pending)
        self._pending, self._end = [], 0

    def _write(self, tensors: list[tuple[dict[str, Any], NDArray[Any]]]) -> None:
        name = f"params_shard_{len(self._shards)}.bin"
        digest, end = hashlib.md5(usedforsecurity=False), 0
        with (self._directory / name).open("wb") as file:
            for record, array in tensors:
                for piece in (bytes(record["byteOffset"] - end), array.data):
                    file.write(piece)
                    digest.update(piece)
                end = record["byteOffset"] + array.nbytes
        self._shards.append(
            {
                "dataPath": name,
                "format": "raw-shard",
                "nbytes": end,
                "records": [record for record, _ in tensors],
                "md5sum": digest.hexdigest(),
            }
        )
