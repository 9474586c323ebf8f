"""The worker for llama.cpp: `python -m ci.bench.llama_cpp MODEL THREADS [DEVICE]` where it is.

Without a device it computes on the processor, with "vulkan" on the first such device or not at all.
As in llama.cpp's own `llama-bench`, tokens are computed and their logits read; nothing is sampled.
All settings are llama.cpp's defaults: flash attention where it can (it can here), weights mapped,
and repacked into another layout where that is faster.
"""

from __future__ import annotations

import ctypes
import re
import sys
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ci.bench.worker import PREFILL, SEQUENCES, serve

EVERY_LAYER = 1 << 10
llama: Any = import_module("llama_cpp.llama_cpp")  # only its own environment has it


class LlamaCpp:
    """One model and one context of llama.cpp."""

    def __init__(self, path: str, threads: int, device: str) -> None:
        self.log: list[str] = []
        self._callback = llama.llama_log_callback(
            lambda _level, text, _: self.log.append(text.decode())
        )
        llama.llama_log_set(self._callback, None)
        llama.llama_backend_init()
        self.threads = threads
        model_params = llama.llama_model_default_params()
        model_params.n_gpu_layers = EVERY_LAYER if device else 0
        self.model = llama.llama_model_load_from_file(path.encode(), model_params)
        params = llama.llama_context_default_params()
        params.n_ctx = SEQUENCES * PREFILL  # a part of its own for each
        params.n_batch = params.n_ubatch = PREFILL
        params.n_seq_max = SEQUENCES
        params.n_threads = params.n_threads_batch = threads
        params.no_perf = True
        self.context = self.model and llama.llama_init_from_model(self.model, params)
        if not self.context:
            sys.exit("llama.cpp cannot load the model:\n" + "".join(self.log[-20:]))
        if device and not re.search(rf"{device}\d+ model buffer", "".join(self.log), re.IGNORECASE):
            # It would compute on the processor under the device's name.
            sys.exit("".join(self.log) + f"llama.cpp found no {device} device; its log is above.")
        self.batch = llama.llama_batch_init(PREFILL, 0, 1)
        self.vocab = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(self.model))
        self.lengths: dict[int, int] = {}

    def describe(self) -> dict[str, Any]:
        """Return the version, the processor's features in use and the settings."""
        log = "".join(self.log)
        return {
            "version": import_module("llama_cpp").__version__,
            "threads": llama.llama_n_threads(self.context),
            "features": llama.llama_print_system_info().decode().strip(" |"),
            "devices": re.findall(r"ggml_vulkan: \d+ = .+", log),
            "buffers": re.findall(r"(\S+ model buffer size) = +(.+)", log),
            "flash attention": re.findall(r"(?:flash_attn|Flash Attention)\b.*", log),
        }

    def reset(self) -> None:
        """Forget all sequences."""
        llama.llama_memory_clear(llama.llama_get_memory(self.context), False)  # noqa: FBT003
        self.lengths = {}

    def extend(self, tokens: dict[int, list[int]]) -> NDArray[np.float32]:
        """See `worker.Engine`."""
        batch, row = self.batch, 0
        for sequence, new in tokens.items():
            past = self.lengths.get(sequence, 0)
            for i, token in enumerate(new):
                batch.token[row] = token
                batch.pos[row] = past + i
                batch.n_seq_id[row] = 1
                batch.seq_id[row][0] = sequence
                batch.logits[row] = i + 1 == len(new)
                row += 1
            self.lengths[sequence] = past + len(new)
        batch.n_tokens = row
        if status := llama.llama_decode(self.context, batch):
            sys.exit(f"llama_decode failed with {status}")
        logits = llama.llama_get_logits(self.context)
        return np.ctypeslib.as_array(
            ctypes.cast(logits, ctypes.POINTER(ctypes.c_float)), (len(tokens), self.vocab)
        )


if __name__ == "__main__":
    serve(lambda: LlamaCpp(sys.argv[1], int(sys.argv[2]), "".join(sys.argv[3:])))
