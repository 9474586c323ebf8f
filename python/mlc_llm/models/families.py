"""The model families that are supported."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from mlc_llm.models.errors import FormatError


@dataclass(frozen=True)
class Family:
    """What sets one family apart.

    ``defaults`` are for fields that a config.json may omit; source: transformers'
    ``configuration_*.py``.
    """

    name: str
    architectures: tuple[str, ...]
    label: str
    defaults: dict[str, Any] = field(default_factory=dict)
    gemma: bool = False  # norms add one, embeddings are scaled, norms follow both halves of a layer
    qk_norm: bool = False
    qkv_bias: bool = False


_GEMMA_DEFAULTS: dict[str, Any] = {
    "num_key_value_heads": 4,
    "head_dim": 256,
    "query_pre_attn_scalar": 256,
    "sliding_window": 4096,
    "tie_word_embeddings": True,
    "rms_norm_eps": 1e-6,
}
_FAMILIES = (
    Family("llama", ("LlamaForCausalLM",), "Llama 1 to 3", {"max_position_embeddings": 2048}),
    Family(
        "mistral",
        ("MistralForCausalLM",),
        "Mistral",
        {"num_key_value_heads": 8, "max_position_embeddings": 131072, "sliding_window": 4096},
    ),
    Family(
        "qwen2",
        ("Qwen2ForCausalLM",),
        "Qwen2 and Qwen2.5",
        {"max_position_embeddings": 32768, "sliding_window": 4096, "max_window_layers": 28},
        qkv_bias=True,
    ),
    Family(
        "qwen3",
        ("Qwen3ForCausalLM",),
        "Qwen3",
        {
            "max_position_embeddings": 32768,
            "sliding_window": 4096,
            "max_window_layers": 28,
            "head_dim": 128,
        },
        qk_norm=True,
    ),
    Family(
        "phi3",
        ("Phi3ForCausalLM",),
        "Phi-3 and Phi-4",
        {
            "max_position_embeddings": 4096,
            "original_max_position_embeddings": 4096,
            "rms_norm_eps": 1e-5,
        },
    ),
    Family(
        "gemma2",
        ("Gemma2ForCausalLM",),
        "Gemma 2",
        {
            "max_position_embeddings": 8192,
            "attn_logit_softcapping": 50.0,
            "final_logit_softcapping": 30.0,
            **_GEMMA_DEFAULTS,
        },
        gemma=True,
    ),
    Family(
        "gemma3_text",
        ("Gemma3ForCausalLM", "Gemma3ForConditionalGeneration"),
        "Gemma 3 (text)",
        {
            "num_attention_heads": 8,
            "vocab_size": 262208,
            "max_position_embeddings": 131072,
            "rope_theta": 1e6,
            "rope_local_base_freq": 1e4,
            "sliding_window_pattern": 6,
            **_GEMMA_DEFAULTS,
        },
        gemma=True,
        qk_norm=True,
    ),
)
FAMILIES = {family.name: family for family in _FAMILIES}
_SUPPORTED = ", ".join(f"{family.label} ({family.name})" for family in _FAMILIES)


def get_family(name: str, source: str) -> Family:
    """Return a family by its ``model_type``. Raises FormatError with the list of what there is."""
    family = FAMILIES.get("gemma3_text" if name == "gemma3" else name)
    if family is None:
        raise FormatError(
            f"{source}: models of type {name[:80]!r} are not supported. Supported: {_SUPPORTED}."
        )
    return family
