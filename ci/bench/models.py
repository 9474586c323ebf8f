"""Models of random weights, for measuring: the same one for mlc_llm and for llama.cpp.

Both files hold the same values, so both compute the same logits, up to the rounding of each; the
bench compares them. MLC's q4f16_1 is `(nibble - 7) * scale` and GGUF's Q4_0 is
`(nibble - 8) * scale`, in the same groups of 32: the values are -7..7 times a scale.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ci.bench.gguf import F16, F32, Q4_0, TensorInfo, pack_q4_0, write_header, write_tensor
from ci.paths import made_whole

FORMAT = 2  # of these files: a change makes them anew
POOL_VALUES = 1 << 22  # random ones that matrices of the same width are made of
GROUP = 32
GGUF_NAME = "model.gguf"
NORM_EPSILON, ROPE_BASE = 1e-5, 10000.0


@dataclass(frozen=True)
class Shape:
    """A Llama of 1.1 billion parameters, as TinyLlama has them."""

    hidden: int = 2048
    intermediate: int = 5632
    layers: int = 22
    heads: int = 32
    kv_heads: int = 4
    head_dim: int = 64
    vocab: int = 32000
    context: int = 2048


LLAMA_8B = Shape(4096, 14336, layers=32, heads=32, kv_heads=8, head_dim=128, vocab=128256)
# For trying out: no figure of it means anything.
TINY = Shape(256, 512, layers=2, heads=4, kv_heads=2, head_dim=64, vocab=32000)


@dataclass(frozen=True)
class Encoding:
    """How weights are stored, in the words of each side."""

    mlc: str
    gguf: str
    gguf_type: int
    bytes_per_value: float


ENCODINGS = (
    Encoding("q4f16_1", "Q4_0", Q4_0, 18 / 32),
    Encoding("q0f16", "F16", F16, 2.0),
)


@dataclass(frozen=True)
class Part:
    """Rows of a matrix that are a tensor of their own in GGUF.

    llama.cpp rotates neighbouring rows of a head, everybody else the halves of it: the rows of
    `rotated_heads` heads are stored in its order.
    """

    gguf: str
    rows: int
    rotated_heads: int = 0

    def order(self) -> NDArray[np.int64]:
        """Return which row of the matrix each row of the GGUF tensor is."""
        rows = np.arange(self.rows)
        if not self.rotated_heads:
            return rows
        return rows.reshape(self.rotated_heads, 2, -1).swapaxes(1, 2).reshape(-1)


@dataclass(frozen=True)
class MatrixSpec:
    """A matrix [sum of the parts' rows, cols] under its MLC name."""

    mlc: str
    cols: int
    parts: tuple[Part, ...]

    @property
    def rows(self) -> int:
        """Rows of all parts, one part after another."""
        return sum(part.rows for part in self.parts)


def matrices(shape: Shape) -> Iterator[MatrixSpec]:
    """Yield every matrix of the model."""
    q, kv = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    hidden, wide = shape.hidden, shape.intermediate
    yield MatrixSpec("model.embed_tokens", hidden, (Part("token_embd", shape.vocab),))
    for i in range(shape.layers):
        mlc, gguf = f"model.layers.{i}", f"blk.{i}"
        qkv = (
            Part(f"{gguf}.attn_q", q, shape.heads),
            Part(f"{gguf}.attn_k", kv, shape.kv_heads),
            Part(f"{gguf}.attn_v", kv),
        )
        gate_up = Part(f"{gguf}.ffn_gate", wide), Part(f"{gguf}.ffn_up", wide)
        yield MatrixSpec(f"{mlc}.self_attn.qkv_proj", hidden, qkv)
        yield MatrixSpec(f"{mlc}.self_attn.o_proj", q, (Part(f"{gguf}.attn_output", hidden),))
        yield MatrixSpec(f"{mlc}.mlp.gate_up_proj", hidden, gate_up)
        yield MatrixSpec(f"{mlc}.mlp.down_proj", wide, (Part(f"{gguf}.ffn_down", hidden),))
    yield MatrixSpec("lm_head", hidden, (Part("output", shape.vocab),))


def norms(shape: Shape) -> Iterator[tuple[str, str]]:
    """Yield the MLC and the GGUF name of every norm's weight."""
    for i in range(shape.layers):
        yield f"model.layers.{i}.input_layernorm", f"blk.{i}.attn_norm"
        yield f"model.layers.{i}.post_attention_layernorm", f"blk.{i}.ffn_norm"
    yield "model.norm", "output_norm"


def step_bytes(shape: Shape, encoding: Encoding) -> float:
    """Return the bytes of weights that decoding one token reads: all but the embedding's table."""
    values = sum(m.rows * m.cols for m in matrices(shape) if m.mlc != "model.embed_tokens")
    return values * encoding.bytes_per_value


def ensure_models(cache: Path, shape: Shape, encoding: Encoding) -> Path:
    """Return a directory that holds the model in both formats; the first time, write it."""
    directory = cache / f"{encoding.mlc}-{FORMAT}"
    if not directory.exists():
        print(f"Writing random {encoding.mlc} and {encoding.gguf} weights (once) ...", flush=True)
        with made_whole(directory) as new:
            write_models(new, shape, encoding)
    return directory


def write_models(directory: Path, shape: Shape, encoding: Encoding) -> None:
    """Write the model in both formats into `directory`."""
    random = np.random.default_rng(1)
    infos = [
        TensorInfo(f"{part.gguf}.weight", (part.rows, spec.cols), encoding.gguf_type)
        for spec in matrices(shape)
        for part in spec.parts
    ]
    infos += [TensorInfo(f"{gguf}.weight", (shape.hidden,), F32) for _, gguf in norms(shape)]
    with ExitStack() as stack:
        gguf = stack.enter_context((directory / GGUF_NAME).open("wb"))
        mlc = MlcWriter(directory)
        write_header(gguf, _gguf_metadata(shape), infos)
        pools: dict[int, Pool] = {}
        for spec in matrices(shape):
            pool = pools.setdefault(spec.cols, Pool(random, spec.cols, encoding))
            rows = pool.choose(random, spec.rows)
            start = 0
            for part in spec.parts:
                write_tensor(gguf, pool.gguf[rows[start + part.order()]])
                start += part.rows
            for suffix, values in pool.mlc.items():
                mlc.add(f"{spec.mlc}.{suffix}", values[rows])
        ones = np.ones(shape.hidden, np.float16)
        for name, _ in norms(shape):
            mlc.add(f"{name}.weight", ones)
            write_tensor(gguf, ones.astype(np.float32))
    mlc.write_index()
    config = _mlc_config(shape, encoding)
    (directory / "mlc-chat-config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")


class MlcWriter:
    """Writes MLC's `params_shard_*.bin`, a tensor in each, and the index of them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.shards: list[dict[str, Any]] = []

    def add(self, name: str, data: NDArray[Any]) -> None:
        """Write one tensor."""
        shard = f"params_shard_{len(self.shards)}.bin"
        data.tofile(self.directory / shard)
        record = {
            "name": name,
            "shape": list(data.shape),
            "dtype": data.dtype.name,
            "format": "raw",
            "nbytes": data.nbytes,
            "byteOffset": 0,
        }
        self.shards.append(
            {
                "dataPath": shard,
                "format": "raw-shard",
                "nbytes": data.nbytes,
                "records": [record],
            }
        )

    def write_index(self) -> None:
        """Write `tensor-cache.json`."""
        index = {"metadata": {"ParamSize": len(self.shards)}, "records": self.shards}
        (self.directory / "tensor-cache.json").write_text(json.dumps(index), encoding="utf-8")


class Pool:
    """Random rows of one width in both formats; to draw each matrix anew would take minutes."""

    def __init__(self, random: np.random.Generator, cols: int, encoding: Encoding) -> None:
        self.rows = POOL_VALUES // cols
        values = random.integers(-7, 8, (self.rows, cols), np.int8)
        scale = 1 / (np.sqrt(cols) * np.sqrt(56 / 3))  # activations keep their size
        factors = random.uniform(0.5, 1.5, (self.rows, cols // GROUP))
        scales = (factors * scale).astype(np.float16)
        self.mlc: dict[str, NDArray[np.generic]]
        if encoding.gguf_type == Q4_0:
            self.mlc = {"q_weight": _pack_mlc(values), "q_scale": scales}
            self.gguf: NDArray[np.generic] = pack_q4_0(values, scales).reshape(self.rows, -1)
        else:
            self.gguf = _dequantize(values, scales)
            self.mlc = {"weight": self.gguf}

    def choose(self, random: np.random.Generator, count: int) -> NDArray[np.int64]:
        """Return the indices of `count` rows, from a random one on."""
        return (np.arange(count) + random.integers(self.rows)) % self.rows


def _dequantize(values: NDArray[np.int8], scales: NDArray[np.float16]) -> NDArray[np.float16]:
    grouped = values.reshape(*scales.shape, GROUP) * scales[..., None].astype(np.float32)
    return grouped.reshape(values.shape).astype(np.float16)


def _pack_mlc(values: NDArray[np.int8]) -> NDArray[np.uint32]:
    nibbles = (values + 7).astype(np.uint8)
    packed = (nibbles[:, 0::2] | nibbles[:, 1::2] << 4).astype(np.uint8)
    return packed.view(np.uint32)  # the first byte is the lowest: little-endian machines alone


def _gguf_metadata(shape: Shape) -> dict[str, str | float]:
    return {
        "general.architecture": "llama",
        "llama.context_length": shape.context,
        "llama.embedding_length": shape.hidden,
        "llama.block_count": shape.layers,
        "llama.feed_forward_length": shape.intermediate,
        "llama.attention.head_count": shape.heads,
        "llama.attention.head_count_kv": shape.kv_heads,
        "llama.attention.layer_norm_rms_epsilon": NORM_EPSILON,
        "llama.rope.dimension_count": shape.head_dim,
        "llama.rope.freq_base": ROPE_BASE,
        "llama.vocab_size": shape.vocab,
        "tokenizer.ggml.model": "none",
    }


def _mlc_config(shape: Shape, encoding: Encoding) -> dict[str, Any]:
    return {
        "version": "0.1.0",
        "model_type": "llama",
        "quantization": encoding.mlc,
        "model_config": {
            "hidden_size": shape.hidden,
            "intermediate_size": shape.intermediate,
            "num_hidden_layers": shape.layers,
            "num_attention_heads": shape.heads,
            "num_key_value_heads": shape.kv_heads,
            "head_dim": shape.head_dim,
            "rms_norm_eps": NORM_EPSILON,
            "position_embedding_base": ROPE_BASE,
            "vocab_size": shape.vocab,
            "tie_word_embeddings": False,
            "context_window_size": shape.context,
        },
        "vocab_size": shape.vocab,
        "context_window_size": shape.context,
        "conv_template": "LM",
    }
