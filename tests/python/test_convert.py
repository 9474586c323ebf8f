"""From Hugging Face's weights to what the native core is given."""

from __future__ import annotations

import dataclasses
import errno
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from small_models import FAMILIES, make_config, make_hf_model, make_weights, write_safetensors

from mlc_llm.models import FormatError, from_hf, parse_fields
from mlc_llm.quantization import dequantize_q4f16_1
from mlc_llm.weights import LoadedModel, convert_weight, gen_config, load_model_dir
from mlc_llm.weights.shard_writer import ShardWriter

QUANTIZATIONS = ("q0f32", "q0f16", "q4f32_1", "q4f16_1")
Weights = dict[str, NDArray[np.float32]]


def _convert(directory: Path, quantization: str, family: str = "llama", **changes: Any) -> Path:
    source = make_hf_model(directory / "hf", family, **changes)
    convert_weight(source, quantization, directory / "mlc")
    return gen_config(source, quantization, "LM", directory / "mlc").parent


def _expect_native(family: str, weights: Weights) -> Weights:
    """Return native tensors made of Hugging Face's by rules written down here once more."""
    one = 1 if family.startswith("gemma") else 0
    native = {"embed": weights["model.embed_tokens.weight"]}
    native["norm"] = weights["model.norm.weight"] + one
    if "lm_head.weight" in weights:
        native["lm_head"] = weights["lm_head.weight"]
    norms = {"attention_norm": "input_layernorm", "mlp_norm": "post_attention_layernorm"}
    if one:
        norms["attention_post_norm"] = "post_attention_layernorm"
        norms["mlp_norm"] = "pre_feedforward_layernorm"
        norms["mlp_post_norm"] = "post_feedforward_layernorm"
    for layer in range(3):
        here = {
            name.removeprefix(f"model.layers.{layer}."): values
            for name, values in weights.items()
            if name.startswith(f"model.layers.{layer}.")
        }
        made = {
            "attention_out": here["self_attn.o_proj.weight"],
            "down": here["mlp.down_proj.weight"],
        }
        made |= {name: here[f"{theirs}.weight"] + one for name, theirs in norms.items()}
        if family == "phi3":
            made["qkv"] = here["self_attn.qkv_proj.weight"]
            made["gate_up"] = here["mlp.gate_up_proj.weight"]
        else:
            parts = [here[f"self_attn.{part}_proj.weight"] for part in "qkv"]
            made["qkv"] = np.concatenate(parts)
            halves = [here[f"mlp.{part}_proj.weight"] for part in ("gate", "up")]
            made["gate_up"] = np.concatenate(halves)
        if family == "qwen2":
            parts = [here[f"self_attn.{part}_proj.bias"] for part in "qkv"]
            made["qkv_bias"] = np.concatenate(parts)
        for name in ("q_norm", "k_norm"):
            if f"self_attn.{name}.weight" in here:
                made[name] = here[f"self_attn.{name}.weight"] + one
        native |= {f"layers.{layer}.{name}": values for name, values in made.items()}
    return native


def _dequantize(model: LoadedModel, name: str, cols: int) -> NDArray[Any]:
    weight = model.tensors[f"weight:{name}"]
    scale = model.tensors.get(f"scale:{name}")
    return weight if scale is None else dequantize_q4f16_1(weight, scale, cols)


@pytest.mark.parametrize("quantization", QUANTIZATIONS)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_converts_and_loads(tmp_path: Path, family: str, quantization: str) -> None:
    model = load_model_dir(_convert(tmp_path, quantization, family))
    config = make_config(family)
    parsed = parse_fields(from_hf(config))
    assert model.config == dataclasses.replace(parsed, half_cache="f16" in quantization)
    assert model.quantization == quantization
    expected = _expect_native(family, make_weights(config))
    assert {name.partition(":")[2] for name in model.tensors} == expected.keys()
    for name, values in expected.items():
        found = _dequantize(model, name, values.shape[-1])
        assert found.shape == values.shape, name
        if quantization == "q0f32" or (values.ndim == 1 and quantization == "q4f32_1"):
            np.testing.assert_array_equal(found, values, name)
        elif values.ndim == 1 or quantization == "q0f16":
            np.testing.assert_array_equal(found, values.astype(np.float16), name)
        else:
            dtype = "float16" if quantization == "q4f16_1" else "float32"
            assert model.tensors[f"scale:{name}"].dtype.name == dtype
            _check_error(found, values)
        assert values.ndim > 1 or found.dtype == np.float32


