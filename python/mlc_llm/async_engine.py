"""``AsyncMLCEngine``: the engine for asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any, Generic, Literal, overload

from mlc_llm.core import Core, Messages
from mlc_llm.engine import BaseEngine
from mlc_llm.protocol import ChatCompletion, ChatCompletionChunk, Completion
from mlc_llm.responses import Arrival, Call, Chunk, Whole
from mlc_llm.streams import Running


class AsyncStream(Generic[Chunk]):
    """The chunks of an answer, for ``async for``. Closing it, or dropping it, ends the request."""

    def __init__(self, running: Running[Any, Chunk], arrivals: asyncio.Queue[Arrival]) -> None:
        self._running = running
        self._chunks = _iterate_async(running, arrivals)

    def __aiter__(self) -> AsyncIterator[Chunk]:
        return self

    async def __anext__(self) -> Chunk:
        try:
            return await anext(self._chunks)
        except BaseException:
            self._running.close()
            raise

    async def close(self) -> None:
        """End the request; what was generated is kept for the prompts that follow."""
        self._running.close()

    async def __aenter__(self) -> AsyncStream[Chunk]:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._running.close()

    def __del__(self) -> None:
        self._running.close()


class _AsyncCompletions:
    def __init__(self, core: Core) -> None:
        self._core = core

    @overload
    async def create(
        self, *, prompt: str | Sequence[int], stream: Literal[False] = ..., **options: Any
    ) -> Completion: ...
    @overload
    async def create(
        self, *, prompt: str | Sequence[int], stream: Literal[True], **options: Any
    ) -> AsyncStream[Completion]: ...
    async def create(
        self, *, prompt: str | Sequence[int], stream: bool = False, **options: Any
    ) -> Completion | AsyncStream[Completion]:
        """Do what ``MLCEngine.completions.create`` does."""
        arrivals: asyncio.Queue[Arrival] = asyncio.Queue()
        running = self._core.start_text(prompt, _in_this_loop(arrivals), options)
        chunks = AsyncStream(running, arrivals)
        if stream:
            return chunks
        return await _read_async(chunks, running.call)


class _AsyncChatCompletions:
    def __init__(self, core: Core) -> None:
        self._core = core

    @overload
    async def create(
        self, *, messages: Messages, stream: Literal[False] = ..., **options: Any
    ) -> ChatCompletion: ...
    @overload
    async def create(
        self, *, messages: Messages, stream: Literal[True], **options: Any
    ) -> AsyncStream[ChatCompletionChunk]: ...
    async def create(
        self, *, messages: Messages, stream: bool = False, **options: Any
    ) -> ChatCompletion | AsyncStream[ChatCompletionChunk]:
        """Do what ``MLCEngine.chat.completions.create`` does."""
        arrivals: asyncio.Queue[Arrival] = asyncio.Queue()
        running = self._core.start_chat(messages, _in_this_loop(arrivals), options)
        chunks = AsyncStream(running, arrivals)
        if stream:
            return chunks
        return await _read_async(chunks, running.call)


class _AsyncChat:
    def __init__(self, core: Core) -> None:
        self.completions = _AsyncChatCompletions(core)


class AsyncMLCEngine(BaseEngine):
    """``MLCEngine`` for asyncio: ``create`` is awaited, and what it streams is for ``async for``.

    The model loads in the constructor, which takes a moment.
    """

    def __init__(self, model: str | Path, device: str = "auto", **limits: Any) -> None:
        super().__init__(model, device, **limits)
        self.chat = _AsyncChat(self._core)
        self.completions = _AsyncCompletions(self._core)

    async def __aenter__(self) -> AsyncMLCEngine:
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.close)


async def _iterate_async(
    running: Running[Any, Chunk], arrivals: asyncio.Queue[Arrival]
) -> AsyncIterator[Chunk]:
    while not running.call.done:
        chunk = running.push(await arrivals.get())
        if chunk is not None:
            yield chunk
    if running.call.include_usage:
        yield running.call.usage_chunk()


async def _read_async(stream: AsyncStream[Chunk], call: Call[Whole, Chunk]) -> Whole:
    async for _ in stream:
        pass
    return call.whole()


def _in_this_loop(arrivals: asyncio.Queue[Arrival]) -> Callable[[Arrival], None]:
    loop = asyncio.get_running_loop()

    def deliver(arrival: Arrival) -> None:
        loop.call_soon_threadsafe(arrivals.put_nowait, arrival)

    return deliver
