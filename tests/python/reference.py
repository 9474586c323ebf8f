"""What a language model's logits should be: every family in plain NumPy and float64.

The judge of the engine, so that it reads ``config.json`` and safetensors itself and shares no code
with the package. Written for reading; the whole sequence is computed at once, without a cache.
Sources: the papers (RMSNorm, RoPE, SwiGLU, GQA, YaRN, LongRoPE, Gemma 2 and 3) and, where those are
silent, transformers' ``modeling_*.py`` and ``modeling_rope_utils.py``, with which
``test_transformers.py`` compares it.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

Array = NDArray[np.float64]
Float32s = NDArray[np.float32]
GROUP_SIZE = 32
HALF = ("q0f16", "q4f16_1")  # of which all but 4-bit values is float16


def read_safetensors(path: Path) -> dict[str, Float32s]:
    """Return the tensors of one safetensors file, by name."""
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        begin, end = (start + offset for offset in entry["data_offsets"])
        if entry["dtype"] == "BF16":
            bits = np.frombuffer(data[begin:end], "<u2").astype(np.uint32) << 16
            values = bits.view(np.float32)
        else:
            values = np.frombuffer(data[begin:end], {"F32": "<f4", "F16": "<f2"}[entry["dtype"]])
        tensors[name] = values.astype(np.float32).reshape(entry["shape"])
    return tensors


def quantize_dequantize(weight: NDArray[np.floating[Any]]) -> Array:
    """Return what MLC's 4-bit format keeps of a matrix: 15 steps in each group of 32.

    MLC computes in the dtype of the model, so that float16 decides about what is nearly a tie.
    """
    dtype = weight.dtype.type
    kept = np.empty(weight.shape)
    for begin in range(0, weight.shape[1], GROUP_SIZE):
        group = weight[:, begin : begin + GROUP_SIZE]
        scale = np.abs(group).max(axis=1, keepdims=True) / dtype(7)
        steps = np.rint(group / np.where(scale == 0, dtype(1), scale) + dtype(7))
        kept[:, begin : begin + GROUP_SIZE] = (np.clip(steps, 0, 14) - 7) * scale.astype(np.float64)
    return kept


def store(weight: Float32s, quantization: str) -> Array:
    """Return what a converted model keeps of one weight."""
    dtype = np.float16 if quantization in HALF else np.float32
    stored: NDArray[np.floating[Any]] = weight.astype(dtype)
    if weight.ndim > 1 and quantization.startswith("q4"):
        return quantize_dequantize(stored)
    return stored.astype(np.float64)


def round_to_int8(x: Array) -> Array:
    """Return `x` as the engine's quantized products see it: int8 in groups of 32 along a row."""
    kept = np.empty_like(x)
    for begin in range(0, x.shape[-1], GROUP_SIZE):
        group = x[..., begin : begin + GROUP_SIZE]
        scale = np.abs(group).max(axis=-1, keepdims=True) / 127
        kept[..., begin : begin + GROUP_SIZE] = np.rint(group / np.where(scale, scale, 1)) * scale
    return kept


def rms_norm(x: Array, weight: Array, epsilon: float) -> Array:
    mean: Array = np.mean(x * x, axis=-1, keepdims=True)
    normed: Array = x / np.sqrt(mean + epsilon) * weight
    return normed


def silu(x: Array) -> Array:
    activated: Array = x / (1 + np.exp(-x))
    return activated


def gelu_tanh(x: Array) -> Array:
    activated: Array = x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return activated


def soft_cap(x: Array, cap: float | None) -> Array:
    return cap * np.tanh(x / cap) if cap else x


