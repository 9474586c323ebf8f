"""Configurations come in three spellings, which become one here.

They are a config.json of before transformers 5, which the others are brought into; one of
transformers 5 (``rope_parameters``); and MLC's ``model_config``. Sources: transformers'
``configuration_*.py``, mlc_llm's ``model/*/*_model.py``.
"""

from __future__ import annotations

from typing import Any

from mlc_llm.models.errors import FormatError
from mlc_llm.models.families import get_family
from mlc_llm.models.fields import Fields

# MLC drops these fields: what they are when its own are silent.
_MLC_DEFAULTS = {"mistral": {"sliding_window": None, "max_position_embeddings": 32768}}


def _flatten_rope(fields: Fields) -> dict[str, Any]:
    """Return transformers 5's ``rope_parameters`` in the spelling of before."""
    rope = fields.child("rope_parameters")
    found: dict[str, Any] = {}
    if "full_attention" in rope.values or "sliding_attention" in rope.values:
        local = rope.child("sliding_attention")
        if local.text("rope_type", "default") != "default":
            raise FormatError(f"{local.source}: scaling of local attention is not supported.")
        if "rope_theta" in local.values:
            found["rope_local_base_freq"] = local.values["rope_theta"]
        rope = rope.child("full_attention")
    scaling = dict(rope.values)
    for name in ("rope_theta", "partial_rotary_factor"):
        if name in scaling:
            found[name] = scaling.pop(name)
    if scaling:
        found["rope_scaling"] = scaling
    return found


def from_hf(config: dict[str, Any], source: str = "config.json") -> Fields:
    """Return the fields of a config.json of Hugging Face, defaults filled in.

    Raises FormatError when the model is not supported, and says what is.
    """
    outer = Fields(config, source)
    family = get_family(outer.text("model_type"), source)
    architectures = config.get("architectures")
    if architectures and not (
        isinstance(architectures, list)
        and all(name in family.architectures for name in architectures)
    ):
        raise FormatError(
            f"{source}: architecture {str(architectures)[:80]} is not supported. "
            f"Supported for {family.name}: {', '.join(family.architectures)}."
        )
    if config.get("quantization_config"):
        raise FormatError(
            f"{source}: the weights are quantized already (quantization_config); "
            "convert the original model in float32, bfloat16 or float16."
        )
    text = outer.child("text_config").values if "text_config" in config else config
    inner = Fields(text, source)
    values = {**family.defaults, **text, **_flatten_rope(inner), "model_type": family.name}
    return Fields(values, source)


def from_mlc(chat_config: dict[str, Any], source: str = "mlc-chat-config.json") -> Fields:
    """Return the fields of an mlc-chat-config.json, defaults filled in."""
    outer = Fields(chat_config, source)
    family = get_family(outer.text("model_type"), source)
    config = outer.child("model_config")
    text = config.child("text_config")
    values = {
        **family.defaults,
        **_MLC_DEFAULTS.get(family.name, {}),
        **config.values,
        **text.child("kwargs").values,
        **text.values,
    }
    for name in ("tensor_parallel_shards", "pipeline_parallel_stages"):
        if config.integer(name, 1) > 1:
            raise FormatError(f"{source}: {name} above 1 is not supported; convert with 1.")
    for mlc, hf in (
        ("position_embedding_base", "rope_theta"),
        ("sliding_window_size", "sliding_window"),
    ):
        if values.get(mlc) is not None:
            values[hf] = None if values[mlc] in (-1, 0) else values[mlc]
    if values.get("rope_scaling") == 0:  # Gemma 3's default there
        values["rope_scaling"] = None
    context = chat_config.get("context_window_size")
    context = values.get("context_window_size") if context is None else context
    values["context_window_size"] = None if context in (-1, 0) else context
    stated = {**text.child("kwargs").values, **config.values, **text.values}
    if "max_position_embeddings" not in stated and values["context_window_size"]:
        values["max_position_embeddings"] = values["context_window_size"]
    return Fields({**values, "model_type": family.name}, source)
