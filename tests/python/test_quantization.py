from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mlc_llm import dequantize_q4f16_1, quantize_q4f16_1
from mlc_llm.quantization import quantize_groups


def test_layout_is_that_of_mlc() -> None:
    # A group whose largest magnitude is 7 has scale 1, so nibbles are the values + 7.
    weight = np.zeros((1, 32), np.float32)
    weight[0, :9] = [-7, -6, -1, 0, 1, 2, 6, 7, 3]
    words, scales = quantize_q4f16_1(weight)
    assert words.tolist() == [[0xED987610, 0x7777777A, 0x77777777, 0x77777777]]
    assert scales.tolist() == [[1.0]]


@pytest.mark.parametrize("in_features", [1, 7, 8, 31, 32, 33, 255])
def test_error_is_about_half_a_scale_at_most(in_features: int) -> None:
    weight = np.random.default_rng(in_features).standard_normal((5, in_features), np.float32)
    words, scales = quantize_q4f16_1(weight)
    groups = -(-in_features // 32)
    assert words.shape == (5, groups * 4)
    assert words.dtype == np.uint32
    assert scales.shape == (5, groups)
    assert scales.dtype == np.float16
    error = np.abs(dequantize_q4f16_1(words, scales, in_features) - weight)
    # MLC rounds to float16 at each step: the weight, the scale, the quotient and the sum.
    allowed = np.repeat(scales.astype(np.float32), 32, axis=1)[:, :in_features]
    assert (error <= allowed * (0.5 + 2.0**-7)).all()


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


def _quantize_value_by_value(weight: NDArray[Any]) -> tuple[list[int], list[Any]]:
    """MLC's arithmetic for one row, one value at a time, in the row's dtype."""
    one = weight.dtype.type
    words, scales = [], []
    for begin in range(0, len(weight), 32):
        group = weight[begin : begin + 32]
        scale = one(max(abs(value) for value in group) / one(7))
        scales.append(scale)
        packed = 0
        for index, value in enumerate(group):
            nibble = 7 if scale == 0 else round(float(one(one(value / scale) + one(7))))
            packed |= min(max(nibble, 0), 14) << 4 * index
        words += [packed >> 32 * word & 0xFFFFFFFF for word in range(4)]
    return words, scales


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("in_features", [5, 32, 100])
@pytest.mark.parametrize("magnitude", [1.0, 1e-6, 1e4])
def test_bytes_are_those_of_mlc(dtype: Any, in_features: int, magnitude: float) -> None:
    random = np.random.default_rng(in_features)
    weight = (magnitude * random.standard_normal((40, in_features))).astype(dtype)
    weight[3] = 0
    weight[4, ::2] = weight[4, 0] / dtype(2)  # halves of a scale, that is ties
    words, scales = quantize_groups(weight)
    expected = [_quantize_value_by_value(row) for row in weight]
    assert words.tolist() == [row for row, _ in expected]
    assert scales.dtype == dtype
    assert scales.tolist() == [row for _, row in expected]
