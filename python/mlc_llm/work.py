"""What one decoded token takes: how far it is from the limit that memory sets, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mlc_llm._library import load
from mlc_llm.plan import PAGE_TOKENS, page_bytes

if TYPE_CHECKING:
    from mlc_llm.model import Model


@dataclass(frozen=True)
class Work:
    """Of one step that decodes a token of one sequence.

    The first four are 0 on the CPU, which has none. ``weight_bytes`` and ``cache_bytes`` are read
    at least; ``returned_bytes`` are copied to the host.
    """

    dispatches: int
    barriers: int
    submissions: int
    returned_bytes: int
    weight_bytes: int
    cache_bytes: int


def last_work(model: Model, context: int) -> Work:
    """Return what the last step of `model` took, which decoded a token after `context` others."""
    counts = np.from_dlpack(load()("model_last_work")(model.handle))
    dispatches, barriers, submissions, returned = counts.tolist()
    config = model.config
    sizes = {name: tensor.nbytes for name, tensor in model.loaded.tensors.items()}
    weights = sum(sizes.values())
    if "weight:lm_head" in sizes:  # else the table of embeddings is read as a whole
        weights -= sizes["weight:embed"] + sizes.get("scale:embed", 0)
    seen = sum(min(window or context, context) for window in config.windows)
    cache = seen * page_bytes(config) // (PAGE_TOKENS * config.layers)
    return Work(dispatches, barriers, submissions, returned, weights, cache)


def copy_bandwidth(device: str) -> float:
    """Return the bytes per second that a Vulkan device reads and writes when it copies."""
    return float(load()("vulkan_bandwidth")(device))
