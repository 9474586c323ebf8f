"""Tiny Hugging Face model directories with random weights, of every family, by NumPy alone.

``make_hf_model(directory, "llama")`` writes config.json, model.safetensors (or shards with an
index), a byte-level tokenizer and generation_config.json: what transformers reads.
Weights are such that every part of a model matters: biases and norms are not trivial, windows and
rope scaling act within a few tokens, logits are spread.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

FAMILIES = ("llama", "llama3", "mistral", "qwen2", "qwen3", "phi3", "gemma2", "gemma3_text")

BOS, EOS, UNK, PAD = range(256, 260)
_SPECIALS = {"<s>": BOS, "</s>": EOS, "<unk>": UNK, "<pad>": PAD}
_CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}[{{ message['role'] }}]{{ message['content'] }}"
    "{{ eos_token }}{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"
)

_SHAPE: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 112,  # not whole groups of 32
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 288,  # more than the tokenizer knows, as in many models
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
    "bos_token_id": BOS,
    "eos_token_id": EOS,
    "pad_token_id": PAD,
    "torch_dtype": "float32",
}
_SILU = {"hidden_act": "silu"}
_GEMMA = {
    "head_dim": 32,
    "hidden_activation": "gelu_pytorch_tanh",
    "query_pre_attn_scalar": 24,
    "sliding_window": 8,
    "tie_word_embeddings": True,
    "rms_norm_eps": 1e-6,
}
_FAMILY: dict[str, dict[str, Any]] = {
    "llama": {"architectures": ["LlamaForCausalLM"], "model_type": "llama", **_SILU},
    "llama3": {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "tie_word_embeddings": True,
        "rope_theta": 500000.0,
        "rope_scaling": {
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        },
        **_SILU,
    },
    "mistral": {
        "architectures": ["MistralForCausalLM"],
        "model_type": "mistral",
        "sliding_window": 12,
        **_SILU,
    },
    "qwen2": {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "rope_theta": 1000000.0,
        "use_sliding_window": False,
        "sliding_window": 8,
        "max_window_layers": 2,
        **_SILU,
    },
    "qwen3": {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "head_dim": 32,
        "attention_bias": False,
        "rope_theta": 1000000.0,
        "tie_word_embeddings": True,
        **_SILU,
    },
    "phi3": {
        "architectures": ["Phi3ForCausalLM"],
        "model_type": "phi3",
        "original_max_position_embeddings": 32,
        "max_position_embeddings": 128,
        "rope_scaling": {
            "type": "longrope",
            "short_factor": [1.0, 1.05, 1.1, 1.2, 1.3, 1.5, 1.8, 2.0],
            "long_factor": [1.0, 1.3, 1.9, 2.8, 4.0, 5.5, 7.0, 9.0],
        },
        "sliding_window": None,
        **_SILU,
    },
    "gemma2": {
        "architectures": ["Gemma2ForCausalLM"],
        "model_type": "gemma2",
        "attn_logit_softcapping": 2.0,
        "final_logit_softcapping": 2.0,
        **_GEMMA,
    },
    "gemma3_text": {
        "architectures": ["Gemma3ForCausalLM"],
        "model_type": "gemma3_text",
        "rope_theta": 1000000.0,
        "rope_local_base_freq": 10000.0,
        "rope_scaling": {"rope_type": "linear", "factor": 8.0},
        "sliding_window_pattern": 3,
        **_GEMMA,
    },
}


def make_config(family: str, **overrides: Any) -> dict[str, Any]:
    """Return config.json of a tiny model; `overrides` replace or add keys."""
    return {**_SHAPE, **_FAMILY[family], **overrides}


def _add_attention(shapes: dict[str, tuple[int, ...]], prefix: str, config: dict[str, Any]) -> None:
    family, hidden = config["model_type"], config["hidden_size"]
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    head_dim = config.get("head_dim") or hidden // heads
    attention = f"{prefix}.self_attn"
    rows = {
        "q_proj": heads * head_dim,
        "k_proj": kv_heads * head_dim,
        "v_proj": kv_heads * head_dim,
    }
    if family == "phi3":
        rows = {"qkv_proj": sum(rows.values())}
    for name, count in rows.items():
        shapes[f"{attention}.{name}.weight"] = (count, hidden)
        if family == "qwen2" or config.get("attention_bias"):
            shapes[f"{attention}.{name}.bias"] = (count,)
    shapes[f"{attention}.o_proj.weight"] = (hidden, heads * head_dim)
    if family in ("qwen3", "gemma3_text"):
        shapes[f"{attention}.q_norm.weight"] = (head_dim,)
        shapes[f"{attention}.k_norm.weight"] = (head_dim,)


def list_shapes(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor of a model, by its Hugging Face name."""
    family, hidden = config["model_type"], config["hidden_size"]
    inner, vocab = config["intermediate_size"], config["vocab_size"]
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (vocab, hidden)}
    norms = ["input_layernorm", "post_attention_layernorm"]
    if family.startswith("gemma"):
        norms += ["pre_feedforward_layernorm", "post_feedforward_layernorm"]
    gate_up = {"gate_proj": inner, "up_proj": inner}
    if family == "phi3":
        gate_up = {"gate_up_proj": 2 * inner}
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}"
        _add_attention(shapes, prefix, config)
        shapes |= {f"{prefix}.mlp.{name}.weight": (rows, hidden) for name, rows in gate_up.items()}
        shapes[f"{prefix}.mlp.down_proj.weight"] = (hidden, inner)
        shapes |= {f"{prefix}.{norm}.weight": (hidden,) for norm in norms}
    shapes["model.norm.weight"] = (hidden,)
    if not config["tie_word_embeddings"]:
        shapes["lm_head.weight"] = (vocab, hidden)
    return shapes


