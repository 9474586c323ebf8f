"""Configurations of every family, in every spelling, and what is refused."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_models import FAMILIES, list_shapes, make_config

from mlc_llm.models import FormatError, ModelConfig, from_hf, from_mlc, list_parameters
from mlc_llm.models import parse_fields as parse
from mlc_llm.models.json_file import parse_json_object, read_json_object


def _parse(family: str, **overrides: Any) -> ModelConfig:
    return parse(from_hf(make_config(family, **overrides)))


def _to_transformers_5(config: dict[str, Any]) -> dict[str, Any]:
    """Return a config.json as transformers 5 writes it."""
    config = dict(config)
    rope = config.pop("rope_scaling", None) or {}
    rope = {"rope_type": rope.get("type", "default"), **rope}
    rope["rope_theta"] = config.pop("rope_theta", 10000.0)
    local = config.pop("rope_local_base_freq", None)
    if local:
        default = {"rope_type": "default", "rope_theta": local}
        rope = {"full_attention": rope, "sliding_attention": default}
    config["dtype"] = config.pop("torch_dtype")
    return {**config, "rope_parameters": rope, "rope_scaling": None}


@pytest.mark.parametrize("family", FAMILIES)
def test_transformers_5_spells_the_same_model(family: str) -> None:
    config = make_config(family)
    assert parse(from_hf(_to_transformers_5(config))) == parse(from_hf(config))


@pytest.mark.parametrize("family", FAMILIES)
def test_parameters_are_those_of_the_checkpoint(family: str) -> None:
    shapes = list_shapes(make_config(family))
    parameters = list(list_parameters(_parse(family)))
    sources = {
        source.name: (source.rows, parameter.cols) if parameter.cols else (source.rows,)
        for parameter in parameters
        for part in parameter.parts
        for source in part.sources
    }
    assert sources == shapes
    assert len({parameter.name for parameter in parameters}) == len(parameters)


# Names as in the index files that MLC publishes.
@pytest.mark.parametrize(
    ("family", "names"),
    [
        ("llama", ["model.layers.0.self_attn.qkv_proj.weight", "lm_head.weight"]),
        (
            "qwen2",
            ["model.layers.0.self_attn.c_attn.weight", "model.layers.0.self_attn.c_attn.bias"],
        ),
        (
            "qwen3",
            ["model.layers.0.self_attn.q_norm.weight", "model.layers.0.mlp.down_proj.weight"],
        ),
        (
            "phi3",
            [
                "transformer.embd.weight",
                "transformer.h.0.ln.weight",
                "transformer.h.0.mixer.qkv_proj.weight",
                "transformer.h.0.mixer.out_proj.weight",
                "transformer.h.0.mlp.gate_up_proj.weight",
                "transformer.h.0.post_attention_layernorm.weight",
                "transformer.norm.weight",
            ],
        ),
        ("gemma2", ["model.layers.0.pre_feedforward_layernorm.weight"]),
        (
            "gemma3_text",
            [
                "language_model.model.embed_tokens.weight",
                "language_model.model.layers.0.self_attn.q_proj.weight",
                "language_model.model.layers.0.mlp.gate_up_proj.weight",
            ],
        ),
    ],
)
def test_names_are_those_of_mlc(family: str, names: list[str]) -> None:
    known = {part.name for parameter in list_parameters(_parse(family)) for part in parameter.parts}
    assert known.issuperset(names)


def test_windows_follow_each_family() -> None:
    assert _parse("llama").windows == (0, 0, 0)
    assert _parse("mistral").windows == (12, 12, 12)
    assert _parse("mistral", sliding_window=None).windows == (0, 0, 0)
    assert _parse("qwen2").windows == (0, 0, 0)
    assert _parse("qwen2", use_sliding_window=True).windows == (0, 0, 8)
    assert _parse("qwen3", use_sliding_window=True, max_window_layers=0).windows == (4096,) * 3
    assert _parse("phi3", sliding_window=5).windows == (5, 5, 5)
    assert _parse("gemma2").windows == (8, 0, 8)
    assert _parse("gemma3_text").windows == (8, 8, 0)
    types = ["full_attention", "sliding_attention", "full_attention"]
    assert _parse("gemma2", layer_types=types).windows == (0, 8, 0)


def test_gemma_differs_in_scales() -> None:
    config = _parse("gemma2")
    assert config.embed_scale == 8
    assert config.attention_scale == pytest.approx(24**-0.5)
    assert (config.attention_softcap, config.logit_softcap) == (2, 2)
    assert config.activation == "gelu_tanh"
    assert _parse("gemma2", attn_logit_softcapping=None).attention_softcap == 0
    assert _parse("llama").attention_scale == pytest.approx(0.25)


def test_gemma_3_rotates_locally_and_globally() -> None:
    config = _parse("gemma3_text")
    assert config.rotary_tables == (1, 1, 0)
    assert config.inverse_frequencies[:, 1] == pytest.approx(
        [1e6 ** (-1 / 16) / 8, 1e4 ** (-1 / 16)]
    )


def test_gemma_3_with_a_vision_half_is_its_text_half() -> None:
    text = make_config("gemma3_text")
    outer = {
        "architectures": ["Gemma3ForConditionalGeneration"],
        "model_type": "gemma3",
        "text_config": text,
        "vision_config": {"hidden_size": 3},
    }
    assert parse(from_hf(outer)) == parse(from_hf(text))


def test_gemma_3_has_defaults_for_what_google_left_out() -> None:
    # config.json of google/gemma-3-4b-it
    text = {
        "hidden_size": 2560,
        "intermediate_size": 10240,
        "model_type": "gemma3_text",
        "num_hidden_layers": 34,
        "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
        "sliding_window": 1024,
    }
    config = parse(from_hf({"model_type": "gemma3", "text_config": text}))
    assert (config.heads, config.kv_heads, config.head_dim, config.vocab) == (8, 4, 256, 262208)
    assert config.windows[:7] == (1024,) * 5 + (0, 1024)
    assert config.tie_word_embeddings


def test_published_configurations_of_mlc_are_read() -> None:
    # mlc-chat-config.json of mlc-ai/Llama-3.2-1B-Instruct-q4f16_1-MLC, without its chat template
    scaling = {
        "factor": 32.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
        "rope_type": "llama3",
    }
    model_config = {
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_attention_heads": 32,
        "num_hidden_layers": 16,
        "rms_norm_eps": 1e-05,
        "vocab_size": 128256,
        "tie_word_embeddings": True,
        "position_embedding_base": 500000.0,
        "rope_scaling": scaling,
        "context_window_size": 131072,
        "prefill_chunk_size": 8192,
        "num_key_value_heads": 8,
        "head_dim": 64,
        "tensor_parallel_shards": 1,
        "pipeline_parallel_stages": 1,
        "max_batch_size": 128,
        "disaggregation": False,
    }
    chat = {"model_type": "llama", "model_config": model_config, "context_window_size": 4096}
    config = parse(from_mlc(chat))
    assert (config.hidden, config.kv_heads, config.context_window) == (2048, 8, 4096)
    assert config.ropes[0].theta == 500000
    assert config.ropes[0].kind == "llama3"
    assert config.tie_word_embeddings


def test_published_configurations_of_gemma_3_are_read() -> None:
    # The shape of those that MLC writes: the text half apart, with what it does not know in kwargs.
    text = {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 6,
        "num_attention_heads": 4,
        "num_key_value_heads": 1,
        "head_dim": 32,
        "position_embedding_base": 1000000,
        "rope_scaling": 0,
        "context_window_size": 8192,
        "query_pre_attn_scalar": 256,
        "sliding_window_size": 512,
        "kwargs": {"rope_local_base_freq": 20000.0},
    }
    model_config = {"text_config": text, "vocab_size": 100, "sliding_window_size": 512}
    config = parse(from_mlc({"model_type": "gemma3_text", "model_config": model_config}))
    assert config.windows == (512,) * 5 + (0,)
    assert [rope.theta for rope in config.ropes] == [1e6, 2e4]
    assert config.vocab == 100


def test_mistral_of_mlc_slides_only_where_it_says() -> None:
    model_config = {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "vocab_size": 100,
        "rms_norm_eps": 1e-5,
        "sliding_window_size": -1,
        "context_window_size": 4096,
    }
    chat = {"model_type": "mistral", "model_config": model_config}
    assert parse(from_mlc(chat)).windows == (0, 0)
    model_config |= {"sliding_window_size": 1024, "context_window_size": -1}
    config = parse(from_mlc(chat))
    assert config.windows == (1024, 1024)
    assert config.context_window == 32768


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            {"model_type": "mixtral"},
            r"'mixtral' are not supported. Supported: Llama 1 to 3 \(llama\)",
        ),
        ({"model_type": 3}, "model_type must be a string"),
        ({"architectures": ["LlamaForSequenceClassification"]}, "Supported for llama: LlamaFor"),
        ({"quantization_config": {"quant_method": "gptq"}}, "quantized already"),
        ({"attention_bias": True}, "attention_bias is not supported for llama"),
        ({"mlp_bias": True}, "mlp_bias is not supported"),
        ({"hidden_act": "gelu"}, "hidden_act 'gelu' is not supported for llama. Supported: silu"),
        ({"layer_types": ["chunked_attention"] * 3}, "'chunked_attention' are not supported"),
        ({"layer_types": ["full_attention"]}, "must name each of 3 layers"),
        ({"num_key_value_heads": 3}, "must be a multiple"),
        ({"hidden_size": 0}, "hidden_size must be an integer from 1"),
        ({"hidden_size": 64.0}, "hidden_size must be an integer from 1"),
        ({"hidden_size": True}, "hidden_size must be an integer from 1"),
        ({"hidden_size": None}, "lacks 'hidden_size'"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers must be an integer"),
        ({"rms_norm_eps": -1}, "rms_norm_eps must be a number from 1e-30"),
        ({"tie_word_embeddings": "yes"}, "tie_word_embeddings must be true or false"),
        ({"rope_theta": 10**39}, "rope_theta must be a number"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(FormatError, match=message):
        _parse("llama", **overrides)


def test_gemma_3_is_refused_with_a_rope_scaling_that_weights_positions() -> None:
    scaling = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}
    assert _parse("gemma3_text", rope_scaling={**scaling, "attention_factor": 1.0})
    with pytest.raises(FormatError, match="yarn rope scaling is not for Gemma 3"):
        _parse("gemma3_text", rope_scaling=scaling)


def test_models_for_several_devices_are_refused() -> None:
    chat = {"model_type": "llama", "model_config": {"tensor_parallel_shards": 2}}
    with pytest.raises(FormatError, match="tensor_parallel_shards above 1"):
        from_mlc(chat)


def test_native_pairs_alternate() -> None:
    config = _parse("gemma3_text")
    pairs = config.to_native()
    native = dict(zip(pairs[::2], pairs[1::2], strict=True))
    assert native["embed_scale"] == math.sqrt(64)
    assert native["windows"].dtype == np.int32
    assert native["inverse_frequencies"].shape == (2, 16)
    assert native["half_cache"] == 0


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"[" * 100000, "nested too deeply|not usable JSON"),
        (b'{"a": ' * 100000, "nested too deeply|not usable JSON"),
        (b"[]", "must hold a JSON object"),
        (b'{"a": 1, "a": 2}', "same key twice"),
        (b'{"a": NaN}', "NaN is not JSON"),
        (b'{"a": 1e999}', "a number is too large"),
        (b'{"a": ' + b"9" * 41 + b"}", "41 digits"),
        (b"\xff", "not usable JSON"),
        (b"", "not usable JSON"),
    ],
)
def test_hostile_json_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        parse_json_object(data, "file")


def test_only_regular_files_of_a_sane_size_are_read(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    with pytest.raises(FormatError, match="cannot be read"):
        read_json_object(path)
    with pytest.raises(FormatError, match="must be a regular file"):
        read_json_object(tmp_path)
    path.write_text(json.dumps({"a": "b" * 100}), encoding="utf-8")
    with pytest.raises(FormatError, match="more than the 50 that are allowed"):
        read_json_object(path, 50)
    assert read_json_object(path, 200) == {"a": "b" * 100}
