"""Hostile files: every parser returns, or raises its one error, and touches nothing else.

A run looks at a hundred files of each kind, the same ones each time;
MLC_LLM_FUZZ_EXAMPLES=100000 looks at more, and at others. tests/fuzz/ has the same parsers for a
coverage-guided fuzzer.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from small_models import FAMILIES, make_config, make_hf_model, make_tokenizer

from mlc_llm.models import FormatError, from_hf, from_mlc, list_parameters, parse_fields
from mlc_llm.models.json_file import parse_json_object
from mlc_llm.weights import gen_config, load_model_dir
from mlc_llm.weights.safetensors import parse_header, read_safetensors
from mlc_llm.weights.tensor_cache import map_tensors, read_index

pytestmark = pytest.mark.fuzz

_EXAMPLES = int(os.environ.get("MLC_LLM_FUZZ_EXAMPLES", "100"))
_FUZZ = settings(
    max_examples=_EXAMPLES,
    derandomize=_EXAMPLES <= 100,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
_SHARD = bytes(256)

_numbers = st.one_of(
    st.integers(-2, 70),
    st.sampled_from([2**31, 2**32, 2**53, 2**62, 2**63, 2**64, 10**30, -(2**63), 1e308, 0.5, -0.0]),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
)
_scalars = st.one_of(st.none(), st.booleans(), _numbers, st.text(max_size=8))
_json = st.recursive(
    _scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=8,
)


def _mutate(values: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects like `values`, with some of its fields replaced by anything, or gone."""
    names = st.sampled_from(sorted(values))
    changes = st.dictionaries(names, _json | st.just("gone"), max_size=4)
    return changes.map(
        lambda change: {
            name: change.get(name, value)
            for name, value in values.items()
            if change.get(name) != "gone"
        }
    )


def _nest(values: dict[str, Any], *path: str) -> st.SearchStrategy[dict[str, Any]]:
    """`_mutate` of the object that lies at `path` in `values`."""
    inner = values
    for name in path:
        inner = inner[name]

    def put(new: dict[str, Any]) -> dict[str, Any]:
        copy: dict[str, Any] = json.loads(json.dumps(values))
        target = copy
        for name in path[:-1]:
            target = target[name]
        target[path[-1]] = new
        return copy

    return _mutate(inner).map(put)


def _allow_refusal(parse: Callable[[], object]) -> None:
    try:
        parse()
    except FormatError as error:
        message = str(error)
        assert 10 < len(message) < 2000  # says something, and not all that the file holds


_entry = st.fixed_dictionaries(
    {},
    optional={
        "dtype": st.sampled_from(["F32", "F16", "BF16", "I64", "BOOL", "?"]) | _json,
        "shape": st.lists(_numbers, max_size=4) | _json,
        "data_offsets": st.lists(_numbers, min_size=2, max_size=2) | _json,
    },
)
_header = st.dictionaries(st.text(max_size=5) | st.just("__metadata__"), _entry | _json, max_size=4)


@_FUZZ
@given(header=_header, size=st.integers(0, 400))
@example(header={"a": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 8]}}, size=8)
def test_safetensors_headers(header: dict[str, Any], size: int) -> None:
    _allow_refusal(lambda: parse_header(json.dumps(header).encode(), size, "file"))


@_FUZZ
@given(data=st.binary(max_size=200), length=st.integers(0, 200) | st.integers(0, 2**64 - 1))
def test_safetensors_files(tmp_path: Path, data: bytes, length: int) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(length.to_bytes(8, "little") + data)
    _allow_refusal(lambda: read_safetensors(path))
    path.write_bytes(data)
    _allow_refusal(lambda: read_safetensors(path))


