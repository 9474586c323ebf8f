"""What a caller holds while answers are generated."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from typing import Any, Generic

from mlc_llm.responses import Arrival, Call, Chunk, Whole

_PATIENCE_S = 0.2  # Windows tells of Ctrl-C only between waits


class Running(Generic[Whole, Chunk]):
    """A call whose requests are with the worker. `close` may be called at any time, and again."""

    def __init__(
        self, call: Call[Whole, Chunk], owner: object, cancel: Callable[[int], None]
    ) -> None:
        self.call = call
        self.requests: list[int] = []
        self._owner = owner  # the engine lives as long as somebody waits for it
        self._cancel = cancel

    def push(self, arrival: Arrival) -> Chunk | None:
        """Take an arrival; an answer that has ended by a stop string needs no more tokens."""
        chunk = self.call.push(arrival)
        if self.call.answers[arrival.index].finish:
            self._cancel(self.requests[arrival.index])
        return chunk

    def close(self) -> None:
        """Cancel what still runs."""
        for request in self.requests:
            self._cancel(request)


class Stream(Generic[Chunk]):
    """The chunks of an answer. Closing it, or dropping it, ends the request."""

    def __init__(self, running: Running[Any, Chunk], arrivals: queue.SimpleQueue[Arrival]) -> None:
        self._running = running
        self._chunks = _iterate(running, arrivals)  # does not hold the stream: no cycle

    def __iter__(self) -> Iterator[Chunk]:
        return self

    def __next__(self) -> Chunk:
        try:
            return next(self._chunks)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the request; what was generated is kept for the prompts that follow."""
        self._running.close()

    def __enter__(self) -> Stream[Chunk]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()


def _iterate(running: Running[Any, Chunk], arrivals: queue.SimpleQueue[Arrival]) -> Iterator[Chunk]:
    while not running.call.done:
        try:
            arrival = arrivals.get(timeout=_PATIENCE_S)
        except queue.Empty:
            continue
        chunk = running.push(arrival)
        if chunk is not None:
            yield chunk
    if running.call.include_usage:
        yield running.call.usage_chunk()
