"""MLC's weight formats in NumPy.

q4f16_1: rows are cut into groups of 32 values along the input dimension. A group has one float16
scale, and each value is 4 bits: ``(nibble - 7) * scale``, eight to a uint32, the first in the
lowest bits. Rows are padded to whole groups. q4f32_1 is the same with float32 scales. q0f16 and
q0f32 are not quantized. Source: MLC LLM's ``quantization/group_quantization.py`` (int4, group 32,
uint32 storage, layout NK), whose arithmetic is repeated step by step in the model's dtype.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

GROUP_SIZE = 32
WORDS_PER_GROUP = 4
_NIBBLES = 8  # in a word
_BIAS = 7
_SHIFTS = np.arange(0, 4 * _NIBBLES, 4, dtype=np.uint32)

FloatArray = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Quantization:
    """How a model's weights are stored: 4 bits or not, and the dtype of all that is not 4 bits."""

    name: str
    grouped: bool
    dtype: str


QUANTIZATIONS = {
    quantization.name: quantization
    for quantization in (
        Quantization("q0f16", grouped=False, dtype="float16"),
        Quantization("q0f32", grouped=False, dtype="float32"),
        Quantization("q4f16_1", grouped=True, dtype="float16"),
        Quantization("q4f32_1", grouped=True, dtype="float32"),
    )
}


def get_quantization(name: str) -> Quantization:
    """Return a quantization by MLC's name. Raises ValueError with the list of names."""
    if name not in QUANTIZATIONS:
        known = ", ".join(QUANTIZATIONS)
        raise ValueError(f"Quantization {name[:80]!r} is not supported. Supported: {known}.")
    return QUANTIZATIONS[name]


def count_groups(in_features: int) -> int:
    """Return how many groups hold a row of `in_features` values."""
    return -(-in_features // GROUP_SIZE)


def _round_to_float16(values: NDArray[np.float32]) -> None:
    """Round float32 to the 11 bits of a float16, ties to even, in place; subnormals keep more."""
    bits = values.view(np.uint32)
    odd = bits >> 13
    odd &= 1
    odd += 0xFFF
    bits += odd
    bits &= 0xFFFFE000


def quantize_groups(weight: FloatArray) -> tuple[NDArray[np.uint32], FloatArray]:
    """Quantize `weight` [N, K] into (words [N, G * 4] uint32, scales [N, G] of `weight`'s dtype).

    G is K / 32, rounded up. `weight` is float16 or float32, finite, and not empty. A scale is its
    group's largest magnitude / 7, so the error of a value is about half a scale at most.
    """
    rows, in_features = weight.shape
    groups = count_groups(in_features)
    padded = np.zeros((rows, groups * GROUP_SIZE), np.float32)
    padded[:, :in_features] = weight
    grouped = padded.reshape(rows, groups, GROUP_SIZE)
    scales = (np.abs(grouped).max(axis=2) / np.float32(_BIAS)).astype(weight.dtype)
    grouped /= np.where(scales == 0, 1, scales).astype(np.float32)[:, :, None]
    if weight.dtype == np.float16:
        # NumPy's own float16 gives the same, ten times as slowly. A subnormal quotient is far from
        # where its rounding could change the sum.
        _round_to_float16(grouped)
        grouped += np.float32(_BIAS)
        _round_to_float16(grouped)
    else:
        grouped += np.float32(_BIAS)
    # TVM's round is to even (apache/tvm#19368), as NumPy's.
    nibbles = np.clip(np.rint(grouped, out=grouped), 0, 2 * _BIAS).astype(np.uint8)
    nibbles.reshape(rows, -1)[:, in_features:] = 0
    pairs = nibbles.view("<u2")
    return (pairs | pairs >> 4).astype(np.uint8).view("<u4").reshape(rows, -1), scales


def quantize_q4f16_1(weight: FloatArray) -> tuple[NDArray[np.uint32], NDArray[np.float16]]:
    """Quantize `weight` [N, K] into (words [N, G * 4] uint32, scales [N, G] float16).

    G is K / 32, rounded up. Raises ValueError when `weight` is not a matrix, is empty, has a value
    that is not finite or one too large for float16.
    """
    if weight.ndim != 2 or weight.size == 0:  # noqa: PLR2004 - a matrix
        raise ValueError(f"weight must be a matrix with values, but its shape is {weight.shape}.")
    with np.errstate(over="ignore"):
        rounded = weight.astype(np.float16)
    if not np.isfinite(rounded).all():
        raise ValueError("weight has a value that is not finite or too large for float16.")
    words, scales = quantize_groups(rounded)
    return words, scales.astype(np.float16)


def dequantize_q4f16_1(
    words: NDArray[np.uint32], scales: FloatArray, in_features: int
) -> NDArray[np.float32]:
    """Return the float32 weight [N, in_features] that `words` and `scales` stand for.

    Scales of float32 are q4f32_1's.
    """
    nibbles = (words[:, :, None] >> _SHIFTS) & np.uint32(0xF)
    values = nibbles.astype(np.float32).reshape(len(words), -1, GROUP_SIZE) - np.float32(_BIAS)
    weight = values * scales.astype(np.float32)[:, :, None]
    return weight.reshape(len(words), -1)[:, :in_features]
