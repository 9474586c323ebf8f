"""The models that the engine is judged on: every family, and what configurations vary."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from small_models import FAMILIES, make_hf_model

from mlc_llm.weights import convert_weight, gen_config

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

# Name -> (family, what its config.json says otherwise).
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    **{family: (family, {}) for family in FAMILIES},
    "llama-linear": ("llama", {"rope_scaling": {"type": "linear", "factor": 4.0}}),
    "llama-wide-heads": ("llama", {"head_dim": 48, "num_key_value_heads": 1}),
    "mistral-all": ("mistral", {"sliding_window": None}),
    "qwen2-window": ("qwen2", {"use_sliding_window": True, "max_window_layers": 1}),
    "qwen3-yarn": (
        "qwen3",
        {
            "rope_scaling": {
                "rope_type": "yarn",
                "factor": 4.0,
                "original_max_position_embeddings": 128,
            }
        },
    ),
    "phi3-partial": (
        "phi3",
        {
            "partial_rotary_factor": 0.75,
            "sliding_window": 20,
            "rope_scaling": {
                "type": "longrope",
                "short_factor": [1.0, 1.05, 1.1, 1.3, 1.5, 2.0],
                "long_factor": [1.0, 1.3, 2.8, 4.0, 7.0, 9.0],
            },
        },
    ),
}

# What takes one trait out of a case: its logits must change, or the trait was never tested.
TRAITS: list[tuple[str, dict[str, Any]]] = [
    ("llama3", {"rope_scaling": None}),
    ("llama-linear", {"rope_scaling": None}),
    ("mistral", {"sliding_window": None}),
    ("qwen2-window", {"use_sliding_window": False}),
    ("qwen3-yarn", {"rope_scaling": None}),
    ("phi3", {"rope_scaling": None}),
    ("phi3-partial", {"sliding_window": None}),
    ("gemma2", {"sliding_window": None}),
    ("gemma2", {"attn_logit_softcapping": None}),
    ("gemma2", {"final_logit_softcapping": None}),
    ("gemma3_text", {"sliding_window": None}),
    ("gemma3_text", {"rope_scaling": None}),
    ("gemma3_text", {"rope_local_base_freq": 1000000.0}),
]

VOCAB = 256  # of which prompts are made: the byte tokens


def make_tokens(count: int, seed: int = 0) -> list[int]:
    """Return `count` random tokens; a longer list with the same seed begins with a shorter one."""
    tokens: list[int] = np.random.default_rng(seed).integers(0, VOCAB, 4096)[:count].tolist()
    return tokens


def error_of(found: NDArray[Any], expected: NDArray[Any]) -> float:
    """Return the largest difference, as a share of the largest expected magnitude."""
    assert found.shape == expected.shape
    difference = np.abs(found.astype(np.float64) - expected.astype(np.float64)).max()
    return float(np.nan_to_num(difference, nan=np.inf) / np.abs(expected).max())


def distance(found: NDArray[Any], expected: NDArray[Any]) -> float:
    """Return the norm of the difference, as a share of the norm of what is expected."""
    difference = float(np.linalg.norm(found.astype(np.float64) - expected))
    return float(np.nan_to_num(difference, nan=np.inf) / np.linalg.norm(expected))


class ModelMaker:
    """Makes each directory once, below `root`."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.hf = cache(self._make_hf)
        self.mlc = cache(self._make_mlc)

    def _make_hf(self, case: str) -> Path:
        family, overrides = CASES[case]
        return make_hf_model(self._root / case / "hf", family, **overrides)

    def _make_mlc(self, case: str, quantization: str) -> Path:
        return convert(self.hf(case), quantization, self._root / case / quantization)


def convert(source: Path, quantization: str, output: Path, **options: Any) -> Path:
    """Convert a Hugging Face directory as the two commands do, and return `output`."""
    convert_weight(source, quantization, output)
    gen_config(source, quantization, "LM", output, **options)
    return output
