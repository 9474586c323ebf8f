"""Models: token ids in, logits out."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlc_llm._library import load
from mlc_llm.linear import _as_readable
from mlc_llm.placement import find_placements
from mlc_llm.plan import PAGE_TOKENS, page_bytes
from mlc_llm.weights import LoadedModel, load_model_dir

if TYPE_CHECKING:
    from collections.abc import Sequence as Items

    from mlc_llm.models import ModelConfig

Progress = Callable[[str, int, int], None]
Logits = NDArray[np.float32]
TokenIds = NDArray[np.int32]

# Of Model.extend's cache: on the CPU only what is used takes memory, on a GPU all of it.
_MOST_CACHE_BYTES = {"cpu": 2**30, "vulkan": 2**26}


class Sequence:
    """Tokens that a model has seen one after another; ``len`` counts them.

    Made by ``Model.sequence``. Its keys and values stay in the model's cache until it is dropped.
    """

    def __init__(self, free_pages: list[int]) -> None:
        self._length = 0
        self._free_pages = free_pages  # the model's own list, by which it knows its sequences
        self._pages: list[int] = []
        # Pages go back when nobody holds the sequence any more.
        weakref.finalize(self, lambda pages: free_pages.extend(reversed(pages)), self._pages)

    def __len__(self) -> int:
        return self._length


class Model:
    """A model on one device. Any number of threads may use it: they take turns.

    `max_rows` is the most tokens that are computed together. `progress` is called as the weights go
    to the device: (name of the next one, bytes done, bytes of all).
    """

    def __init__(
        self,
        loaded: LoadedModel,
        device: str = "cpu",
        max_rows: int = 512,
        progress: Progress | None = None,
    ) -> None:
        self.loaded = loaded
        self.config: ModelConfig = loaded.config
        self.device = find_placements(device)[0].device
        self.max_rows = max_rows
        weights: list[Any] = []
        for name, tensor in loaded.tensors.items():
            weights += [name, _as_readable(tensor)]
        native = load()
        pairs = self.config.to_native() + weights
        self.handle = _create(native("model_create"), self.device, max_rows, pairs, progress)
        self._forward = native("model_forward")
        self._create_cache = native("cache_create")
        self._cache: Any = None
        self._free_pages: list[int] = []
        self._lock = threading.Lock()

    @classmethod
    def load(cls, path: str | Path, device: str = "cpu", max_rows: int = 512) -> Model:
        """Load the MLC model directory `path`. Its weights are mapped into memory, not copied.

        Raises ValueError when the directory or the device cannot be used.
        """
        return cls(load_model_dir(Path(path)), device, max_rows)

    def sequence(self) -> Sequence:
        """Return a new sequence without tokens, to be given to `extend`."""
        return Sequence(self._free_pages)

    def logits(self, token_ids: Any) -> Logits:
        """Return the logits after each of `token_ids`: float32 [tokens, vocab].

        Raises ValueError when there are no tokens, more than the context window holds, or one that
        is not in the vocabulary.
        """
        return self.extend([(self.sequence(), token_ids)])[0]

    def extend(self, batch: Items[tuple[Sequence, Any]]) -> list[Logits]:
        """Append tokens to sequences; return the logits after each, [tokens, vocab] float32.

        `batch` holds pairs of a sequence and its next token ids. All are computed together,
        ``max_rows`` tokens at a time; the result of one does not depend on the others, nor, on the
        CPU, on how its tokens were shared out over calls: on Vulkan a token that comes alone is
        rounded otherwise than one among several. Raises ValueError, before anything is computed,
        for a sequence that is given twice or is another model's, for wrong tokens (see `logits`),
        and when the cache is full.
        """
        sequences = [sequence for sequence, _ in batch]
        if len({id(sequence) for sequence in sequences}) != len(sequences):
            raise ValueError("A sequence can be extended only once in a batch.")
        if any(sequence._free_pages is not self._free_pages for sequence in sequences):  # noqa: SLF001
            raise ValueError("A sequence of another model cannot be extended by this one.")
        tokens = [self._check_tokens(sequence, ids) for sequence, ids in batch]
        with self._lock:
            for sequence, ids in zip(sequences, tokens, strict=True):
                self._reserve(sequence, len(ids))
            results = [np.empty((len(ids), self.config.vocab), np.float32) for ids in tokens]
            done = [0] * len(tokens)
            while chunk := self._next_chunk(tokens, done):
                logits = self._run([(sequences[i], tokens[i][done[i] :][:n]) for i, n in chunk])
                for i, count in chunk:
                    results[i][done[i] : done[i] + count] = logits[:count]
                    logits = logits[count:]
                    done[i] += count
        return results

    def _check_tokens(self, sequence: Sequence, token_ids: Any) -> TokenIds:
        ids = np.asarray(token_ids)
        if ids.ndim != 1 or ids.size == 0 or ids.dtype.kind not in "iu":
            raise ValueError(
                "token_ids must be a list of at least one integer, but it has shape "
                f"{ids.shape} and dtype {ids.dtype}."
            )
        if ids.min() < 0 or ids.max() >= self.config.vocab:
            raise ValueError(
                f"token_ids must be from 0 to {self.config.vocab - 1}, but they reach from "
                f"{ids.min()} to {ids.max()}."
            )
        if len(sequence) + len(ids) > self.config.context_window:
            raise ValueError(
                f"{len(sequence) + len(ids)} tokens do not fit the model's context window of "
                f"{self.config.context_window}."
            )
        return np.ascontiguousarray(ids, np.int32)

    def _next_chunk(self, tokens: list[TokenIds], done: list[int]) -> list[tuple[int, int]]:
        """Return (index, count) of the tokens to compute next, at most max_rows of them."""
        room = self.max_rows
        chunk = []
        for i, ids in enumerate(tokens):
            count = min(room, len(ids) - done[i])
            if count > 0:
                chunk.append((i, count))
                room -= count
        return chunk

    def _reserve(self, sequence: Sequence, count: int) -> None:
        """Give `sequence` the pages that it needs for `count` more tokens."""
        if self._cache is None:
            most = _MOST_CACHE_BYTES[self.device.partition(":")[0]]
            pages = max(1, most // page_bytes(self.config))
            self._cache = self._create_cache(self.handle, pages)
            self._free_pages.extend(reversed(range(pages)))
        wanted = -(-(len(sequence) + count) // PAGE_TOKENS) - len(sequence._pages)  # noqa: SLF001
        if wanted > len(self._free_pages):
            raise ValueError(
                f"The model's cache is full: {wanted} pages of {PAGE_TOKENS} tokens are needed, "
                f"{len(self._free_pages)} are free. Drop sequences that are no longer used."
            )
        for _ in range(wanted):
            sequence._pages.append(self._free_pages.pop())  # noqa: SLF001

    def _run(self, chunk: list[tuple[Sequence, TokenIds]]) -> Logits:
        """Compute one batch; return the logits of all its tokens."""
        tokens = np.concatenate([ids for _, ids in chunk])
        table = []
        pages: list[int] = []
        for sequence, ids in chunk:
            table.append((len(ids), len(sequence), len(pages)))
            pages += sequence._pages  # noqa: SLF001
        out = np.empty((len(tokens), self.config.vocab), np.float32)
        self._forward(
            self.handle,
            self._cache,
            tokens,
            np.array(table, np.int32),
            np.array(pages, np.int32),
            np.arange(len(tokens), dtype=np.int32),
            out,
        )
        for sequence, ids in chunk:
            sequence._length += len(ids)  # noqa: SLF001
        return out


def _create(
    create: Callable[..., Any],
    device: str,
    max_rows: int,
    pairs: list[Any],
    progress: Progress | None,
) -> Any:
    """Make the native model. What `progress` raises comes back as it was: the FFI loses Ctrl-C."""
    if progress is None:
        return create(device, max_rows, *pairs)
    raised: list[BaseException] = []

    def report(name: str, done: int, total: int) -> None:
        try:
            progress(name, done, total)
        except BaseException as error:
            raised.append(error)
            raise

    try:
        return create(device, max_rows, *pairs, "progress", report)
    except Exception:
        if raised:
            raise raised[0] from None
        raise
