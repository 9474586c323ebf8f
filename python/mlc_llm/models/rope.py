"""Rotary position embeddings: the inverse frequencies of every kind of scaling.

Source: transformers' ``modeling_rope_utils.py``, whose names for kinds and parameters are used.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ROPE_KINDS = ("default", "linear", "dynamic", "llama3", "yarn", "longrope")


@dataclass(frozen=True)
class Rope:
    """One rotary table.

    ``original_context`` is the length, in tokens, that the model was trained with before scaling.
    ``short_factors`` and ``long_factors`` ([dim / 2] each) are longrope's. "dynamic" is "default":
    it differs only beyond the context that a model states, which is not offered.
    """

    dim: int
    theta: float
    kind: str = "default"
    factor: float = 1.0
    original_context: int = 0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    truncate: bool = True
    attention_factor: float | None = None
    short_factors: tuple[float, ...] = ()
    long_factors: tuple[float, ...] = ()

    def inverse_frequencies(self, context: int) -> NDArray[np.float32]:
        """Return float32 [dim / 2] for a context of `context` tokens, which longrope depends on."""
        plain: NDArray[np.float64] = self.theta ** (
            -np.arange(0, self.dim, 2, dtype=np.float64) / self.dim
        )
        if self.kind == "linear":
            plain /= self.factor
        elif self.kind == "llama3":
            plain = self._scale_llama3(plain)
        elif self.kind == "yarn":
            plain = self._scale_yarn(plain)
        elif self.kind == "longrope":
            long = context > self.original_context
            plain /= np.array(self.long_factors if long else self.short_factors)
        return plain.astype(np.float32)

    @property
    def scale(self) -> float:
        """The factor on cosines and sines."""
        if self.kind not in ("yarn", "longrope"):
            return 1.0
        if self.attention_factor is not None:
            return self.attention_factor
        if self.factor <= 1:
            return 1.0
        if self.kind == "yarn":
            return 0.1 * math.log(self.factor) + 1
        return math.sqrt(1 + math.log(self.factor) / math.log(self.original_context))

    def _scale_llama3(self, plain: NDArray[np.float64]) -> NDArray[np.float64]:
        """Keep high frequencies, divide low ones by the factor, and blend between the two."""
        turns = self.original_context * plain / (2 * math.pi)
        span = self.high_freq_factor - self.low_freq_factor
        kept = np.clip((turns - self.low_freq_factor) / span, 0, 1)
        scaled: NDArray[np.float64] = plain * (kept + (1 - kept) / self.factor)
        return scaled

    def _scale_yarn(self, plain: NDArray[np.float64]) -> NDArray[np.float64]:
        """Blend as llama3 does, but linearly in the index between two numbers of turns."""

        def find_index(turns: float) -> float:
            length = self.original_context / (turns * 2 * math.pi)
            return self.dim * math.log(length) / (2 * math.log(self.theta))

        low, high = find_index(self.beta_fast), find_index(self.beta_slow)
        if self.truncate:
            low, high = math.floor(low), math.ceil(high)
        low, high = max(low, 0), min(high, self.dim - 1)
        if low == high:
            high += 0.001
        divided = np.clip((np.arange(self.dim // 2) - low) / (high - low), 0, 1)
        scaled: NDArray[np.float64] = plain * (1 - divided + divided / self.factor)
        return scaled
