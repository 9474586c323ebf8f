from __future__ import annotations

import numpy as np
import pytest

from mlc_llm import dequantize_q4f16_1, quantize_q4f16_1


def test_layout_is_that_of_mlc() -> None:
    # A group whose largest magnitude is 7 has scale 1, so nibbles are the values + 7.
    weight = np.zeros((1, 32), np.float32)
    weight[0, :9] = [-7, -6, -1, 0, 1, 2, 6, 7, 3]
    words, scales = quantize_q4f16_1(weight)
    assert words.tolist() == [[0xED987610, 0x7777777A, 0x77777777, 0x77777777]]
    assert scales.tolist() == [[1.0]]


@pytest.mark.parametrize("in_features", [1, 7, 8, 31, 32, 33, 255])
def test_error_is_half_a_scale_at_most(in_features: int) -> None:
    weight = np.random.default_rng(in_features).standard_normal((5, in_features), np.float32)
    words, scales = quantize_q4f16_1(weight)
    groups = -(-in_features // 32)
    assert words.shape == (5, groups * 4)
    assert words.dtype == np.uint32
    assert scales.shape == (5, groups)
    assert scales.dtype == np.float16
    error = np.abs(dequantize_q4f16_1(words, scales, in_features) - weight)
    # The float16 scale itself is rounded, which moves the ends of the range, 7 scales away.
    allowed = np.repeat(scales.astype(np.float32), 32, axis=1)[:, :in_features]
    assert (error <= allowed * (0.5 + 7 * 2.0**-11)).all()


def test_zeros_stay_zero() -> None:
    words, scales = quantize_q4f16_1(np.zeros((2, 40), np.float32))
    assert not dequantize_q4f16_1(words, scales, 40).any()


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e6])
def test_what_float16_cannot_scale_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="not finite or too large"):
        quantize_q4f16_1(np.full((1, 32), value, np.float32))


@pytest.mark.parametrize("shape", [(32,), (0, 32), (1, 0), (1, 2, 32)])
def test_only_matrices_are_taken(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="must be a matrix"):
        quantize_q4f16_1(np.zeros(shape, np.float32))
