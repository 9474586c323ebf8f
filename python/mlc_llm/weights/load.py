"""MLC model directories become what the native core takes."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlc_llm.models import ModelConfig, Parameter, from_mlc, list_parameters, parse_fields
from mlc_llm.models.errors import FormatError
from mlc_llm.models.fields import Fields
from mlc_llm.models.json_file import read_json_object
from mlc_llm.quantization import QUANTIZATIONS, WORDS_PER_GROUP, count_groups
from mlc_llm.weights.files import resolve_inside
from mlc_llm.weights.tensor_cache import map_tensors, read_index

CHAT_CONFIG = "mlc-chat-config.json"

Tensors = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class LoadedModel:
    """A model directory in memory.

    ``tensors`` has "weight:NAME" for every parameter and "scale:NAME" for the quantized ones, as
    ``mlc_llm.model_create`` takes them: matrices [rows, cols] float16 or float32, or uint32
    [rows, groups * 4] with scales [rows, groups]; vectors float32. They lie in the mapped files.
    ``chat_config`` is the content of mlc-chat-config.json.
    """

    config: ModelConfig
    tensors: Tensors
    quantization: str
    chat_config: dict[str, Any]


def read_chat_config(directory: Path) -> dict[str, Any]:
    """Return the content of a directory's mlc-chat-config.json.

    Raises FormatError when it is missing or malformed.
    """
    path = directory / CHAT_CONFIG
    if not path.exists():
        if (directory / "config.json").exists():
            raise FormatError(
                f"{directory} is a model of Hugging Face, not of MLC. Convert it with `mlc_llm "
                "convert_weight` and `mlc_llm gen_config`."
            )
        raise FormatError(f"{directory} has no {CHAT_CONFIG}: make one with `mlc_llm gen_config`.")
    return read_json_object(resolve_inside(directory, CHAT_CONFIG, str(directory)))


def _check(name: str, array: NDArray[Any], shape: tuple[int, ...], dtypes: str) -> None:
    if array.shape != shape:
        wanted = " x ".join(map(str, shape))
        found = " x ".join(map(str, array.shape))
        raise FormatError(
            f"Tensor {name!r} is {found}, but the model's configuration says {wanted}."
        )
    if array.dtype.name not in dtypes.split():
        raise FormatError(f"Tensor {name!r} is {array.dtype.name}; it should be {dtypes}.")


def _stack(arrays: list[NDArray[Any]]) -> NDArray[Any]:
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


class _Source:
    """Tensors by MLC's names; what is left after all were taken is an error."""

    def __init__(self, tensors: Tensors) -> None:
        self._tensors = tensors

    def take(self, name: str, shape: tuple[int, ...], dtypes: str) -> NDArray[Any]:
        if name not in self._tensors:
            raise FormatError(f"Tensor {name!r} is missing from the model directory.")
        array = self._tensors.pop(name)
        _check(name, array, shape, dtypes)
        return array

    def has(self, name: str) -> bool:
        return name in self._tensors

    def finish(self) -> None:
        if self._tensors:
            names = ", ".join(sorted(self._tensors)[:5])
            raise FormatError(
                f"{len(self._tensors)} tensors are not part of this model, such as {names[:400]}."
            )


def _load_matrix(source: _Source, parameter: Parameter) -> Tensors:
    cols, groups = parameter.cols, count_groups(parameter.cols)
    weights, scales = [], []
    for part in parameter.parts:
        base = part.name.removesuffix("weight")
        if source.has(f"{base}q_weight"):
            shape = (part.rows, groups * WORDS_PER_GROUP)
            weights.append(source.take(f"{base}q_weight", shape, "uint32"))
            shape = (part.rows, groups)
            scales.append(source.take(f"{base}q_scale", shape, "float16 float32"))
        else:
            weights.append(source.take(part.name, (part.rows, cols), "float16 float32"))
    if len({(array.dtype, array.shape[1]) for array in weights}) > 1 or (
        scales and len(scales) != len(weights)
    ):
        raise FormatError(f"The parts of {parameter.name!r} are not stored alike.")
    result = {f"weight:{parameter.name}": _stack(weights)}
    if scales:
        result[f"scale:{parameter.name}"] = _stack(scales)
    return result


def _load_vector(source: _Source, parameter: Parameter) -> Tensors:
    arrays = [source.take(part.name, (part.rows,), "float16 float32") for part in parameter.parts]
    return {f"weight:{parameter.name}": _stack(arrays).astype(np.float32)}


def load_model_dir(path: Path) -> LoadedModel:
    """Load an MLC model directory: one of `convert_weight` or one that MLC published.

    Weights are mapped and not read. Raises FormatError when a file is missing, malformed, or does
    not fit the others, and for a model that is not supported.
    """
    chat_config = read_chat_config(path)
    name = Fields(chat_config, CHAT_CONFIG).text("quantization")
    if name not in QUANTIZATIONS:
        known = ", ".join(QUANTIZATIONS)
        raise FormatError(f"Quantization {name[:80]!r} of {path} is not supported; {known} are.")
    quantization = QUANTIZATIONS[name]
    config = parse_fields(from_mlc(chat_config))
    config = dataclasses.replace(config, half_cache=quantization.dtype == "float16")
    source = _Source(dict(map_tensors(read_index(path))))
    tensors: Tensors = {}
    for parameter in list_parameters(config):
        tensors |= (_load_matrix if parameter.cols else _load_vector)(source, parameter)
    source.finish()
    return LoadedModel(config, tensors, quantization.name, chat_config)