_record = st.fixed_dictionaries(
    {"name": st.text(max_size=3)},
    optional={
        "shape": st.lists(st.integers(1, 8), max_size=3) | _json,
        "dtype": st.sampled_from(["float32", "float16", "uint32"]) | _json,
        "format": st.sampled_from(["raw", "f32-to-bf16"]) | _json,
        "nbytes": st.integers(0, 64) | _json,
        "byteOffset": st.integers(0, 300) | _json,
    },
)
_shard = st.fixed_dictionaries(
    {"records": st.lists(_record, max_size=4) | _json},
    optional={
        "dataPath": st.sampled_from(["a.bin", "../a.bin", "/a.bin", "."]) | _json,
        "nbytes": st.just(len(_SHARD)) | _numbers,
        "format": st.just("raw-shard") | _json,
    },
)
_shards = st.lists(_shard, max_size=3) | _json


@_FUZZ
@given(shards=_shards)
def test_tensor_cache_indexes(tmp_path: Path, shards: Any) -> None:
    (tmp_path / "a.bin").write_bytes(_SHARD)
    (tmp_path / "tensor-cache.json").write_text(json.dumps({"records": shards}), encoding="utf-8")

    def read() -> None:
        for _, values in map_tensors(read_index(tmp_path)):
            values.tobytes()  # every byte of it can be read

    _allow_refusal(read)


@_FUZZ
@given(config=st.sampled_from(FAMILIES).flatmap(lambda family: _mutate(make_config(family))))
def test_configurations_of_hugging_face(config: dict[str, Any]) -> None:
    def parse() -> None:
        model = parse_fields(from_hf(config))
        if model.layers <= 64:
            model.to_native()
            assert list(list_parameters(model))

    _allow_refusal(parse)


@_FUZZ
@given(
    config=_nest(make_config("llama3"), "rope_scaling") | _nest(make_config("phi3"), "rope_scaling")
)
def test_rope_scaling(config: dict[str, Any]) -> None:
    _allow_refusal(lambda: parse_fields(from_hf(config)).to_native())


@pytest.fixture(scope="module")
def chat_configs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    configs = {}
    for family in FAMILIES:
        directory = tmp_path_factory.mktemp(family)
        path = gen_config(
            make_hf_model(directory / "hf", family), "q4f16_1", "LM", directory / "mlc"
        )
        configs[family] = json.loads(path.read_text(encoding="utf-8"))
    return configs


@_FUZZ
@given(data=st.data())
def test_configurations_of_mlc(
    chat_configs: dict[str, dict[str, Any]], data: st.DataObject
) -> None:
    config = chat_configs[data.draw(st.sampled_from(FAMILIES))]
    changed = data.draw(_mutate(config) | _nest(config, "model_config"))
    if changed.get("model_type") == "gemma3_text" and "text_config" in config["model_config"]:
        changed = data.draw(st.just(changed) | _nest(config, "model_config", "text_config"))
    _allow_refusal(lambda: parse_fields(from_mlc(changed)).to_native())


@_FUZZ
@given(data=st.data(), index=st.fixed_dictionaries({"records": _shards}) | _json)
def test_model_directories(
    tmp_path: Path, chat_configs: dict[str, dict[str, Any]], data: st.DataObject, index: Any
) -> None:
    config = chat_configs[data.draw(st.sampled_from(FAMILIES))]
    chat = data.draw(st.just(config) | _mutate(config) | _json)
    (tmp_path / "a.bin").write_bytes(_SHARD)
    (tmp_path / "mlc-chat-config.json").write_text(json.dumps(chat), encoding="utf-8")
    (tmp_path / "tensor-cache.json").write_text(json.dumps(index), encoding="utf-8")
    with pytest.raises(FormatError):
        load_model_dir(tmp_path)


@_FUZZ
@given(data=st.binary(max_size=100) | _json.map(lambda value: json.dumps(value).encode()))
def test_json(data: bytes) -> None:
    _allow_refusal(lambda: parse_json_object(data, "file"))


@_FUZZ
@given(tokenizer=_mutate(make_tokenizer()) | _nest(make_tokenizer(), "model"))
def test_tokenizers_for_gen_config(tmp_path: Path, tokenizer: dict[str, Any]) -> None:
    source = tmp_path / "hf"
    if not source.exists():
        make_hf_model(source, "llama")
    (source / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    _allow_refusal(lambda: gen_config(source, "q4f16_1", "LM", tmp_path / "mlc"))
