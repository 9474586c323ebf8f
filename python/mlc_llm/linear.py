"""Linear layers with quantized weights."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np

from mlc_llm._library import load
from mlc_llm.quantization import GROUP_SIZE


def _as_readable(tensor: Any) -> Any:
    """Import a read-only NumPy array, such as memory-mapped weights, without a copy.

    DLPack can tell of such only since its version 1.0, which the FFI does not ask for by itself.
    """
    if not isinstance(tensor, np.ndarray) or tensor.flags.writeable:
        return tensor
    try:
        capsule = tensor.__dlpack__(max_version=(1, 0))
    except TypeError:
        raise ValueError(
            f"NumPy {np.__version__} cannot pass a read-only array without a copy. Use NumPy 2.1 "
            'or newer, or copy the array, or memory-map it with mode "c".'
        ) from None
    return import_module("tvm_ffi").from_dlpack(capsule)


class Q4F16Linear:
    """``out = weight @ x`` with a q4f16_1 weight [N, K] that lives on one device.

    `words` [N, G * 4] uint32 and `scales` [N, G] float16 (G is K / 32, rounded up) come from
    ``quantize_q4f16_1`` or from a model of MLC LLM. Every tensor may be of any library that speaks
    DLPack, NumPy and torch included, in host memory and contiguous. None is copied on the way in;
    the CPU reads the weight where it is, so it must not be changed. It also rounds `x` to int8, in
    groups of 32 that share a scale of max|x| / 127; Vulkan does not.

    Raises TypeError for a wrong dtype, ValueError for a wrong shape or an unknown device, and
    RuntimeError when the device fails.
    """

    def __init__(
        self, words: Any, scales: Any, *, in_features: int | None = None, device: str = "cpu"
    ) -> None:
        self.out_features = int(words.shape[0])
        if in_features is None:
            in_features = GROUP_SIZE * int(scales.shape[-1])
        self.in_features = in_features
        self.device = device
        self._apply = load()("q4f16_1_linear")(
            device, self.in_features, _as_readable(words), _as_readable(scales)
        )

    def __call__(self, x: Any, out: Any = None) -> Any:
        """Multiply `x` [K] float16 and return `out` [N] float16, a new NumPy array by default."""
        if out is None:
            out = np.empty(self.out_features, np.float16)
        elif isinstance(out, np.ndarray) and not out.flags.writeable:
            raise ValueError("out must be writable, but it is a read-only NumPy array.")
        self._apply(_as_readable(x), out)
        return out