def make_weights(config: dict[str, Any], seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """Return random float32 weights by their Hugging Face names."""
    random = np.random.default_rng(seed)
    gemma = config["model_type"].startswith("gemma")
    norm_mean = 0.0 if gemma else 1.0  # Gemma's norms add one
    embedding = 0.15 if gemma else 0.5  # Gemma scales by sqrt(hidden)
    weights = {}
    for name, shape in list_shapes(config).items():
        values = random.standard_normal(shape, np.float32)
        if name.endswith("norm.weight"):
            values = norm_mean + 0.2 * values
        elif "embed_tokens" in name:
            values *= embedding
        elif name.endswith(".weight"):
            values *= 1.5 / np.sqrt(shape[-1])
        weights[name] = values.astype(np.float32)
    return weights


def to_bfloat16(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Return the upper halves of float32, rounded to nearest even."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def write_safetensors(path: Path, tensors: dict[str, NDArray[Any]], dtype: str = "float32") -> None:
    """Write `tensors` as float32, float16 or bfloat16. Source: the safetensors format's README."""
    code = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}[dtype]
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    blobs, offset = [], 0
    for name, values in tensors.items():
        stored = to_bfloat16(values) if dtype == "bfloat16" else values.astype(dtype)
        end = offset + stored.nbytes
        header[name] = {"dtype": code, "shape": list(values.shape), "data_offsets": [offset, end]}
        blobs.append(stored.tobytes())
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(blobs))


def _byte_alphabet() -> list[str]:
    """Return the characters that stand for bytes 0 to 255 in GPT-2's byte-level vocabulary."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(byte if byte in printable else next(others)) for byte in range(256)]


def make_tokenizer() -> dict[str, Any]:
    """Return tokenizer.json: one token for each byte, and the special tokens."""
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": number, "content": content, "special": True, **flags}
            for content, number in _SPECIALS.items()
        ],
        "normalizer": None,
        "pre_tokenizer": {**byte_level, "use_regex": False},
        "post_processor": None,
        "decoder": {**byte_level, "use_regex": False},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "vocab": {character: byte for byte, character in enumerate(_byte_alphabet())},
            "merges": [],
        },
    }


def write_tokenizer(directory: Path) -> None:
    """Write tokenizer.json, its configuration with a chat template, generation_config.json."""
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "pad_token": "<pad>",
        "chat_template": _CHAT_TEMPLATE,
    }
    generation = {"bos_token_id": BOS, "eos_token_id": EOS, "temperature": 0.6, "top_p": 0.9}
    (directory / "tokenizer.json").write_text(json.dumps(make_tokenizer()), encoding="utf-8")
    (directory / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    (directory / "generation_config.json").write_text(json.dumps(generation), encoding="utf-8")


def make_hf_model(
    directory: Path,
    family: str,
    *,
    seed: int = 0,
    dtype: str = "float32",
    shards: int = 1,
    **overrides: Any,
) -> Path:
    """Write a tiny model of `family` into `directory` and return it.

    `dtype` is float32, float16 or bfloat16; more than one of `shards` writes an index too;
    `overrides` go into config.json.
    """
    directory.mkdir(parents=True, exist_ok=True)
    config = make_config(family, **overrides)
    (directory / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    weights = make_weights(config, seed)
    if shards == 1:
        write_safetensors(directory / "model.safetensors", weights, dtype)
    else:
        names = sorted(weights)
        weight_map: dict[str, str] = {}
        for shard in range(shards):
            file = f"model-{shard + 1:05}-of-{shards:05}.safetensors"
            part = {name: weights[name] for name in names[shard::shards]}
            write_safetensors(directory / file, part, dtype)
            weight_map |= dict.fromkeys(part, file)
        index = {"metadata": {"total_size": 0}, "weight_map": weight_map}
        text = json.dumps(index)
        (directory / "model.safetensors.index.json").write_text(text, encoding="utf-8")
    write_tokenizer(directory)
    return directory