def _check_error(found: NDArray[Any], values: NDArray[Any]) -> None:
    """Half a scale, and what rounding to float16 at each step adds: 2^-7 of one."""
    for begin in range(0, values.shape[1], 32):
        part = values[:, begin : begin + 32]
        scale = np.abs(part).max(axis=1, keepdims=True) / 7
        assert (np.abs(found[:, begin : begin + 32] - part) <= scale * (0.5 + 2**-7)).all()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_other_dtypes_convert_exactly(tmp_path: Path, dtype: str) -> None:
    model = load_model_dir(_convert(tmp_path, "q0f32", dtype=dtype, shards=3))
    values = make_weights(make_config("llama"))["model.embed_tokens.weight"]
    found = model.tensors["weight:embed"]
    assert found.dtype == np.float32
    bits = 8 if dtype == "bfloat16" else 11
    np.testing.assert_allclose(found, values, rtol=2.0**-bits, atol=2**-25)
    assert (found.view(np.uint32) & (0xFFFF if dtype == "bfloat16" else 0x1FFF) == 0).mean() > 0.99


def test_weights_stay_in_the_files(tmp_path: Path) -> None:
    model = load_model_dir(_convert(tmp_path, "q4f16_1"))
    matrices = [values for values in model.tensors.values() if values.ndim == 2]
    assert len(matrices) == 2 * (2 + 4 * 3)
    assert not any(values.flags.owndata for values in matrices)


def test_conversion_is_the_same_twice(tmp_path: Path) -> None:
    first = _convert(tmp_path / "1", "q4f16_1")
    second = _convert(tmp_path / "2", "q4f16_1")
    for path in sorted(first.iterdir()):
        assert path.read_bytes() == (second / path.name).read_bytes(), path.name


def test_small_blocks_make_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = _convert(tmp_path / "1", "q4f16_1")
    monkeypatch.setattr("mlc_llm.weights.convert._BLOCK_VALUES", 300)
    blocks = _convert(tmp_path / "2", "q4f16_1")
    name = "params_shard_0.bin"
    assert (whole / name).read_bytes() == (blocks / name).read_bytes()


@pytest.mark.parametrize("prefix", ["language_model.model.", "model.language_model."])
def test_the_text_half_of_gemma_3_is_found(tmp_path: Path, prefix: str) -> None:
    source = make_hf_model(tmp_path / "hf", "gemma3_text")
    config = make_config("gemma3_text")
    weights = {
        name.replace("model.", prefix, 1): values for name, values in make_weights(config).items()
    }
    weights["vision_tower.weight"] = weights["model.multi_modal_projector.a"] = np.ones(3, "f4")
    write_safetensors(source / "model.safetensors", weights)
    outer = {"model_type": "gemma3", "text_config": config}
    (source / "config.json").write_text(json.dumps(outer), encoding="utf-8")
    convert_weight(source, "q0f32", tmp_path / "mlc")
    gen_config(source, "q0f32", "LM", tmp_path / "mlc")
    model = load_model_dir(tmp_path / "mlc")
    np.testing.assert_array_equal(
        model.tensors["weight:embed"], weights[f"{prefix}embed_tokens.weight"]
    )


def test_a_tied_head_and_old_frequencies_are_left_out(tmp_path: Path) -> None:
    source = make_hf_model(tmp_path / "hf", "llama", tie_word_embeddings=True)
    weights = make_weights(make_config("llama", tie_word_embeddings=True))
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"]
    weights["model.layers.0.self_attn.rotary_emb.inv_freq"] = np.ones(8, np.float32)
    write_safetensors(source / "model.safetensors", weights)
    convert_weight(source, "q0f16", tmp_path / "mlc")
    gen_config(source, "q0f16", "LM", tmp_path / "mlc")
    assert "weight:lm_head" not in load_model_dir(tmp_path / "mlc").tensors


