"""From the fields of a configuration to a ModelConfig."""

from __future__ import annotations

import math

from mlc_llm.models.config import ModelConfig
from mlc_llm.models.errors import FormatError
from mlc_llm.models.families import FAMILIES, Family
from mlc_llm.models.fields import MAX_LIST, Fields
from mlc_llm.models.rope import ROPE_KINDS, Rope

_MAX_CONTEXT = 1 << 24
_ACTIVATIONS = {False: {"silu": "silu", "swish": "silu"}, True: {"gelu_pytorch_tanh": "gelu_tanh"}}


def _parse_rope(fields: Fields, head_dim: int, positions: int) -> Rope:
    share = fields.number("partial_rotary_factor", 1.0, high=1)
    dim = int(head_dim * share)
    if dim < 2 or dim % 2:  # noqa: PLR2004 - pairs
        raise FormatError(f"{fields.source}: {dim} values of a head rotate; it must be even.")
    theta = fields.number("rope_theta", 10000.0)
    scaling = fields.child("rope_scaling")
    kind = scaling.text("rope_type", scaling.text("type", "default"))
    if fields.values["model_type"] == "phi3" and kind in ("su", "yarn"):
        kind = "longrope"  # its names of before
    if kind not in ROPE_KINDS:
        raise FormatError(
            f"{scaling.source}: rope scaling {kind[:80]!r} is not supported. "
            f"Supported: {', '.join(ROPE_KINDS)}."
        )
    if kind in ("default", "dynamic"):
        return Rope(dim, theta, kind)
    original = scaling.integer("original_max_position_embeddings", positions, high=_MAX_CONTEXT)
    # One beside the scaling comes first, as in transformers.
    original = fields.integer("original_max_position_embeddings", original, high=_MAX_CONTEXT)
    attention_factor = None
    if scaling.values.get("attention_factor") is not None:
        attention_factor = scaling.number("attention_factor", high=1e3)
    if scaling.values.get("mscale") is not None:
        raise FormatError(f"{scaling.source}: yarn with mscale is not supported.")
    longrope = kind == "longrope"
    rope = Rope(
        dim=dim,
        theta=theta,
        kind=kind,
        factor=scaling.number("factor", positions / original if longrope else None, high=1e6),
        original_context=original,
        low_freq_factor=scaling.number("low_freq_factor", 1.0, high=1e6),
        high_freq_factor=scaling.number("high_freq_factor", 4.0, high=1e6),
        beta_fast=scaling.number("beta_fast", 32.0, high=1e6),
        beta_slow=scaling.number("beta_slow", 1.0, high=1e6),
        truncate=scaling.flag("truncate", default=True),
        attention_factor=attention_factor,
        short_factors=scaling.numbers("short_factor", dim // 2) if longrope else (),
        long_factors=scaling.numbers("long_factor", dim // 2) if longrope else (),
    )
    if rope.high_freq_factor <= rope.low_freq_factor:
        raise FormatError(f"{scaling.source}: high_freq_factor must exceed low_freq_factor.")
    if theta <= 1 or (longrope and original < 2):  # noqa: PLR2004 - their logarithms divide
        raise FormatError(f"{scaling.source}: rope_theta and the original context are too small.")
    return rope


def _parse_layers(fields: Fields, layers: int) -> list[bool]:
    """Return for each layer whether it sees a window only."""
    types = fields.values.get("layer_types")
    if types is not None:
        kinds = {"full_attention": False, "sliding_attention": True}
        if not isinstance(types, list) or len(types) != layers:
            raise FormatError(f"{fields.source}: layer_types must name each of {layers} layers.")
        for name in types:
            if not isinstance(name, str) or name not in kinds:
                raise FormatError(
                    f"{fields.source}: layers of type {str(name)[:80]!r} are not supported. "
                    f"Supported: {', '.join(kinds)}."
                )
        return [kinds[name] for name in types]
    family = fields.values["model_type"]
    if family == "gemma2":
        return [layer % 2 == 0 for layer in range(layers)]
    if family == "gemma3_text":
        pattern = fields.integer("sliding_window_pattern")
        return [(layer + 1) % pattern != 0 for layer in range(layers)]
    if family in ("qwen2", "qwen3"):
        # From this layer on; zero is allowed.
        first = fields.values.get("max_window_layers", 0)
        first = 0 if first == 0 else fields.integer("max_window_layers")
        return [layer >= first for layer in range(layers)]
    return [family in ("mistral", "phi3")] * layers


def _parse_windows(fields: Fields, layers: int) -> tuple[list[bool], tuple[int, ...]]:
    sliding = _parse_layers(fields, layers)
    used = fields.values.get("sliding_window") is not None
    if fields.values["model_type"] in ("qwen2", "qwen3"):
        used = used and fields.flag("use_sliding_window", default=False)
    if not used:
        return sliding, (0,) * layers
    window = fields.integer("sliding_window", high=_MAX_CONTEXT)
    return sliding, tuple(window if slides else 0 for slides in sliding)


def _parse_activation(fields: Fields, *, gemma: bool) -> str:
    known = _ACTIVATIONS[gemma]
    name = "hidden_activation" if gemma else "hidden_act"
    value = fields.text(name, next(iter(known)))
    if value not in known:
        raise FormatError(
            f"{fields.source}: {name} {value[:80]!r} is not supported for "
            f"{fields.values['model_type']}. Supported: {', '.join(known)}."
        )
    return known[value]


def _refuse_unsupported(fields: Fields, family: Family) -> None:
    for name in ("attention_bias", "mlp_bias", "use_bidirectional_attention"):
        if family.name == "qwen2" and name == "attention_bias":
            continue  # its own biases do not depend on it
        if fields.flag(name, default=False):
            raise FormatError(f"{fields.source}: {name} is not supported for {family.name}.")


def parse_fields(fields: Fields) -> ModelConfig:
    """Return the model that `fields` (of `from_hf` or `from_mlc`) describe."""
    family = FAMILIES[fields.values["model_type"]]
    _refuse_unsupported(fields, family)
    hidden = fields.integer("hidden_size", high=1 << 20)
    heads = fields.integer("num_attention_heads", high=1 << 12)
    kv_heads = fields.integer("num_key_value_heads", heads, high=1 << 12)
    head_dim = fields.integer("head_dim", max(hidden // heads, 1), high=1 << 12)
    layers = fields.integer("num_hidden_layers", high=MAX_LIST)
    positions = fields.integer("max_position_embeddings", high=_MAX_CONTEXT)
    context = fields.integer("context_window_size", positions, high=_MAX_CONTEXT)
    if heads % kv_heads:
        raise FormatError(
            f"{fields.source}: num_attention_heads ({heads}) must be a multiple of "
            f"num_key_value_heads ({kv_heads})."
        )
    sliding, windows = _parse_windows(fields, layers)
    rope = _parse_rope(fields, head_dim, positions)
    if rope.kind == "dynamic" and context > positions:
        raise FormatError(
            f"{fields.source}: with dynamic rope scaling the context may be {positions} tokens at "
            f"most, but {context} are asked for."
        )
    ropes: tuple[Rope, ...] = (rope,)
    tables = (0,) * layers
    if family.name == "gemma3_text":
        ropes += (Rope(rope.dim, fields.number("rope_local_base_freq")),)
        if rope.scale != 1:
            raise FormatError(f"{fields.source}: {rope.kind} rope scaling is not for Gemma 3.")
        tables = tuple(map(int, sliding))
    scalar = fields.number("query_pre_attn_scalar") if family.gemma else head_dim
    return ModelConfig(
        family=family.name,
        hidden=hidden,
        intermediate=fields.integer("intermediate_size", high=1 << 22),
        layers=layers,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        vocab=fields.integer("vocab_size"),
        norm_epsilon=fields.number("rms_norm_eps", 1e-6, high=1),
        activation=_parse_activation(fields, gemma=family.gemma),
        embed_scale=math.sqrt(hidden) if family.gemma else 1.0,
        attention_scale=1 / math.sqrt(scalar),
        attention_softcap=fields.cap("attn_logit_softcapping") if family.gemma else 0.0,
        logit_softcap=fields.cap("final_logit_softcapping") if family.gemma else 0.0,
        windows=windows,
        rotary_tables=tables,
        ropes=ropes,
        context_window=context,
        tie_word_embeddings=fields.flag("tie_word_embeddings", default=False),
    )
