"""The two files of a measured model hold the same values, each in its own layout."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ci.bench import gguf
from ci.bench.gguf import F16, F32, Q4_0, TensorInfo, pack_q4_0
from ci.bench.models import (
    ENCODINGS,
    GGUF_NAME,
    Encoding,
    MatrixSpec,
    Part,
    Shape,
    ensure_models,
    matrices,
    norms,
    step_bytes,
)

TINY = Shape(
    hidden=64, intermediate=96, layers=2, heads=4, kv_heads=2, head_dim=16, vocab=70, context=32
)
Tensors = dict[str, NDArray[Any]]
both = pytest.mark.parametrize("encoding", ENCODINGS, ids=lambda encoding: encoding.mlc)


class Reader:
    """Reads a GGUF file, as its specification says, with no word of the writer's."""

    def __init__(self, path: Path) -> None:
        self.bytes = path.read_bytes()
        self.at = 0
        magic, version, tensors, pairs = self.take("<4sIQQ")
        assert (magic, version) == (b"GGUF", 3)
        self.metadata = {self.string(): self.value() for _ in range(pairs)}
        infos = [self.info() for _ in range(tensors)]
        start = -(-self.at // 32) * 32
        self.tensors = {name: self.data(start + at, shape, kind) for name, at, shape, kind in infos}

    def take(self, layout: str) -> tuple[Any, ...]:
        values = struct.unpack_from(layout, self.bytes, self.at)
        self.at += struct.calcsize(layout)
        return values

    def string(self) -> str:
        (size,) = self.take("<Q")
        self.at += size
        return self.bytes[self.at - size : self.at].decode()

    def value(self) -> str | float:
        (kind,) = self.take("<I")
        if kind == 8:
            return self.string()
        (number,) = self.take({4: "<I", 6: "<f"}[kind])
        return float(number) if kind == 6 else int(number)

    def info(self) -> tuple[str, int, tuple[int, ...], int]:
        name = self.string()
        (count,) = self.take("<I")
        *dimensions, kind, offset = self.take(f"<{count}QIQ")
        assert offset % 32 == 0
        return name, offset, tuple(dimensions[::-1]), kind

    def data(self, start: int, shape: tuple[int, ...], kind: int) -> NDArray[np.float32]:
        count = int(np.prod(shape))
        if kind != Q4_0:
            dtype = {F32: "<f4", F16: "<f2"}[kind]
            values = np.frombuffer(self.bytes, dtype, count, start)
            return values.reshape(shape).astype(np.float32)
        blocks = np.frombuffer(self.bytes, np.uint8, count // 32 * 18, start).reshape(-1, 18)
        scales = blocks[:, :2].copy().view("<f2").astype(np.float32)
        nibbles = np.concatenate([blocks[:, 2:] & 15, blocks[:, 2:] >> 4], axis=1)
        weights: NDArray[np.float32] = (nibbles.astype(np.float32) - 8) * scales
        return weights.reshape(shape)


def read_mlc(directory: Path) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield the tensors, quantized ones dequantized, by the definition of the format."""
    index = json.loads((directory / "tensor-cache.json").read_text())
    raw: Tensors = {}
    for shard in index["records"]:
        data = (directory / shard["dataPath"]).read_bytes()
        assert len(data) == shard["nbytes"]
        for record in shard["records"]:
            values = np.frombuffer(data, record["dtype"], offset=record["byteOffset"])
            raw[record["name"]] = values.reshape(record["shape"])
    for name, values in raw.items():
        if name.endswith(".q_weight"):
            shifts = np.arange(0, 32, 4, dtype=np.uint32)
            nibbles = (values[..., None] >> shifts & 15).reshape(len(values), -1)
            scales = raw[name.replace("q_weight", "q_scale")].astype(np.float32)
            weights = (nibbles.astype(np.float32) - 7) * scales.repeat(32, axis=1)
            yield name.replace("q_weight", "weight"), weights
        elif not name.endswith(".q_scale"):
            yield name, values.astype(np.float32)


def interleaved(matrix: NDArray[Any], heads: int) -> NDArray[Any]:
    """Return the rows as llama.cpp's own converter orders those of q and k."""
    shape = matrix.shape
    return matrix.reshape(heads, 2, shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(shape)


@both
def test_both_files_hold_the_same_model(encoding: Encoding, tmp_path: Path) -> None:
    directory = ensure_models(tmp_path, TINY, encoding)
    mlc, peer = dict(read_mlc(directory)), Reader(directory / GGUF_NAME).tensors
    matched = set()
    for spec in matrices(TINY):
        start = 0
        for part in spec.parts:
            rows = mlc[f"{spec.mlc}.weight"][start : start + part.rows]
            start += part.rows
            if heads := {"attn_q": TINY.heads, "attn_k": TINY.kv_heads}.get(part.gguf[6:]):
                rows = interleaved(rows, heads)
            np.testing.assert_array_equal(peer[f"{part.gguf}.weight"], rows)
            matched.add(f"{part.gguf}.weight")
    for name, gguf_name in norms(TINY):
        np.testing.assert_array_equal(peer[f"{gguf_name}.weight"], mlc[f"{name}.weight"])
        matched.add(f"{gguf_name}.weight")
    assert matched == set(peer)


@both
def test_activations_keep_their_size(encoding: Encoding, tmp_path: Path) -> None:
    for name, values in read_mlc(ensure_models(tmp_path, TINY, encoding)):
        if "norm" not in name:
            assert values.std() * np.sqrt(values.shape[1]) == pytest.approx(1, abs=0.15)


def test_metadata_says_the_shape(tmp_path: Path) -> None:
    directory = ensure_models(tmp_path, TINY, ENCODINGS[0])
    metadata = Reader(directory / GGUF_NAME).metadata
    assert metadata["general.architecture"] == "llama"
    assert metadata["llama.block_count"] == TINY.layers
    assert metadata["llama.rope.freq_base"] == 10000.0
    config = json.loads((directory / "mlc-chat-config.json").read_text())["model_config"]
    assert (config["hidden_size"], config["head_dim"]) == (TINY.hidden, TINY.head_dim)


def test_files_are_written_once_and_whole(tmp_path: Path) -> None:
    directory = ensure_models(tmp_path, TINY, ENCODINGS[0])
    written = (directory / GGUF_NAME).stat().st_mtime_ns
    assert ensure_models(tmp_path, TINY, ENCODINGS[0]) == directory
    assert (directory / GGUF_NAME).stat().st_mtime_ns == written
    assert list(tmp_path.iterdir()) == [directory]


def test_every_row_of_a_part_is_stored_once() -> None:
    order = Part("blk.0.attn_q", 48, rotated_heads=3).order()
    assert order[:4].tolist() == [0, 8, 1, 9]
    assert sorted(order) == list(range(48))


def test_q4_0_block_is_18_bytes_with_the_halves_in_its_nibbles() -> None:
    values = np.zeros((1, 32), np.int8)
    values[0, 0], values[0, 16] = -8, 7
    packed = pack_q4_0(values, np.ones((1, 1), np.float16))
    assert packed.reshape(-1)[:4].tolist() == [0x00, 0x3C, 0xF0, 0x88]
    assert packed.size == TensorInfo("x", (1, 32), Q4_0).bytes == 18


def test_step_reads_all_but_the_embedding() -> None:
    spec = MatrixSpec("lm_head", TINY.hidden, (Part("output", TINY.vocab),))
    with_table = sum(m.rows * m.cols for m in matrices(TINY))
    assert step_bytes(TINY, ENCODINGS[1]) == 2 * (with_table - spec.rows * spec.cols)


def test_header_is_padded_to_the_alignment(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    with path.open("wb") as file:
        gguf.write_header(file, {"a": 1}, [TensorInfo("t", (3,), F32)])
        assert file.tell() % gguf.ALIGNMENT == 0
