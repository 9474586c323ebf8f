from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_models import to_bfloat16, write_safetensors

from mlc_llm.models import FormatError
from mlc_llm.weights.safetensors import INDEX_NAME, read_directory, read_safetensors

_VALUES = np.arange(-6, 6, dtype=np.float32).reshape(4, 3) / 8


def _write(path: Path, header: Any, data: bytes = bytes(8), length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return path


def _entry(**changes: Any) -> dict[str, Any]:
    return {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **changes}}


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_values_are_read_in_rows(tmp_path: Path, dtype: str) -> None:
    path = tmp_path / "model.safetensors"
    write_safetensors(path, {"a": _VALUES, "b": _VALUES[0]}, dtype)
    tensors = read_safetensors(path)
    assert list(tensors) == ["a", "b"]
    assert tensors["a"].shape == (4, 3)
    # These values are exact in all three.
    np.testing.assert_array_equal(tensors["a"].read_rows(1, 3), _VALUES[1:3])
    np.testing.assert_array_equal(tensors["b"].read_rows(0, 3), _VALUES[0])


def test_bfloat16_of_the_fixtures_rounds_to_even() -> None:
    values = np.array([1 + 2**-8, 1 + 3 * 2**-8, -2.0], np.float32)
    assert to_bfloat16(values).tolist() == [0x3F80, 0x3F82, 0xC000]


def test_shards_are_one_directory(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "1.safetensors", {"a": _VALUES})
    write_safetensors(tmp_path / "2.safetensors", {"b": _VALUES})
    (tmp_path / "stray.safetensors").write_bytes(b"not listed, not read")
    index = {"weight_map": {"a": "1.safetensors", "b": "2.safetensors"}}
    (tmp_path / INDEX_NAME).write_text(json.dumps(index), encoding="utf-8")
    assert sorted(read_directory(tmp_path)) == ["a", "b"]


def test_a_tensor_in_two_files_is_refused(tmp_path: Path) -> None:
    for name in ("1.safetensors", "2.safetensors"):
        write_safetensors(tmp_path / name, {"a": _VALUES})
    index = {"weight_map": {"a": "1.safetensors", "b": "2.safetensors"}}
    (tmp_path / INDEX_NAME).write_text(json.dumps(index), encoding="utf-8")
    with pytest.raises(FormatError, match="has the tensor 'a' twice"):
        read_directory(tmp_path)


def test_other_formats_are_named(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"a pickle")
    with pytest.raises(FormatError, match=r"pytorch_model\.bin, GGUF\) are not supported"):
        read_directory(tmp_path)


@pytest.mark.parametrize("name", ["../a", "/etc/passwd", "C:a", "a\\b", "", 3, "x/../../a", "a\0b"])
def test_an_index_cannot_name_files_elsewhere(tmp_path: Path, name: Any) -> None:
    (tmp_path / INDEX_NAME).write_text(json.dumps({"weight_map": {"a": name}}), encoding="utf-8")
    with pytest.raises(FormatError, match=r"is not inside|is not a name"):
        read_directory(tmp_path)


@pytest.mark.parametrize("weight_map", [None, [], "a"])
def test_an_index_needs_its_map(tmp_path: Path, weight_map: Any) -> None:
    (tmp_path / INDEX_NAME).write_text(json.dumps({"weight_map": weight_map}), encoding="utf-8")
    with pytest.raises(FormatError, match="has no weight_map"):
        read_directory(tmp_path)


def test_metadata_and_any_order_are_taken(tmp_path: Path) -> None:
    header = {
        "__metadata__": {"format": "pt"},
        "b": {"dtype": "F16", "shape": [2, 1], "data_offsets": [4, 8]},
        "a": {"dtype": "F32", "shape": [], "data_offsets": [0, 4]},
    }
    tensors = read_safetensors(_write(tmp_path / "a.safetensors", header))
    assert {name: tensor.shape for name, tensor in tensors.items()} == {"a": (), "b": (2, 1)}


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (_entry(data_offsets=[0, 4]), "do not fit each other"),
        (_entry(data_offsets=[8, 16]), "overlaps a tensor or follows a hole"),
        (_entry(data_offsets=[8, 0]), "do not fit each other"),
        (_entry(data_offsets=[-8, 0]), "follows a hole"),
        (_entry(data_offsets=[0, 8.0]), "no data_offsets"),
        (_entry(data_offsets=[0]), "no data_offsets"),
        (_entry(data_offsets=None), "no data_offsets"),
        (_entry(shape=[-2]), "impossible shape"),
        (_entry(shape=[1 << 60, 0]), "impossible shape"),
        (_entry(shape=[1] * 9), "impossible shape"),
        (_entry(shape="2"), "impossible shape"),
        (_entry(shape=[1], data_offsets=[0, 4]), "describes 4 bytes of tensors, but 8 follow"),
        (_entry(shape=[4], data_offsets=[0, 16]), "describes 16 bytes of tensors, but 8 follow"),
        (_entry(dtype="Q4"), "unknown dtype 'Q4'"),
        (_entry(dtype=[]), "unknown dtype"),
        ({"a": 1}, "not described by an object"),
        ({**_entry(), "b": _entry()["a"]}, "overlaps"),
        (b"{", "not usable JSON"),
        (b"[]", "must hold a JSON object"),
        (b"", "not usable JSON"),
        (b"[" * 5000, "nested too deeply"),
    ],
)
def test_malformed_headers_are_refused(tmp_path: Path, header: Any, message: str) -> None:
    path = _write(tmp_path / "a.safetensors", header)
    with pytest.raises(FormatError, match=message):
        read_safetensors(path)


@pytest.mark.parametrize("length", [100, 2**63, 2**64 - 1])
def test_impossible_header_lengths_are_refused(tmp_path: Path, length: int) -> None:
    path = _write(tmp_path / "a.safetensors", _entry(), length=length)
    with pytest.raises(FormatError, match=f"states a header of {length} bytes"):
        read_safetensors(path)


def test_a_giant_header_is_refused_before_it_is_read(tmp_path: Path) -> None:
    length = (16 << 20) + 1
    path = _write(tmp_path / "a.safetensors", b"", b"", length=length)
    os.truncate(path, 8 + length)
    with pytest.raises(FormatError, match=f"states a header of {length} bytes"):
        read_safetensors(path)


def test_short_and_missing_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    with pytest.raises(FormatError, match="cannot be read"):
        read_safetensors(path)
    path.write_bytes(b"1234567")
    with pytest.raises(FormatError, match="too short"):
        read_safetensors(path)


def test_integers_are_listed_but_not_converted(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.safetensors", _entry(dtype="I32"))
    with pytest.raises(FormatError, match="is I32; only F32, F16, BF16"):
        read_safetensors(path)["a"].read_rows(0, 2)