def _spoil(weights: Weights, name: str, values: Any) -> Weights:
    if values is None:
        return {key: value for key, value in weights.items() if key != name}
    return {**weights, name: values}


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("model.norm.weight", None, "lacks the tensor 'model.norm.weight'"),
        ("model.norm.weight", np.ones(63), r"'model.norm.weight' has the shape \[63\], .* \[64\]"),
        ("model.norm.weight", np.full(64, np.nan), "'model.norm.weight' has a value that is not"),
        ("model.norm.weight", np.full(64, np.inf), "'model.norm.weight' has a value that is not"),
        ("model.norm.weight", np.full(64, 1e5), "value of 100000, too large for float16"),
        ("lm_head.weight", np.full((288, 64), -1e5), "'lm_head.weight' has a value of 100000"),
        ("lm_head.bias", np.ones(3), "'lm_head.bias', which is not part of this model"),
    ],
)
def test_wrong_tensors_are_named(tmp_path: Path, name: str, values: Any, message: str) -> None:
    source = make_hf_model(tmp_path / "hf", "llama")
    weights = make_weights(make_config("llama"))
    write_safetensors(source / "model.safetensors", _spoil(weights, name, values))
    with pytest.raises(FormatError, match=message):
        convert_weight(source, "q4f16_1", tmp_path / "mlc")
    assert not list((tmp_path).glob("mlc/*"))


def test_progress_counts_every_value(tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    source = make_hf_model(tmp_path / "hf", "gemma3_text")
    convert_weight(source, "q0f32", tmp_path / "mlc", lambda *step: seen.append(step))
    counts = [done for _, done, _ in seen]
    assert counts == sorted(set(counts))
    assert (
        counts[-1]
        == seen[-1][2]
        == sum(w.size for w in make_weights(make_config("gemma3_text")).values())
    )


class _StopError(Exception):
    pass


@pytest.mark.parametrize("error", [_StopError, KeyboardInterrupt])
def test_an_interrupted_conversion_leaves_the_former_one(
    tmp_path: Path, error: type[BaseException]
) -> None:
    output = _convert(tmp_path, "q4f16_1")
    before = {path.name: path.read_bytes() for path in output.iterdir()}

    def stop(name: str, done: int, total: int) -> None:
        if done > total // 2:
            raise error(name)

    with pytest.raises(error):
        convert_weight(tmp_path / "hf", "q0f32", output, stop)
    assert {path.name: path.read_bytes() for path in output.iterdir()} == before
    with pytest.raises(error):
        convert_weight(tmp_path / "hf", "q0f32", tmp_path / "new", stop)
    assert not list((tmp_path / "new").iterdir())


def test_a_conversion_that_was_killed_while_it_moved_its_files_is_not_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = _convert(tmp_path, "q4f16_1")
    replace = Path.replace

    def stop(self: Path, target: Path) -> Path:
        if self.suffix == ".json":
            raise _StopError
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", stop)
    with pytest.raises(_StopError):
        convert_weight(tmp_path / "hf", "q0f32", output)
    monkeypatch.undo()
    with pytest.raises(FormatError, match="its conversion was not finished"):
        load_model_dir(output)
    (output / ".convert_weight-killed").mkdir()
    convert_weight(tmp_path / "hf", "q4f16_1", output)
    assert load_model_dir(output).quantization == "q4f16_1"
    assert not list(output.glob(".*"))


def test_a_former_conversion_is_replaced(tmp_path: Path) -> None:
    output = _convert(tmp_path, "q4f16_1")
    (output / "params_shard_7.bin").write_bytes(b"of a larger model")
    (output / "ndarray-cache.json").write_text("{}", encoding="utf-8")
    convert_weight(tmp_path / "hf", "q0f32", output)
    gen_config(tmp_path / "hf", "q0f32", "LM", output)
    assert load_model_dir(output).quantization == "q0f32"
    assert not (output / "params_shard_7.bin").exists()
    assert not (output / "ndarray-cache.json").exists()


def test_a_disk_that_is_too_small_is_seen_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make_hf_model(tmp_path / "hf", "llama")
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(OSError, match=r"the conversion needs 0\.00 GB") as caught:
        convert_weight(source, "q4f16_1", tmp_path / "mlc")
    assert caught.value.errno == errno.ENOSPC


def test_a_disk_that_fills_up_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make_hf_model(tmp_path / "hf", "llama")

    def fill(self: ShardWriter, parameters: int) -> None:
        raise OSError(errno.ENOSPC, f"No space left on device after {self.tensors} of {parameters}")

    monkeypatch.setattr(ShardWriter, "finish", fill)
    with pytest.raises(OSError, match="is full: the conversion needs"):
        convert_weight(source, "q4f16_1", tmp_path / "mlc")
    assert not list((tmp_path / "mlc").iterdir())


def test_arguments_are_checked(tmp_path: Path) -> None:
    source = make_hf_model(tmp_path / "hf", "llama")
    with pytest.raises(ValueError, match=r"'q3f16_1' is not supported\. Supported: q0f16"):
        convert_weight(source, "q3f16_1", tmp_path / "mlc")
    with pytest.raises(ValueError, match="must be another directory"):
        convert_weight(source, "q0f16", source)
    with pytest.raises(FormatError, match=r"config\.json cannot be read"):
        convert_weight(tmp_path, "q0f16", tmp_path / "mlc")
    with pytest.raises(FormatError, match="is a model of Hugging Face, not of MLC"):
        load_model_dir(source)
    with pytest.raises(FormatError, match=r"has no mlc-chat-config\.json"):
        load_model_dir(tmp_path)


def _edit_index(directory: Path, name: str, edit: Any) -> None:
    path = directory / "tensor-cache.json"
    index = json.loads(path.read_text(encoding="utf-8"))
    for shard in index["records"]:
        for record in shard["records"]:
            if record["name"] == name:
                edit(record)
    path.write_text(json.dumps(index), encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("model.norm.weight", {"name": "model.nrm.weight"}, "'model.norm.weight' is missing"),
        (
            "model.norm.weight",
            {"shape": [32, 2]},
            "is 32 x 2, but the model's configuration says 64",
        ),
        ("lm_head.q_scale", {"shape": [2, 288]}, "is 2 x 288, but .* says 288 x 2"),
        ("lm_head.q_weight", {"dtype": "float32"}, "is float32; it should be uint32"),
        ("lm_head.q_scale", {"name": "lm_head.scale"}, "'lm_head.q_scale' is missing"),
    ],
)
def test_directories_that_do_not_fit_are_refused(
    tmp_path: Path, name: str, change: dict[str, Any], message: str
) -> None:
    output = _convert(tmp_path, "q4f16_1")
    _edit_index(output, name, lambda record: record.update(change))
    with pytest.raises(FormatError, match=message):
        load_model_dir(output)