def softmax(x: Array) -> Array:
    weights: Array = np.exp(x - x.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    return weights


def rotate(x: Array, frequencies: Array, factor: float) -> Array:
    """Turn the first 2 * len(frequencies) values of each head in `x` [length, heads, dim]."""
    angles = np.arange(len(x))[:, None, None] * frequencies
    cos, sin = factor * np.cos(angles), factor * np.sin(angles)
    first, second, rest = np.split(x, [len(frequencies), 2 * len(frequencies)], axis=-1)
    return np.concatenate([first * cos - second * sin, second * cos + first * sin, rest], axis=-1)


def scale_llama3(frequencies: Array, rope: Mapping[str, Any]) -> Array:
    """Slow the slow waves down by the factor, leave the fast ones, blend between."""
    turns = rope["original_max_position_embeddings"] * frequencies / (2 * math.pi)
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    fast = np.clip((turns - low) / (high - low), 0, 1)
    scaled: Array = frequencies * (fast + (1 - fast) / rope["factor"])
    return scaled


def scale_yarn(frequencies: Array, rope: Mapping[str, Any]) -> Array:
    """Slow down by the factor what turns less than `beta_slow` times, leave beyond `beta_fast`."""
    dim = 2 * len(frequencies)
    context, theta = rope["original_max_position_embeddings"], rope["rope_theta"]

    def pair_that_turns(times: float) -> float:
        return dim * math.log(context / (2 * math.pi * times)) / (2 * math.log(theta))

    low = max(math.floor(pair_that_turns(rope.get("beta_fast", 32))), 0)
    high = min(math.ceil(pair_that_turns(rope.get("beta_slow", 1))), dim - 1)
    slow = np.clip((np.arange(len(frequencies)) - low) / max(high - low, 0.001), 0, 1)
    scaled: Array = frequencies * (1 - slow + slow / rope["factor"])
    return scaled


class Reference:
    """The model of a Hugging Face directory.

    `quantization` is as in ``mlc_llm convert_weight``; the weights are what it keeps. Arithmetic is
    exact, or else `rounded` where the engine's is meant to be: with 4-bit weights, what they are
    multiplied with is int8; with a quantization in float16, keys and values are so too.
    """

    def __init__(
        self, directory: Path, quantization: str = "q0f32", *, rounded: bool = False
    ) -> None:
        config = json.loads((directory / "config.json").read_text())
        self.config: dict[str, Any] = config
        self.int8 = rounded and quantization.startswith("q4")
        self.half_cache = rounded and quantization in HALF
        self.gemma: bool = config["model_type"].startswith("gemma")
        self.layers: int = config["num_hidden_layers"]
        self.heads: int = config["num_attention_heads"]
        self.kv_heads: int = config.get("num_key_value_heads") or self.heads
        self.head_dim: int = config.get("head_dim") or config["hidden_size"] // self.heads
        self.epsilon: float = config["rms_norm_eps"]
        self.weights: dict[str, Array] = {}
        for path in sorted(directory.glob("*.safetensors")):
            for name, weight in read_safetensors(path).items():
                plus = self.gemma and name.endswith("norm.weight")  # they store weight - 1
                self.weights[name] = store(weight + 1 if plus else weight, quantization)

    def linear(self, name: str, x: Array) -> Array:
        x = round_to_int8(x) if self.int8 else x
        return x @ self.weights[f"{name}.weight"].T + self.weights.get(f"{name}.bias", 0)

    def norm(self, name: str, x: Array) -> Array:
        return rms_norm(x, self.weights[f"{name}.weight"], self.epsilon)

    def slides(self, layer: int) -> bool:
        """Whether a layer sees a window only."""
        config, family = self.config, self.config["model_type"]
        if not config.get("sliding_window"):
            return False
        if types := config.get("layer_types"):
            return bool(types[layer] == "sliding_attention")
        if family.startswith("qwen"):
            return bool(config.get("use_sliding_window")) and layer >= config["max_window_layers"]
        if self.gemma:
            period = 2 if family == "gemma2" else config.get("sliding_window_pattern", 6)
            return bool((layer + 1) % period)
        return family in ("mistral", "phi3")

    def rope_settings(self, layer: int) -> dict[str, Any]:
        """Return a layer's `rope_theta` and scaling from an old or a new configuration."""
        config = self.config
        slides = self.slides(layer)
        if rope := config.get("rope_parameters"):
            return dict(rope.get("sliding_attention" if slides else "full_attention", rope))
        if slides and config["model_type"] == "gemma3_text":
            return {"rope_theta": config["rope_local_base_freq"]}
        return {"rope_theta": config.get("rope_theta", 1e4), **(config.get("rope_scaling") or {})}

    def rope(self, layer: int, context: int) -> tuple[Array, float]:
        """Return a layer's inverse frequencies, and the factor on cos and sin."""
        config, rope = self.config, self.rope_settings(layer)
        part = rope.get("partial_rotary_factor") or config.get("partial_rotary_factor", 1)
        dim = int(self.head_dim * part)
        frequencies = rope["rope_theta"] ** (-np.arange(0, dim, 2) / dim)
        kind = rope.get("rope_type") or rope.get("type") or "default"
        if kind == "default":
            return frequencies, 1
        if kind == "linear":
            return frequencies / rope["factor"], 1
        if kind == "llama3":
            return scale_llama3(frequencies, rope), 1
        if kind == "yarn":
            return scale_yarn(frequencies, rope), 0.1 * math.log(rope["factor"]) + 1
        assert kind == "longrope", kind
        trained = config["original_max_position_embeddings"]
        growth = config["max_position_embeddings"] / trained
        factors = rope["long_factor" if context > trained else "short_factor"]
        return frequencies / factors, math.sqrt(1 + math.log(growth) / math.log(trained))

    def project(self, layer: int, x: Array) -> tuple[Array, Array, Array]:
        """Return q, k and v, each [length, heads or kv_heads, head_dim]."""
        name = f"model.layers.{layer}.self_attn"
        if f"{name}.qkv_proj.weight" in self.weights:
            qkv = self.linear(f"{name}.qkv_proj", x)
        else:
            qkv = np.concatenate([self.linear(f"{name}.{p}_proj", x) for p in "qkv"], axis=-1)
        qkv = qkv.reshape(len(x), -1, self.head_dim)
        q, k, v = np.split(qkv, [self.heads, self.heads + self.kv_heads], axis=1)
        if f"{name}.q_norm.weight" in self.weights:
            q, k = self.norm(f"{name}.q_norm", q), self.norm(f"{name}.k_norm", k)
        return q, k, v

    def attend(self, layer: int, x: Array, context: int) -> Array:
        length = len(x)
        q, k, v = self.project(layer, x)
        rope = self.rope(layer, context)
        q, k = rotate(q, *rope), rotate(k, *rope)
        if self.half_cache:
            k, v = (part.astype(np.float16).astype(np.float64) for part in (k, v))
        k, v = (np.repeat(part, self.heads // self.kv_heads, axis=1) for part in (k, v))
        scale = self.config.get("query_pre_attn_scalar", self.head_dim) ** -0.5
        scores = scale * np.einsum("ihd,jhd->hij", q, k)
        if self.config["model_type"] == "gemma2":
            scores = soft_cap(scores, self.config["attn_logit_softcapping"])
        distance = np.arange(length)[:, None] - np.arange(length)
        window = self.config["sliding_window"] if self.slides(layer) else length
        seen = (distance >= 0) & (distance < window)
        mixed = np.einsum("hij,jhd->ihd", softmax(np.where(seen, scores, -np.inf)), v)
        return self.linear(f"model.layers.{layer}.self_attn.o_proj", mixed.reshape(length, -1))

    def feed_forward(self, layer: int, x: Array) -> Array:
        name = f"model.layers.{layer}.mlp"
        if f"{name}.gate_up_proj.weight" in self.weights:
            gate, up = np.split(self.linear(f"{name}.gate_up_proj", x), 2, axis=-1)
        else:
            gate, up = (self.linear(f"{name}.{part}_proj", x) for part in ("gate", "up"))
        return self.linear(f"{name}.down_proj", (gelu_tanh if self.gemma else silu)(gate) * up)

    def logits(self, tokens: Sequence[int], context: int | None = None) -> Array:
        """Return the logits [len(tokens), vocab] of one sequence.

        LongRoPE alone asks for `context`, the tokens that there may be in the end; transformers
        takes those that there are, and so does this when it is not given.
        """
        context = context or len(tokens)
        embeddings = self.weights["model.embed_tokens.weight"]
        x = embeddings[np.asarray(tokens)]
        if self.gemma:
            x = x * math.sqrt(self.config["hidden_size"])
        for layer in range(self.layers):
            name = f"model.layers.{layer}"
            attended = self.attend(layer, self.norm(f"{name}.input_layernorm", x), context)
            if self.gemma:
                x = x + self.norm(f"{name}.post_attention_layernorm", attended)
                fed = self.feed_forward(layer, self.norm(f"{name}.pre_feedforward_layernorm", x))
                x = x + self.norm(f"{name}.post_feedforward_layernorm", fed)
            else:
                x = x + attended
                x = x + self.feed_forward(layer, self.norm(f"{name}.post_attention_layernorm", x))
        head = "model.embed_tokens" if self.config["tie_word_embeddings"] else "lm_head"
        logits = self.linear(head, self.norm("model.norm", x))
        return soft_cap(logits, self.config.get("final_logit_softcapping"))
