"""Making mlc-chat-config.json."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from mlc_llm.models import ModelConfig, from_hf, parse_fields
from mlc_llm.models.errors import FormatError
from mlc_llm.models.fields import Fields
from mlc_llm.models.json_file import MAX_TOKENIZER_BYTES, read_json_object
from mlc_llm.quantization import get_quantization
from mlc_llm.weights.files import resolve_inside
from mlc_llm.weights.load import CHAT_CONFIG
from mlc_llm.weights.publish import publish, working_directory

VERSION = "0.1.0"  # of the file, as MLC counts
TOKENIZER_FILES = (
    "tokenizer.model",
    "tokenizer.json",
    "vocab.json",
    "merges.txt",
    "added_tokens.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "chat_template.json",
)
NO_TEMPLATE = "LM"  # MLC's name of it

_PARTIAL = ".gen_config-"
_MAX_PREFILL = 8192
_KEPT = (
    *("hidden_act", "hidden_activation", "attention_bias", "query_pre_attn_scalar"),
    *("attn_logit_softcapping", "final_logit_softcapping", "use_sliding_window"),
    *("max_window_layers", "layer_types", "rope_local_base_freq", "sliding_window_pattern"),
    *("partial_rotary_factor", "original_max_position_embeddings", "max_position_embeddings"),
)
_SAMPLING = ("temperature", "presence_penalty", "frequency_penalty", "repetition_penalty", "top_p")
_SAMPLING_DEFAULTS = (1.0, 0.0, 0.0, 1.0, 1.0)
_TOKEN_IDS = ("pad_token_id", "bos_token_id", "eos_token_id")


def _to_mlc(fields: Fields, config: ModelConfig, prefill: int, batch: int) -> dict[str, Any]:
    """Return MLC's ``model_config``, with what MLC has no field for under Hugging Face's names."""
    values, window = fields.values, max(config.windows) or None
    scaling = dict(fields.child("rope_scaling").values)
    if scaling:  # MLC asks for the one or the other, depending on the family
        kind = scaling.get("rope_type", scaling.get("type"))
        scaling |= {"rope_type": kind, "type": kind}
    theta = "rope_theta" if config.family.startswith("qwen") else "position_embedding_base"
    kept = {name: values[name] for name in _KEPT if name in values}
    inner = {
        "hidden_size": config.hidden,
        "intermediate_size": config.intermediate,
        "num_attention_heads": config.heads,
        "num_hidden_layers": config.layers,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_dim,
        "rms_norm_eps": config.norm_epsilon,
        "tie_word_embeddings": config.tie_word_embeddings,
        theta: config.ropes[0].theta,
        "rope_scaling": scaling or None,
        "sliding_window": window,
        **kept,
    }
    sizes = {
        "vocab_size": config.vocab,
        "context_window_size": config.context_window,
        "prefill_chunk_size": prefill,
        "tensor_parallel_shards": 1,
        "pipeline_parallel_stages": 1,
        "max_batch_size": batch,
    }
    if config.family in ("mistral", "gemma3_text"):
        sizes["sliding_window_size"] = inner["sliding_window_size"] = window or -1
    if config.family == "gemma3_text":
        return {"text_config": inner, "is_text_model": True, **sizes}
    return {**inner, **sizes}


def _collect_generation(source: Path) -> dict[str, Any]:
    """Return sampling defaults and token ids, from generation_config.json, else config.json."""
    found: dict[str, Any] = dict(zip(_SAMPLING, _SAMPLING_DEFAULTS, strict=True))
    found |= dict.fromkeys(_TOKEN_IDS)
    for name in ("config.json", "generation_config.json"):
        if not (source / name).exists():
            continue
        values = read_json_object(source / name)
        for key in _SAMPLING:
            if type(values.get(key)) in (int, float):
                found[key] = float(values[key])
        for key in _TOKEN_IDS:
            value = values.get(key)
            ids = value if isinstance(value, list) else [value]
            if ids and all(type(token) is int and token >= 0 for token in ids):
                found[key] = value
    return found


def _has_type(part: Any, name: str) -> bool:
    """Whether a normalizer or decoder of tokenizer.json is, or has, one of type `name`."""
    if not isinstance(part, dict):
        return False
    inner = part.get("decoders", part.get("normalizers", []))
    parts = [part, *(inner if isinstance(inner, list) else [])]
    return any(isinstance(one, dict) and one.get("type") == name for one in parts)


def _describe_tokenizer(source: Path) -> tuple[dict[str, Any], int]:
    """Return MLC's ``tokenizer_info``, and how many tokens the tokenizer knows.

    Source: mlc_llm's ``cpp/tokenizers/tokenizers.cc`` (DetectTokenizerInfo).
    """
    path = source / "tokenizer.json"
    if not path.exists():
        raise FormatError(
            f"{source} has no tokenizer.json. Make one with transformers: "
            "AutoTokenizer.from_pretrained(DIRECTORY).save_pretrained(DIRECTORY)."
        )
    tokenizer = read_json_object(path, MAX_TOKENIZER_BYTES)
    model = tokenizer.get("model")
    vocab = model.get("vocab") if isinstance(model, dict) else None
    added = tokenizer.get("added_tokens") or []
    if not isinstance(vocab, dict | list) or not isinstance(added, list):
        raise FormatError(f"{path} has no vocabulary.")
    names = [token.get("content") if isinstance(token, dict) else None for token in added]
    if not all(isinstance(name, str) for name in names) or len(set(names)) != len(names):
        raise FormatError(f"{path} has an added token without content, or one twice.")
    # A dictionary of pieces, or for Unigram a list of pieces with their scores.
    known = [item[0] if isinstance(item, list) and item else item for item in vocab]
    if not all(isinstance(name, str) for name in known):
        raise FormatError(f"{path} has a vocabulary of other things than strings.")
    decoder = tokenizer.get("decoder")
    info = {
        "token_postproc_method": "byte_level"
        if _has_type(decoder, "ByteLevel")
        else "byte_fallback",
        "prepend_space_in_encode": _has_type(tokenizer.get("normalizer"), "Prepend"),
        "strip_space_in_decode": _has_type(decoder, "Strip"),
    }
    return info, len({*known, *names})


def _find_template(source: Path, name: str) -> str | None:
    """Return which of the tokenizer's files has the chat template."""
    settings = source / "tokenizer_config.json"
    if name == NO_TEMPLATE:
        return None
    if (source / "chat_template.jinja").is_file():
        return "chat_template.jinja"
    if settings.is_file() and read_json_object(settings).get("chat_template"):
        return settings.name
    # Published by older releases of transformers.
    return "chat_template.json" if (source / "chat_template.json").is_file() else None


