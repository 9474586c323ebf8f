"""Hugging Face's weights become MLC's."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlc_llm.models import Parameter, Part, from_hf, list_parameters, parse_fields
from mlc_llm.models.errors import FormatError
from mlc_llm.models.json_file import read_json_object
from mlc_llm.quantization import (
    WORDS_PER_GROUP,
    Quantization,
    count_groups,
    get_quantization,
    quantize_groups,
)
from mlc_llm.weights.publish import publish, working_directory
from mlc_llm.weights.safetensors import StoredTensor, read_directory
from mlc_llm.weights.shard_writer import ShardWriter
from mlc_llm.weights.tensor_cache import INDEX_NAMES

Progress = Callable[[str, int, int], None]

_BLOCK_VALUES = 1 << 18  # converted at a time: what fits a cache
_MAX_THREADS = 8
_PARTIAL = ".convert_weight-"
_PREFIXES = ("model.", "language_model.model.", "model.language_model.")
_OTHER_HALVES = ("vision_tower.", "multi_modal_projector.")


@dataclass(frozen=True)
class Conversion:
    """What was written: how many values, in how many bytes."""

    parameters: int
    nbytes: int


class _Checkpoint:
    """The tensors of a Hugging Face directory, checked against those that a model has."""

    def __init__(self, tensors: dict[str, StoredTensor], parameters: list[Parameter]) -> None:
        self._tensors = tensors
        found = (name for name in _PREFIXES if f"{name}embed_tokens.weight" in tensors)
        self._prefix = next(found, "model.")
        used = set()
        for parameter in parameters:
            for part in parameter.parts:
                for source in part.sources:
                    cols = (parameter.cols,) if parameter.cols else ()
                    used.add(self._check(source.name, (source.rows, *cols)))
        for name in sorted(tensors.keys() - used):
            if not self._is_ignored(name, tied="lm_head.weight" not in used):
                raise FormatError(
                    f"The checkpoint has the tensor {name[:120]!r}, which is not part of this "
                    "model: the result would not be the model that was trained."
                )

    def _find(self, name: str) -> str:
        return f"{self._prefix}{name[6:]}" if name.startswith("model.") else name

    def _check(self, name: str, shape: tuple[int, ...]) -> str:
        name = self._find(name)
        if name not in self._tensors:
            raise FormatError(f"The checkpoint lacks the tensor {name!r}.")
        if self._tensors[name].shape != shape:
            raise FormatError(
                f"Tensor {name!r} has the shape {list(self._tensors[name].shape)}, but config.json "
                f"says {list(shape)}."
            )
        return name

    def _is_ignored(self, name: str, *, tied: bool) -> bool:
        if name.endswith("rotary_emb.inv_freq") or (tied and name.endswith("lm_head.weight")):
            return True
        return name.removeprefix("model.").startswith(_OTHER_HALVES)

    def list_blocks(self, part: Part, cols: int) -> Iterator[tuple[StoredTensor, int, int, int]]:
        """Yield (tensor, its rows begin, end, first row in the stack) until all were seen."""
        step = max(1, _BLOCK_VALUES // max(cols, 1))
        first = 0
        for source in part.sources:
            tensor = self._tensors[self._find(source.name)]
            for begin in range(0, source.rows, step):
                yield tensor, begin, min(begin + step, source.rows), first + begin
            first += source.rows


def _cast(name: str, values: NDArray[Any], offset: float, dtype: str) -> NDArray[Any]:
    """Return `values` + `offset` in `dtype`; refuses what is not finite before or after."""
    if offset:
        values = values.astype(np.float32) + np.float32(offset)
    with np.errstate(over="ignore"):
        result = values.astype(dtype, copy=False)
    if not np.isfinite(result).all():
        if np.isfinite(values).all():
            raise FormatError(
                f"Tensor {name!r} has a value of {np.abs(values).max():g}, too large for float16: "
                "convert to q0f32 or q4f32_1."
            )
        raise FormatError(f"Tensor {name!r} has a value that is not finite.")
    return result


class _Converter:
    """Makes the tensors that one tensor of MLC is stored as."""

    def __init__(self, checkpoint: _Checkpoint, quantization: Quantization) -> None:
        self._checkpoint = checkpoint
        self._quantization = quantization
        self._pool = ThreadPoolExecutor(min(_MAX_THREADS, os.cpu_count() or 1))

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)

    def convert(self, parameter: Parameter, part: Part) -> dict[str, NDArray[Any]]:
        """Return the tensors of `part` by the names under which they are stored."""
        cols, dtype = parameter.cols, self._quantization.dtype
        if not (self._quantization.grouped and cols):
            plain = np.empty((part.rows, cols) if cols else part.rows, dtype)
            for begin, values in self._run(parameter, part, lambda values: values):
                plain[begin : begin + len(values)] = values
            return {part.name: plain}
        groups, base = count_groups(cols), part.name.removesuffix("weight")
        words = np.empty((part.rows, groups * WORDS_PER_GROUP), np.uint32)
        scales = np.empty((part.rows, groups), dtype)
        for begin, (some, their) in self._run(parameter, part, quantize_groups):
            words[begin : begin + len(some)] = some
            scales[begin : begin + len(some)] = their
        return {f"{base}q_weight": words, f"{base}q_scale": scales}

    def _run(
        self, parameter: Parameter, part: Part, function: Callable[[NDArray[Any]], Any]
    ) -> Iterator[tuple[int, Any]]:
        """Yield the first row of each block and `function` of its values."""

        def convert(block: tuple[StoredTensor, int, int, int]) -> tuple[int, Any]:
            tensor, begin, end, row = block
            values = tensor.read_rows(begin, end)
            return row, function(
                _cast(tensor.name, values, parameter.offset, self._quantization.dtype)
            )

        return self._pool.map(convert, self._checkpoint.list_blocks(part, parameter.cols))


def _count_bytes(parameter: Parameter, quantization: Quantization) -> int:
    rows, itemsize = parameter.shape[0], np.dtype(quantization.dtype).itemsize
    if parameter.cols and quantization.grouped:
        return rows * count_groups(parameter.cols) * (4 * WORDS_PER_GROUP + itemsize)
    return rows * max(parameter.cols, 1) * itemsize


def convert_weight(
    source: Path, quantization: str, output: Path, progress: Progress | None = None
) -> Conversion:
    """Convert the weights of the Hugging Face directory `source` into the directory `output`.

    `quantization` is one of MLC's names: q0f32, q0f16, q4f16_1, q4f32_1. Memory is bounded by the
    largest tensor. `progress` is called with a tensor's name, and how many of how many values are
    done. `output` gets its index, without which it is no model, only when all is written; a former
    conversion in it is replaced then, and not before.

    Raises FormatError when the model is not supported or a file is malformed, ValueError for an
    unknown quantization, OSError when the disk is full or not writable.
    """
    chosen = get_quantization(quantization)
    if output.resolve() == source.resolve():
        raise ValueError(f"The output must be another directory than the source {source}.")
    path = source / "config.json"
    config = parse_fields(from_hf(read_json_object(path), str(path)))
    parameters = list(list_parameters(config))
    converter = _Converter(_Checkpoint(read_directory(source), parameters), chosen)
    total = sum(parameter.shape[0] * max(parameter.cols, 1) for parameter in parameters)
    needed = sum(_count_bytes(parameter, chosen) for parameter in parameters)
    done = 0
    with closing(converter), working_directory(output, needed, _PARTIAL) as work:
        writer = ShardWriter(work)
        for parameter in parameters:
            for part in parameter.parts:
                for name, array in converter.convert(parameter, part).items():
                    writer.add(name, array)
                done += part.rows * max(parameter.cols, 1)
                if progress:
                    progress(part.name, done, total)
        writer.finish(total)
        publish(work, output, INDEX_NAMES, output.glob("params_shard_*.bin"))
    return Conversion(total, writer.total_bytes)
