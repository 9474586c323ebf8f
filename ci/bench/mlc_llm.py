"""The worker for mlc_llm: `python -m ci.bench.mlc_llm MODEL THREADS [DEVICE]` where it is.

The native functions are called as the package's engine calls them. Threads are as many as
MLC_LLM_NUM_THREADS says.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ci.bench.worker import CACHE_TOKENS, PREFILL, SEQUENCES, serve


class MlcLlm:
    """One model and one key-value cache of mlc_llm."""

    def __init__(self, path: str, device: str) -> None:
        self.device = device
        # By name: the factory does not import what it builds.
        self.package: Any = import_module("mlc_llm")
        library = import_module("mlc_llm._library").load()
        self.model = import_module("mlc_llm.model").Model.load(
            path, device=device, max_rows=PREFILL
        )
        self.page_tokens: int = import_module("mlc_llm.plan").PAGE_TOKENS
        pages = CACHE_TOKENS // self.page_tokens
        self.cache = library("cache_create")(self.model.handle, pages)
        self.forward = library("model_forward")
        self.pages_each = pages // SEQUENCES
        self.logits = np.empty((SEQUENCES, self.model.config.vocab), np.float32)
        self.lengths: dict[int, int] = {}

    def describe(self) -> dict[str, Any]:
        """Return the version, the threads and the processor's features in use."""
        (device,) = (d for d in self.package.list_devices() if d.id == self.device)
        return {
            "version": self.package.__version__,
            "device": device.name,
            "threads": int(os.environ["MLC_LLM_NUM_THREADS"]),
            "features": list(device.features),
        }

    def work(self) -> dict[str, int]:
        """Return what the last step took: see mlc_llm.work."""
        work = import_module("mlc_llm.work").last_work(self.model, self.lengths[0])
        return dict(vars(work))

    def reset(self) -> None:
        """Forget all sequences."""
        self.lengths = {}

    def extend(self, tokens: dict[int, list[int]]) -> NDArray[np.float32]:
        """See `worker.Engine`."""
        sequences: list[tuple[int, int, int]] = []
        pages: list[int] = []
        ends: list[int] = []
        rows = 0
        for sequence, new in tokens.items():
            past = self.lengths.get(sequence, 0)
            self.lengths[sequence] = past + len(new)
            sequences.append((len(new), past, len(pages)))
            first = sequence * self.pages_each
            pages += range(first, first - (-(past + len(new)) // self.page_tokens))
            rows += len(new)
            ends.append(rows - 1)
        out = self.logits[: len(tokens)]
        flat = [token for new in tokens.values() for token in new]
        arrays = (np.array(values, np.int32) for values in (flat, sequences, pages, ends))
        self.forward(self.model.handle, self.cache, *arrays, out)
        return out


if __name__ == "__main__":
    serve(lambda: MlcLlm(sys.argv[1], *(sys.argv[3:] or ["cpu"])))
