"""Rotary tables against those of transformers 5.23 (ROPE_INIT_FUNCTIONS), noted here."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mlc_llm.models import FormatError, ModelConfig, from_hf, parse_fields

_BASE = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "vocab_size": 100,
    "max_position_embeddings": 4096,
    "rope_theta": 10000.0,
}
_FACTORS = {
    "short_factor": [1, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7],
    "long_factor": [1, 2, 3, 4, 5, 6, 7, 8],
    "original_max_position_embeddings": 1024,
}
_LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 512,
}
_YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024}
_OTHER_YARN = {
    "type": "yarn",
    "factor": 8.0,
    "original_max_position_embeddings": 512,
    "beta_fast": 16,
    "beta_slow": 2,
    "attention_factor": 1.5,
    "truncate": False,
}
_PLAIN = [1.0, 0.31622776, 0.1, 0.031622779, 0.01, 0.0031622779, 0.001, 0.00031622779]
_LONG = [1.0, 0.15811388, 0.0333333, 0.00790569, 0.002, 0.000527046, 0.000142857, 3.95285e-05]


def _parse(scaling: dict[str, Any] | None, **others: Any) -> ModelConfig:
    return parse_fields(from_hf({**_BASE, "rope_scaling": scaling, **others}))


@pytest.mark.parametrize(
    ("scaling", "frequencies", "scale"),
    [
        (None, _PLAIN, 1),
        ({"rope_type": "default"}, _PLAIN, 1),
        ({"type": "linear", "factor": 4.0}, [value / 4 for value in _PLAIN], 1),
        ({"rope_type": "dynamic", "factor": 2.0}, _PLAIN, 1),
        (
            _LLAMA3,
            [1, 0.31622776, 0.1, 0.018496677, 0.00125, 0.00039528473, 0.000125, 3.9528473e-05],
            1,
        ),
        (
            _YARN,
            [1, 0.31622776, 0.08125, 0.0197642, 0.004375, 0.00079056947, 0.00025, 7.9056947e-05],
            1.138629436111989,
        ),
        (
            _OTHER_YARN,
            [1, 0.31622776, 0.0716085, 0.007325, 0.00125, 0.00039528473, 0.000125, 3.9528473e-05],
            1.5,
        ),
        ({"rope_type": "longrope", **_FACTORS}, _LONG, 1.0954451150103321),
        ({"rope_type": "longrope", "factor": 8.0, **_FACTORS}, _LONG, 1.140175425099138),
    ],
)
def test_scaling_is_that_of_transformers(
    scaling: dict[str, Any] | None, frequencies: list[float], scale: float
) -> None:
    config = _parse(scaling)
    assert config.inverse_frequencies.dtype == np.float32
    np.testing.assert_allclose(config.inverse_frequencies, [frequencies], rtol=2e-6)
    assert config.rotary_scale == pytest.approx(scale, rel=1e-12)


@pytest.mark.parametrize(("context", "factor"), [(1024, 1.7), (1025, 8)])
def test_longrope_changes_its_factors_with_the_context(context: int, factor: float) -> None:
    config = _parse({"type": "longrope", **_FACTORS}, context_window_size=context)
    assert config.inverse_frequencies[0, -1] == pytest.approx(_PLAIN[-1] / factor, rel=1e-6)
    assert config.rotary_scale == pytest.approx(1.0954451150103321)  # of the model, not the context


def test_an_original_context_beside_the_scaling_comes_first() -> None:
    other = {**_YARN, "original_max_position_embeddings": 7}
    config = _parse(other, original_max_position_embeddings=1024)
    np.testing.assert_array_equal(config.inverse_frequencies, _parse(_YARN).inverse_frequencies)


def test_a_part_of_a_head_rotates() -> None:
    config = _parse(None, partial_rotary_factor=0.75)
    assert config.rotary_dim == 12
    np.testing.assert_allclose(
        config.inverse_frequencies[0], 10000.0 ** (-np.arange(6) / 6), rtol=1e-6
    )


@pytest.mark.parametrize(
    ("scaling", "message"),
    [
        ({"rope_type": "mrope", "factor": 2.0}, "'mrope' is not supported. Supported: default"),
        ({"rope_type": "linear"}, "lacks 'factor'"),
        ({"rope_type": "linear", "factor": 0}, "factor must be a number from 1e-30"),
        ({"rope_type": "linear", "factor": float("nan")}, "factor must be a number from 1e-30"),
        ({"rope_type": "longrope", **_FACTORS, "long_factor": [1.0]}, "a list of 8 numbers"),
        ({"rope_type": "longrope", **_FACTORS, "long_factor": [0] * 8}, "numbers from 1e-30"),
        ({**_LLAMA3, "high_freq_factor": 1.0}, "must exceed low_freq_factor"),
        ({**_YARN, "beta_fast": 1e-320}, "beta_fast must be a number from 1e-30"),
        ({**_YARN, "mscale": 1.0}, "mscale is not supported"),
        ([1], "rope_scaling must be an object"),
    ],
)
def test_impossible_scaling_is_refused(scaling: Any, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        _parse(scaling)


def test_dynamic_scaling_ends_with_the_context_of_the_model() -> None:
    with pytest.raises(FormatError, match="4096 tokens at most, but 4097"):
        _parse({"type": "dynamic", "factor": 2.0}, context_window_size=4097)


@pytest.mark.parametrize(("share", "message"), [(0.3, "must be even|rotate"), (1.5, "to 1,")])
def test_odd_rotary_sizes_are_refused(share: float, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        _parse(None, partial_rotary_factor=share, head_dim=10)
