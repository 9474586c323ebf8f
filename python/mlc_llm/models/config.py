"""What the native core is told about a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlc_llm.models.rope import Rope

_SCALARS = (
    *("hidden", "intermediate", "layers", "heads", "kv_heads", "head_dim", "vocab"),
    *("norm_epsilon", "activation", "embed_scale", "attention_scale", "attention_softcap"),
    *("logit_softcap", "rotary_dim", "rotary_scale"),
)


@dataclass(frozen=True)
class ModelConfig:
    """Shape and switches of a decoder-only transformer; sizes are counts of values.

    ``windows`` has one entry for each layer: how many tokens a token sees, itself included, or 0
    for all. ``rotary_tables`` says for each layer which of ``ropes`` it uses. ``embed_scale``
    multiplies embeddings, ``attention_scale`` the products of queries and keys. The soft caps are 0
    where there are none. ``context_window`` is in tokens; replace it (``dataclasses.replace``) to
    run with a shorter one.
    """

    family: str
    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    norm_epsilon: float
    activation: str
    embed_scale: float
    attention_scale: float
    attention_softcap: float
    logit_softcap: float
    windows: tuple[int, ...]
    rotary_tables: tuple[int, ...]
    ropes: tuple[Rope, ...]
    context_window: int
    tie_word_embeddings: bool
    half_cache: bool = False

    @property
    def rotary_dim(self) -> int:
        """How many leading values of each head rotate."""
        return self.ropes[0].dim

    @property
    def rotary_scale(self) -> float:
        """The factor on cosines and sines."""
        return self.ropes[0].scale

    @property
    def inverse_frequencies(self) -> NDArray[np.float32]:
        """The rotary tables, [tables, rotary_dim / 2]."""
        return np.stack([rope.inverse_frequencies(self.context_window) for rope in self.ropes])

    def to_native(self) -> list[Any]:
        """Return keys and values, alternating, as ``mlc_llm.model_create`` takes them."""
        pairs: list[Any] = []
        for name in _SCALARS:
            pairs += [name, getattr(self, name)]
        pairs += ["half_cache", int(self.half_cache)]
        pairs += ["windows", np.array(self.windows, np.int32)]
        pairs += ["rotary_tables", np.array(self.rotary_tables, np.int32)]
        return [*pairs, "inverse_frequencies", self.inverse_frequencies]
