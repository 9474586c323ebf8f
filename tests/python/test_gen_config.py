from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from small_models import BOS, EOS, FAMILIES, PAD, make_config, make_hf_model, make_tokenizer

from mlc_llm.cli import main
from mlc_llm.models import FormatError, from_hf, from_mlc, parse_fields
from mlc_llm.weights import gen_config, load_model_dir

# Fields of MLCChatConfig in mlc_llm's protocol/mlc_chat_config.py.
FIELDS = {
    *("version", "model_type", "quantization", "model_config", "vocab_size", "active_vocab_size"),
    *("context_window_size", "sliding_window_size", "prefill_chunk_size", "attention_sink_size"),
    *("tensor_parallel_shards", "pipeline_parallel_stages", "temperature", "presence_penalty"),
    *("frequency_penalty", "repetition_penalty", "top_p", "tokenizer_files", "tokenizer_info"),
    *("conv_template", "pad_token_id", "bos_token_id", "eos_token_id", "model_task"),
}


def _generate(source: Path, template: str = "llama-3", **options: Any) -> dict[str, Any]:
    path = gen_config(source, "q4f16_1", template, source.parent / "mlc", **options)
    config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return config


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_is_lost(tmp_path: Path, family: str) -> None:
    chat = _generate(make_hf_model(tmp_path / "hf", family))
    assert chat.keys() == FIELDS
    assert parse_fields(from_mlc(chat)) == parse_fields(from_hf(make_config(family)))


@pytest.mark.parametrize(
    ("family", "overrides"),
    [
        ("mistral", {"sliding_window": None, "num_key_value_heads": 1, "head_dim": 48}),
        ("mistral", {"tie_word_embeddings": True}),
        ("qwen2", {"use_sliding_window": True, "max_window_layers": 0}),
        ("qwen3", {"layer_types": ["full_attention"] * 2 + ["sliding_attention"]}),
        ("phi3", {"sliding_window": 5, "partial_rotary_factor": 1.0}),
        ("phi3", {"rope_scaling": None, "partial_rotary_factor": 0.5}),
        ("gemma2", {"attn_logit_softcapping": None, "final_logit_softcapping": None}),
        ("gemma3_text", {"sliding_window_pattern": 2, "rope_scaling": None}),
        ("llama", {"rope_scaling": {"type": "linear", "factor": 2.0}, "rope_theta": 5000}),
    ],
)
def test_nothing_unusual_is_lost(tmp_path: Path, family: str, overrides: dict[str, Any]) -> None:
    chat = _generate(make_hf_model(tmp_path / "hf", family, **overrides))
    expected = parse_fields(from_hf(make_config(family, **overrides)))
    assert parse_fields(from_mlc(chat)) == expected


def test_mlc_finds_its_own_names(tmp_path: Path) -> None:
    config = _generate(make_hf_model(tmp_path / "1" / "hf", "phi3"))["model_config"]
    assert config["rope_scaling"]["type"] == "longrope"
    assert config["position_embedding_base"] == 10000
    config = _generate(make_hf_model(tmp_path / "2" / "hf", "qwen2"))["model_config"]
    assert config["rope_theta"] == 1e6
    assert config["hidden_act"] == "silu"
    config = _generate(make_hf_model(tmp_path / "3" / "hf", "gemma3_text"))["model_config"]
    assert config["text_config"]["query_pre_attn_scalar"] == 24
    assert config["sliding_window_size"] == 8


def test_sampling_and_token_ids_come_from_the_model(tmp_path: Path) -> None:
    source = make_hf_model(tmp_path / "hf", "llama")
    chat = _generate(source)
    assert (chat["temperature"], chat["top_p"], chat["repetition_penalty"]) == (0.6, 0.9, 1.0)
    assert (chat["pad_token_id"], chat["bos_token_id"], chat["eos_token_id"]) == (PAD, BOS, EOS)
    generation = {"eos_token_id": [EOS, 1], "temperature": "hot", "bos_token_id": -1}
    (source / "generation_config.json").write_text(json.dumps(generation), encoding="utf-8")
    chat = _generate(source)
    assert chat["eos_token_id"] == [EOS, 1]
    assert (chat["temperature"], chat["bos_token_id"]) == (1.0, BOS)


def test_the_tokenizer_is_described_and_copied(tmp_path: Path) -> None:
    source = make_hf_model(tmp_path / "hf", "llama")
    chat = _generate(source)
    assert chat["tokenizer_files"] == ["tokenizer.json", "tokenizer_config.json"]
    for name in chat["tokenizer_files"]:
        assert (tmp_path / "mlc" / name).read_bytes() == (source / name).read_bytes()
    assert chat["active_vocab_size"] == 260
    assert chat["tokenizer_info"] == {
        "token_postproc_method": "byte_level",
        "prepend_space_in_encode": False,
        "strip_space_in_decode": False,
    }