def gen_config(
    source: Path,
    quantization: str,
    conv_template: str,
    output: Path,
    *,
    context_window_size: int | None = None,
    sliding_window_size: int | None = None,
    prefill_chunk_size: int | None = None,
    max_batch_size: int = 128,
) -> Path:
    """Write mlc-chat-config.json and the tokenizer files of `source` into `output`.

    Tokenizer files of a former model there are replaced or removed, when all is written and not
    before.

    `source` is a Hugging Face directory. Chats are rendered by the template of its tokenizer;
    `conv_template` is MLC's name of it, kept for its tools, and "LM" means that there is none.
    Sizes are in tokens; None leaves them to config.json. Returns the path of the file.

    Raises FormatError when the model is not supported, a file is malformed, or the tokenizer is
    missing, and ValueError for a wrong argument.
    """
    chosen = get_quantization(quantization)
    if output.resolve() == source.resolve():
        raise ValueError(f"The output must be another directory than the source {source}.")
    for name, size in (
        ("context_window_size", context_window_size),
        ("sliding_window_size", None if sliding_window_size == -1 else sliding_window_size),
        ("prefill_chunk_size", prefill_chunk_size),
        ("max_batch_size", max_batch_size),
    ):
        if size is not None and size < 1:
            raise ValueError(f"{name} must be at least 1, and is {size}.")
    path = source / "config.json"
    fields = from_hf(read_json_object(path), str(path))
    if context_window_size is not None:
        fields.values["context_window_size"] = context_window_size
    if sliding_window_size is not None:
        fields.values["sliding_window"] = None if sliding_window_size == -1 else sliding_window_size
    config = parse_fields(fields)
    prefill = min(prefill_chunk_size or _MAX_PREFILL, config.context_window)
    info, active = _describe_tokenizer(source)
    files = [name for name in TOKENIZER_FILES if (source / name).is_file()]
    chat_config = {
        "version": VERSION,
        "model_type": config.family,
        "quantization": chosen.name,
        "model_config": _to_mlc(fields, config, prefill, max_batch_size),
        "vocab_size": config.vocab,
        "active_vocab_size": active,
        "context_window_size": config.context_window,
        "sliding_window_size": (max(config.windows) or -1) if config.family == "mistral" else -1,
        "prefill_chunk_size": prefill,
        "attention_sink_size": -1,
        "tensor_parallel_shards": 1,
        "pipeline_parallel_stages": 1,
        **_collect_generation(source),
        "tokenizer_files": files,
        "tokenizer_info": info,
        "conv_template": {"name": conv_template, "source": _find_template(source, conv_template)},
        "model_task": "chat",
    }
    needed = sum((source / name).stat().st_size for name in files)
    with working_directory(output, needed, _PARTIAL) as work:
        for name in files:
            shutil.copyfile(resolve_inside(source, name, str(source)), work / name)
        text = json.dumps(chat_config, indent=2)
        (work / CHAT_CONFIG).write_text(text, encoding="utf-8")
        # A former model's tokenizer would be used with this one.
        publish(work, output, (CHAT_CONFIG,), [output / name for name in TOKENIZER_FILES])
    return output / CHAT_CONFIG
