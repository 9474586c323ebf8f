"""The parameters of a model under their three names: native, MLC's and Hugging Face's.

Sources: mlc_llm's ``model/*/*_loader.py``, transformers' ``modeling_*.py``, and
``cpp/model/transformer.h`` for the native names.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mlc_llm.models.config import ModelConfig
from mlc_llm.models.families import FAMILIES, Family


@dataclass(frozen=True)
class Source:
    """A tensor of Hugging Face: [rows, cols] for a matrix, [rows] for a vector."""

    name: str
    rows: int


@dataclass(frozen=True)
class Part:
    """A tensor of MLC, and the tensors that are stacked to make it."""

    name: str
    sources: tuple[Source, ...]

    @property
    def rows(self) -> int:
        """Rows of the stack."""
        return sum(source.rows for source in self.sources)


@dataclass(frozen=True)
class Parameter:
    """A tensor of the native core, and the tensors of MLC that are stacked to make it.

    ``cols`` is 0 for a vector. ``offset`` is added when Hugging Face's becomes MLC's.
    """

    name: str
    parts: tuple[Part, ...]
    cols: int = 0
    offset: float = 0.0

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the native tensor before quantization."""
        rows = sum(part.rows for part in self.parts)
        return (rows, self.cols) if self.cols else (rows,)


# Native name of a norm, its name in Hugging Face and in MLC.
_NORMS = (("attention_norm", "input_layernorm"), ("mlp_norm", "post_attention_layernorm"))
_GEMMA_NORMS = (
    ("attention_norm", "input_layernorm"),
    ("attention_post_norm", "post_attention_layernorm"),
    ("mlp_norm", "pre_feedforward_layernorm"),
    ("mlp_post_norm", "post_feedforward_layernorm"),
)
_PHI3_NAMES = {
    "model.embed_tokens": "transformer.embd",
    "model.layers.": "transformer.h.",
    "model.norm": "transformer.norm",
    "input_layernorm": "ln",
    "self_attn.qkv_proj": "mixer.qkv_proj",
    "self_attn.o_proj": "mixer.out_proj",
}


def _name_in_mlc(family: str, name: str) -> str:
    """Return MLC's name of a tensor that Hugging Face calls `name`."""
    if family == "gemma3_text":
        return f"language_model.{name}"
    if family == "phi3":
        for theirs, mlc in _PHI3_NAMES.items():
            name = name.replace(theirs, mlc)
    return name


def _plain(config: ModelConfig, native: str, name: str, rows: int, cols: int = 0) -> Parameter:
    part = Part(_name_in_mlc(config.family, name), (Source(name, rows),))
    return Parameter(native, (part,), cols)


def _norm(config: ModelConfig, native: str, name: str, size: int) -> Parameter:
    parameter = _plain(config, native, f"{name}.weight", size)
    offset = 1.0 if FAMILIES[config.family].gemma else 0.0
    return Parameter(native, parameter.parts, offset=offset)


def _qkv(config: ModelConfig, native: str, attention: str, kind: str, cols: int) -> Parameter:
    """Return the fused projection of queries, keys and values, or its bias."""
    rows = {"q": config.heads, "k": config.kv_heads, "v": config.kv_heads}
    sources = [
        Source(f"{attention}.{name}_proj.{kind}", count * config.head_dim)
        for name, count in rows.items()
    ]
    if config.family == "gemma3_text":  # MLC leaves them apart
        parts = [Part(_name_in_mlc(config.family, source.name), (source,)) for source in sources]
        return Parameter(native, tuple(parts), cols)
    if config.family == "phi3":
        total = sum(source.rows for source in sources)
        return _plain(config, native, f"{attention}.qkv_proj.{kind}", total, cols)
    fused = "c_attn" if config.family.startswith("qwen") else "qkv_proj"
    return Parameter(native, (Part(f"{attention}.{fused}.{kind}", tuple(sources)),), cols)


def _gate_up(config: ModelConfig, native: str, mlp: str) -> Parameter:
    name = f"{mlp}.gate_up_proj.weight"
    if config.family == "phi3":
        return _plain(config, native, name, 2 * config.intermediate, config.hidden)
    sources = tuple(
        Source(f"{mlp}.{half}_proj.weight", config.intermediate) for half in ("gate", "up")
    )
    part = Part(_name_in_mlc(config.family, name), sources)
    return Parameter(native, (part,), config.hidden)


def _list_layer(config: ModelConfig, family: Family, layer: int) -> Iterator[Parameter]:
    native, prefix = f"layers.{layer}", f"model.layers.{layer}"
    attention, mlp = f"{prefix}.self_attn", f"{prefix}.mlp"
    hidden, heads = config.hidden, config.heads * config.head_dim
    yield _qkv(config, f"{native}.qkv", attention, "weight", hidden)
    if family.qkv_bias:
        yield _qkv(config, f"{native}.qkv_bias", attention, "bias", 0)
    if family.qk_norm:
        for name in ("q_norm", "k_norm"):
            yield _norm(config, f"{native}.{name}", f"{attention}.{name}", config.head_dim)
    out = f"{attention}.o_proj.weight"
    yield _plain(config, f"{native}.attention_out", out, hidden, heads)
    yield _gate_up(config, f"{native}.gate_up", mlp)
    down = f"{mlp}.down_proj.weight"
    yield _plain(config, f"{native}.down", down, hidden, config.intermediate)
    for name, theirs in _GEMMA_NORMS if family.gemma else _NORMS:
        yield _norm(config, f"{native}.{name}", f"{prefix}.{theirs}", hidden)


def list_parameters(config: ModelConfig) -> Iterator[Parameter]:
    """Yield every parameter of a model, in the order in which they are stored."""
    family = FAMILIES[config.family]
    vocab, hidden = config.vocab, config.hidden
    yield _plain(config, "embed", "model.embed_tokens.weight", vocab, hidden)
    for layer in range(config.layers):
        yield from _list_layer(config, family, layer)
    yield _norm(config, "norm", "model.norm", hidden)
    if not config.tie_word_embeddings:
        yield _plain(config, "lm_head", "lm_head.weight", vocab, hidden)