def test_sentencepiece_is_recognised(tmp_path: Path) -> None:
    # As Llama 2's tokenizer.json
    tokenizer = make_tokenizer()
    tokenizer["normalizer"] = {"type": "Sequence", "normalizers": [{"type": "Prepend"}]}
    steps = [{"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip"}]
    tokenizer["decoder"] = {"type": "Sequence", "decoders": steps}
    source = make_hf_model(tmp_path / "hf", "llama")
    (source / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    assert _generate(source)["tokenizer_info"] == {
        "token_postproc_method": "byte_fallback",
        "prepend_space_in_encode": True,
        "strip_space_in_decode": True,
    }


def test_the_chat_template_is_named(tmp_path: Path) -> None:
    source = make_hf_model(tmp_path / "hf", "llama")
    expected = {"name": "llama-3", "source": "tokenizer_config.json"}
    assert _generate(source)["conv_template"] == expected
    assert _generate(source, "LM")["conv_template"] == {"name": "LM", "source": None}
    (source / "chat_template.jinja").write_text("{{ messages }}", encoding="utf-8")
    assert _generate(source)["conv_template"]["source"] == "chat_template.jinja"
    (source / "chat_template.jinja").unlink()
    (source / "tokenizer_config.json").write_text("{}", encoding="utf-8")
    assert _generate(source)["conv_template"]["source"] is None
    assert not (tmp_path / "mlc" / "chat_template.jinja").exists()  # the former one
    (source / "chat_template.json").write_text("{}", encoding="utf-8")
    assert _generate(source)["conv_template"]["source"] == "chat_template.json"
    assert (tmp_path / "mlc" / "chat_template.json").exists()


def test_sizes_can_be_chosen(tmp_path: Path) -> None:
    source = make_hf_model(tmp_path / "hf", "mistral")
    chat = _generate(
        source,
        context_window_size=100,
        sliding_window_size=10,
        prefill_chunk_size=50,
        max_batch_size=3,
    )
    config = parse_fields(from_mlc(chat))
    assert (config.context_window, config.windows) == (100, (10,) * 3)
    assert (chat["context_window_size"], chat["prefill_chunk_size"]) == (100, 50)
    assert chat["model_config"]["max_batch_size"] == 3
    assert _generate(source, sliding_window_size=-1)["sliding_window_size"] == -1
    assert _generate(source)["prefill_chunk_size"] == 512


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"context_window_size": 0}, "^context_window_size must be at least 1, and is 0"),
        ({"sliding_window_size": 0}, "^sliding_window_size must be at least 1"),
        ({"prefill_chunk_size": -1}, "^prefill_chunk_size must be at least 1"),
        ({"max_batch_size": 0}, "^max_batch_size must be at least 1"),
    ],
)
def test_impossible_sizes_are_refused(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    source = make_hf_model(tmp_path / "hf", "mistral")
    with pytest.raises(ValueError, match=message):
        _generate(source, **options)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"has no tokenizer\.json\. Make one with transformers"),
        ("[]", "must hold a JSON object"),
        ("{}", "has no vocabulary"),
        ('{"model": {"vocab": {}}, "added_tokens": [{"content": 3}]}', "added token without"),
        ('{"model": {"vocab": {}}, "added_tokens": [{"content": "a"}, {"content": "a"}]}', "twice"),
        ('{"model": {"vocab": {}}, "added_tokens": 3}', "has no vocabulary"),
    ],
)
def test_unusable_tokenizers_are_refused(tmp_path: Path, content: str | None, message: str) -> None:
    source = make_hf_model(tmp_path / "hf", "llama")
    if content is None:
        (source / "tokenizer.json").unlink()
    else:
        (source / "tokenizer.json").write_text(content, encoding="utf-8")
    with pytest.raises(FormatError, match=message):
        _generate(source)


def test_links_are_not_copied_from_elsewhere(tmp_path: Path) -> None:
    source = make_hf_model(tmp_path / "hf", "llama")
    (tmp_path / "secret").write_text("{}", encoding="utf-8")
    (source / "vocab.json").symlink_to(tmp_path / "secret")
    with pytest.raises(FormatError, match="leads out of the model directory"):
        _generate(source)


@pytest.mark.parametrize("former", [False, True])
def test_a_disk_that_fills_up_leaves_what_was_there(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    former: bool,  # noqa: FBT001
) -> None:
    source, output = make_hf_model(tmp_path / "hf", "llama"), tmp_path / "mlc"
    if former:
        _generate(source)
    output.mkdir(exist_ok=True)
    before = {path: path.read_bytes() for path in output.iterdir()}

    def fill(_: Path, target: Path) -> None:
        target.write_text("{")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", fill)
    with pytest.raises(OSError, match="is full: the conversion needs"):
        _generate(source)
    assert {path: path.read_bytes() for path in output.iterdir()} == before


def test_the_command_line_converts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, output = make_hf_model(tmp_path / "hf", "qwen3"), tmp_path / "mlc"
    options = ["--quantization", "q4f32_1", "-o", str(output)]
    assert main(["convert_weight", str(source), *options]) == 0
    config = str(source / "config.json")
    sizes = ["--context-window-size", "99", "--max-batch-size", "4"]
    assert main(["gen_config", config, *options, "--conv-template", "LM", *sizes]) == 0
    printed = capsys.readouterr()
    assert "parameters in 0.1 MiB, 5." in printed.out
    assert str(output / "mlc-chat-config.json") in printed.out
    assert printed.err == ""
    assert load_model_dir(output).config.context_window == 99


def test_the_command_line_says_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = make_hf_model(tmp_path / "hf", "llama", model_type="mixtral")
    options = ["--quantization", "q4f16_1", "-o", str(tmp_path / "mlc")]
    assert main(["convert_weight", str(source), *options]) == 1
    error = capsys.readouterr().err
    assert "models of type 'mixtral' are not supported. Supported: Llama 1 to 3" in error
    with pytest.raises(SystemExit, match="2"):
        main(["convert_weight", str(source), "--quantization", "q3f16_1", "-o", "x"])
    assert "invalid choice: 'q3f16_1'" in capsys.readouterr().err
