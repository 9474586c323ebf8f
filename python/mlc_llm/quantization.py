"""MLC's q4f16_1 weight format in NumPy.

Rows are cut into groups of 32 values along the input dimension. A group has one float16 scale, and
each value is 4 bits: ``(nibble - 7) * scale``, eight to a uint32, the first in the lowest bits.
Rows are padded to whole groups. Source: MLC LLM's ``quantization/group_quantization.py``
(``q4f16_1``: int4, group 32, uint32 storage, float16, layout NK).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

GROUP_SIZE = 32
_NIBBLES = 8  # in a word
_BIAS = 7
_SHIFTS = np.arange(0, 4 * _NIBBLES, 4, dtype=np.uint32)

FloatArray = NDArray[np.floating[Any]]


def count_groups(in_features: int) -> int:
    """Return how many groups hold a row of `in_features` values."""
    return -(-in_features // GROUP_SIZE)


def quantize_q4f16_1(weight: FloatArray) -> tuple[NDArray[np.uint32], NDArray[np.float16]]:
    """Quantize `weight` [N, K] into (words [N, G * 4] uint32, scales [N, G] float16).

    G is K / 32, rounded up. A scale is its group's largest magnitude / 7, so that the error of a
    value is half a scale at most. Raises ValueError when `weight` is not a matrix, is empty, has a
    value that is not finite or one too large for a float16 scale.
    """
    if weight.ndim != 2 or weight.size == 0:  # noqa: PLR2004 - a matrix
        raise ValueError(f"weight must be a matrix with values, but its shape is {weight.shape}.")
    rows, in_features = weight.shape
    groups = count_groups(in_features)
    padded = np.zeros((rows, groups * GROUP_SIZE), np.float32)
    padded[:, :in_features] = weight
    grouped = padded.reshape(rows, groups, GROUP_SIZE)

    largest = np.abs(grouped).max(axis=2) / _BIAS
    if not (largest <= np.finfo(np.float16).max).all():
        raise ValueError("weight has a value that is not finite or too large for float16 scales.")
    scales = largest.astype(np.float16)
    divisors = np.where(scales == 0, np.float32(1), scales.astype(np.float32))
    nibbles = np.clip(np.rint(grouped / divisors[:, :, None]) + _BIAS, 0, 2 * _BIAS)
    nibbles = nibbles.astype(np.uint32).reshape(rows, groups * 4, _NIBBLES)
    return np.bitwise_or.reduce(nibbles << _SHIFTS, axis=2), scales


def dequantize_q4f16_1(
    words: NDArray[np.uint32], scales: NDArray[np.float16], in_features: int
) -> NDArray[np.float32]:
    """Return the float32 weight [N, in_features] that `words` and `scales` stand for."""
    nibbles = (words[:, :, None] >> _SHIFTS) & np.uint32(0xF)
    values = nibbles.astype(np.float32).reshape(len(words), -1, GROUP_SIZE) - np.float32(_BIAS)
    weight = values * scales.astype(np.float32)[:, :, None]
    return weight.reshape(len(words), -1)[:, :in_features]
