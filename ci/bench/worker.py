"""What every measured engine is asked to do, in a process of its own.

A worker writes what it is, as JSON, in one line as soon as it has computed its first token, then
answers each line of its standard input, the name of a case, with the result of one round. Of the
factory it imports nothing but this file: each engine has its own environment.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

FIRST_PROMPT = 8
PREFILL = 512
CONTEXT = 128  # before the first decoded token
SEQUENCES = 8
DECODE_STEPS, TOGETHER_STEPS = 32, 8  # of one round
DECODE_ROUNDS = 4  # then the context is as at first
CONTEXT_LIMIT = CONTEXT + DECODE_ROUNDS * DECODE_STEPS
STREAM_STEPS = CONTEXT_LIMIT - CONTEXT - 1  # all of them: the one before wakes everybody
CACHE_TOKENS = max(PREFILL, SEQUENCES * CONTEXT_LIMIT)


class Engine(Protocol):
    """One side of the comparison."""

    def describe(self) -> dict[str, Any]:
        """Return what is measured: versions, threads, settings."""

    def reset(self) -> None:
        """Forget all sequences."""

    def extend(self, tokens: dict[int, list[int]]) -> NDArray[np.float32]:
        """Compute more tokens of some sequences in one step.

        Returns the logits of each sequence's last token, [sequences, vocab].
        """


def tokens(sequence: int, start: int, count: int) -> list[int]:
    """Return the same arbitrary tokens for every engine."""
    return [(7919 * sequence + 104729 * i) % 31991 + 2 for i in range(start, start + count)]


class Cases:
    """The measured cases; each call is one round."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.decoding: dict[int, int] = {}  # the sequences' lengths

    def first(self) -> list[float]:
        """Return the logits after a short prompt, for a comparison."""
        self.engine.reset()
        self.decoding = {}
        return [float(x) for x in self.engine.extend({0: tokens(0, 0, FIRST_PROMPT)})[0]]

    def prefill(self) -> float:
        """Return tokens per second of a prompt of PREFILL tokens."""
        self.engine.reset()
        self.decoding = {}
        prompt = tokens(0, 0, PREFILL)
        return PREFILL / _seconds(lambda: self.engine.extend({0: prompt}))

    def decode(self) -> float:
        """Return tokens per second of one sequence, its tokens one after another."""
        return self._decode(1, DECODE_STEPS)

    def stream(self) -> float:
        """Return what `decode` does, of a longer round.

        A GPU takes milliseconds to turn from one process to another.
        """
        return self._decode(1, STREAM_STEPS)

    def together(self) -> float:
        """Return tokens per second of SEQUENCES sequences, a token of each in every step."""
        return self._decode(SEQUENCES, TOGETHER_STEPS)

    def _decode(self, sequences: int, steps: int) -> float:
        lengths = self.decoding
        if len(lengths) != sequences or lengths[0] + steps > CONTEXT_LIMIT:
            self.engine.reset()
            for sequence in range(sequences):
                self.engine.extend({sequence: tokens(sequence, 0, CONTEXT)})
            lengths = dict.fromkeys(range(sequences), CONTEXT)
            self.engine.extend({s: tokens(s, lengths[s], 1) for s in lengths})  # wakes everybody
            lengths = {s: length + 1 for s, length in lengths.items()}

        def run() -> None:
            for step in range(steps):
                self.engine.extend({s: tokens(s, lengths[s] + step, 1) for s in lengths})

        seconds = _seconds(run)
        self.decoding = {s: length + steps for s, length in lengths.items()}
        return sequences * steps / seconds


def serve(make: Callable[[], Engine]) -> None:
    """Make the engine, say what it is, and run cases until standard input ends."""
    cases = Cases(make())
    cases.first()
    print(json.dumps(cases.engine.describe()), flush=True)
    known: dict[str, Any] = {
        case.__name__: case
        for case in (cases.first, cases.prefill, cases.decode, cases.stream, cases.together)
    }
    known["memory"] = peak_bytes
    known["work"] = getattr(cases.engine, "work", None)  # mlc_llm's alone
    for line in sys.stdin:
        print(json.dumps(known[line.strip()]()), flush=True)


def peak_bytes() -> int:
    """Return the largest resident size that this process had."""
    import resource  # noqa: PLC0415 - not on Windows

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start