def test_tensors_of_another_model_are_refused(tmp_path: Path) -> None:
    output = _convert(tmp_path, "q4f16_1")
    path = output / "mlc-chat-config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["model_config"]["num_hidden_layers"] = 2
    path.write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(
        FormatError, match=r"10 tensors are not part of this model, such as model\.la"
    ):
        load_model_dir(output)


def test_older_directories_of_mlc_load(tmp_path: Path) -> None:
    """An ndarray-cache.json whose float32 tensors are bfloat16, tensors end to end."""
    output = _convert(tmp_path, "q4f32_1", "qwen2")
    before = load_model_dir(output)
    index = json.loads((output / "tensor-cache.json").read_text(encoding="utf-8"))
    (shard,) = index["records"]
    data = (output / shard["dataPath"]).read_bytes()
    packed = b""
    for record in shard["records"]:
        begin = record["byteOffset"]
        raw = data[begin : begin + record["nbytes"]]
        if record["dtype"] == "float32":
            raw = np.frombuffer(raw, "<u2")[1::2].tobytes()
            record["format"] = "f32-to-bf16"
        record |= {"byteOffset": len(packed), "nbytes": len(raw)}
        packed += raw
    (output / shard["dataPath"]).unlink()  # it is mapped
    (output / shard["dataPath"]).write_bytes(packed)
    shard["nbytes"] = len(packed)
    (output / "tensor-cache.json").unlink()
    (output / "ndarray-cache.json").write_text(json.dumps(index), encoding="utf-8")
    after = load_model_dir(output)
    assert after.config == before.config
    for name, values in before.tensors.items():
        if values.dtype == np.uint32:
            np.testing.assert_array_equal(after.tensors[name], values, name)
        else:
            np.testing.assert_allclose(after.tensors[name], values, rtol=2.0**-7, err_msg=name)
