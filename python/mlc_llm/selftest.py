"""Runs every operator on every device and compares it with NumPy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mlc_llm.linear import Q4F16Linear
from mlc_llm.quantization import GROUP_SIZE, count_groups, dequantize_q4f16_1

if TYPE_CHECKING:
    from numpy.typing import NDArray

# (N, K): single values, partial words and groups, partial vectors of every kernel, a real layer.
SHAPES = ((1, 1), (3, 7), (17, 8), (1, 31), (3, 32), (17, 33), (5, 255), (1000, 96), (512, 4096))

# Rounding of the result to float16 (2^-11), and of K sums in float32 that may cancel.
_RELATIVE = 2.0**-11
_RELATIVE_TO_SUM = 2.0**-20

# x is rounded to integers, half a step at most: the largest value of each group of 32 is 127 on the
# CPU and 32512 on Vulkan.
_CPU_HALF_STEP = 1 / 254
_VULKAN_HALF_STEP = 1 / 65024


@dataclass(frozen=True)
class Result:
    """One operator, on one device, for one shape; `error` is a share of what is allowed."""

    device: str
    shape: tuple[int, int]
    error: float
    message: str = ""

    @property
    def passed(self) -> bool:
        """Whether the operator ran and stayed within the bound."""
        return not self.message and self.error <= 1


def random_layer(
    rows: int, in_features: int
) -> tuple[NDArray[np.uint32], NDArray[np.float16], NDArray[np.float16]]:
    """Return (words, scales, x) that use every nibble value, padding included."""
    random = np.random.default_rng(rows * 100_003 + in_features)
    groups = count_groups(in_features)
    words = random.integers(0, 2**32, (rows, groups * 4), np.uint32)
    scales = random.uniform(0.001, 0.02, (rows, groups)).astype(np.float16)
    return words, scales, random.standard_normal(in_features).astype(np.float16)


def measure_error(
    words: NDArray[np.uint32],
    scales: NDArray[np.float16],
    x: NDArray[np.float16],
    out: NDArray[np.float16],
    *,
    device: str,
) -> float:
    """Return the largest error of `out` as a share of what is allowed on `device`.

    NaN counts as infinite.
    """
    weight = dequantize_q4f16_1(words, scales, len(x)).astype(np.float64)
    expected = weight @ x.astype(np.float64)
    magnitude = np.abs(weight) @ np.abs(x.astype(np.float64))
    # Below 2^-14, float16 is spaced by 2^-24.
    allowed = np.abs(expected) * _RELATIVE + magnitude * _RELATIVE_TO_SUM + 2.0**-25
    firsts = np.arange(0, len(x), GROUP_SIZE)
    largest = np.maximum.reduceat(np.abs(x.astype(np.float64)), firsts)
    half_step = _CPU_HALF_STEP if device == "cpu" else _VULKAN_HALF_STEP
    rounding = np.add.reduceat(np.abs(weight), firsts, axis=1) @ largest * half_step
    allowed += rounding * (1 + _RELATIVE)
    shares = np.abs(out.astype(np.float64) - expected) / allowed
    return float(np.nan_to_num(shares, nan=np.inf).max())


def run_case(device: str, shape: tuple[int, int]) -> Result:
    """Run the operator for a weight of `shape` [N, K] on `device`. Failures become results."""
    words, scales, x = random_layer(*shape)
    try:
        out = Q4F16Linear(words, scales, in_features=shape[1], device=device)(x)
    except (ValueError, RuntimeError) as error:
        return Result(device, shape, float("inf"), str(error))
    return Result(device, shape, measure_error(words, scales, x, out, device=device))


def run(device: str) -> list[Result]:
    """Run every shape on `device`."""
    return [run_case(device, shape) for shape in SHAPES]
