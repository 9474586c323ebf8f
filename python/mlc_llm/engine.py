"""``MLCEngine``: a model that answers, in the shape of OpenAI's client."""

from __future__ import annotations

import queue
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, overload

from mlc_llm.core import Core, Messages
from mlc_llm.plan import Plan
from mlc_llm.protocol import ChatCompletion, ChatCompletionChunk, Completion
from mlc_llm.responses import Arrival, Call, Chunk, Whole
from mlc_llm.streams import Stream
from mlc_llm.tokenizer import Tokenizer
from mlc_llm.work import Work, last_work


class BaseEngine:
    """What both engines have."""

    def __init__(self, model: str | Path, device: str = "auto", **limits: Any) -> None:
        self._core = Core(model, device, **limits)

    @property
    def plan(self) -> Plan:
        """How the model was fitted into memory."""
        return self._core.plan

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer."""
        return self._core.tokenizer

    @property
    def vocabulary(self) -> int:
        """How many tokens the model knows."""
        return self._core.model.config.vocab

    def check_chat(self) -> None:
        """Raise ValueError where the model has no chat template, or a damaged one."""
        self._core.get_template()

    def last_work(self, context: int) -> Work:
        """Return what the last step took, which decoded a token after `context` others."""
        return last_work(self._core.model, context)

    def close(self) -> None:
        """Stop after the step that is being computed; what waits gets a RuntimeError."""
        self._core.close()


class _Completions:
    def __init__(self, core: Core) -> None:
        self._core = core

    @overload
    def create(
        self, *, prompt: str | Sequence[int], stream: Literal[False] = ..., **options: Any
    ) -> Completion: ...
    @overload
    def create(
        self, *, prompt: str | Sequence[int], stream: Literal[True], **options: Any
    ) -> Stream[Completion]: ...
    def create(
        self, *, prompt: str | Sequence[int], stream: bool = False, **options: Any
    ) -> Completion | Stream[Completion]:
        """Continue `prompt`, a text or tokens. `options` are those of docs/use.md.

        Raises ValueError for a parameter out of its range or a prompt that is too long, and
        RuntimeError when the engine is closed or fails.
        """
        arrivals: queue.SimpleQueue[Arrival] = queue.SimpleQueue()
        running = self._core.start_text(prompt, arrivals.put, options)
        chunks = Stream(running, arrivals)
        return chunks if stream else _read(chunks, running.call)


class _ChatCompletions:
    def __init__(self, core: Core) -> None:
        self._core = core

    @overload
    def create(
        self, *, messages: Messages, stream: Literal[False] = ..., **options: Any
    ) -> ChatCompletion: ...
    @overload
    def create(
        self, *, messages: Messages, stream: Literal[True], **options: Any
    ) -> Stream[ChatCompletionChunk]: ...
    def create(
        self, *, messages: Messages, stream: bool = False, **options: Any
    ) -> ChatCompletion | Stream[ChatCompletionChunk]:
        """Answer `messages`, each with "role" and "content". `options` are those of docs/use.md.

        Raises ValueError for a parameter out of its range, messages that the model's template
        refuses, a model without one, or a prompt that is too long; RuntimeError when the engine is
        closed or fails.
        """
        arrivals: queue.SimpleQueue[Arrival] = queue.SimpleQueue()
        running = self._core.start_chat(messages, arrivals.put, options)
        chunks = Stream(running, arrivals)
        return chunks if stream else _read(chunks, running.call)


class _Chat:
    def __init__(self, core: Core) -> None:
        self.completions = _ChatCompletions(core)


class MLCEngine(BaseEngine):
    """A model that answers; any number of threads may ask it at the same time.

    `model` is a model directory or ``HF://ORGANIZATION/NAME``. `max_context` is the most tokens of
    one prompt with its answer (by itself what the model knows and memory allows),
    `max_sequences` how many requests are computed together, `prefill_chunk` how many tokens.
    Raises ValueError when there is no such model, it is damaged, or it does not fit.
    """

    def __init__(self, model: str | Path, device: str = "auto", **limits: Any) -> None:
        super().__init__(model, device, **limits)
        self.chat = _Chat(self._core)
        self.completions = _Completions(self._core)

    def __enter__(self) -> MLCEngine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _read(stream: Stream[Chunk], call: Call[Whole, Chunk]) -> Whole:
    for _ in stream:
        pass
    return call.whole()
