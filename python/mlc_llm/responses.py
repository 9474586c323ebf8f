"""One call of the API: its answers as they grow, in OpenAI's shapes."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from mlc_llm import protocol
from mlc_llm.generation import Answer, Delta, Event, TokenInfo
from mlc_llm.tokenizer import Tokenizer

Whole = TypeVar("Whole")
Chunk = TypeVar("Chunk")


@dataclass(frozen=True)
class Arrival:
    """An event of one answer, or why there will be no more."""

    index: int
    item: Event | Exception


class Call(Generic[Whole, Chunk]):
    """What is common to chats and completions: collecting the answers, counting, timing."""

    prefix = ""
    logprobs = False
    include_usage = False  # as the last chunk of a stream

    def __init__(
        self, model: str, prompt_tokens: int, answers: Sequence[Answer], tokenizer: Tokenizer
    ) -> None:
        self.id = f"{self.prefix}-{uuid.uuid4().hex}"
        self.created = int(time.time())
        self.model = model
        self.answers = list(answers)
        self._tokenizer = tokenizer
        self._prompt_tokens = prompt_tokens
        self._started = time.perf_counter()

    @property
    def done(self) -> bool:
        """Whether every answer has ended."""
        return all(answer.finish for answer in self.answers)

    def push(self, arrival: Arrival) -> Chunk | None:
        """Take an arrival and return what it adds, if anything. Raises what went wrong."""
        if isinstance(arrival.item, Exception):
            raise arrival.item
        answer = self.answers[arrival.index]
        if answer.finish:
            return None  # the engine had not heard of the stop string yet
        delta = answer.push(arrival.item)
        if not (delta.text or delta.tokens or delta.finish):
            return None
        return self.chunk(arrival.index, delta)

    def usage(self) -> protocol.Usage:
        """Return what was used so far."""
        completion = sum(len(answer.tokens) for answer in self.answers)
        times = [answer.times for answer in self.answers if answer.times]
        extra: dict[str, float | None] = {"end_to_end_latency_s": self._elapsed()}
        if times:
            first = min(t[0] for t in times) - self._started
            computed = self._prompt_tokens - min(answer.reused for answer in self.answers)
            spans = [(len(t) - 1, t[-1] - t[0]) for t in times if len(t) > 1 and t[-1] > t[0]]
            extra["time_to_first_token_s"] = first
            extra["prefill_tokens_per_s"] = computed / first if first > 0 else None
            longest = max((seconds for _, seconds in spans), default=0)
            decoded = sum(count for count, _ in spans)
            extra["decode_tokens_per_s"] = decoded / longest if longest else None
        return protocol.Usage(
            prompt_tokens=self._prompt_tokens,
            completion_tokens=completion,
            total_tokens=self._prompt_tokens + completion,
            prompt_tokens_details=protocol.PromptTokensDetails(
                max((answer.reused for answer in self.answers), default=0)
            ),
            extra=extra,
        )

    def whole(self) -> Whole:
        """Return everything at once."""
        raise NotImplementedError

    def chunk(self, index: int, delta: Delta) -> Chunk:
        """Return what `delta` adds to one answer."""
        raise NotImplementedError

    def usage_chunk(self) -> Chunk:
        """Return the last chunk of a stream that was asked for its usage."""
        raise NotImplementedError

    def _elapsed(self) -> float:
        return time.perf_counter() - self._started

    def _visible(self, answer: Answer) -> list[TokenInfo]:
        return [token for token in answer.tokens if token.id not in answer.stop_tokens]

    def _text(self, token: int) -> str:
        return self._tokenizer.token_bytes(token).decode(errors="replace")


class ChatCall(Call[protocol.ChatCompletion, protocol.ChatCompletionChunk]):
    """A call of ``chat.completions.create``."""

    prefix = "chatcmpl"

    def whole(self) -> protocol.ChatCompletion:
        """Return the answer."""
        choices = [
            protocol.Choice(
                index=index,
                message=protocol.Message(content=answer.text),
                finish_reason=answer.finish,
                logprobs=self._logprobs(self._visible(answer)),
                token_ids=[token.id for token in answer.tokens],
            )
            for index, answer in enumerate(self.answers)
        ]
        return protocol.ChatCompletion(self.id, self.created, self.model, choices, self.usage())

    def chunk(self, index: int, delta: Delta) -> protocol.ChatCompletionChunk:
        """Return what `delta` adds to one answer."""
        choice = protocol.ChunkChoice(
            index=index,
            delta=protocol.Message(content=delta.text),
            finish_reason=delta.finish or None,
            logprobs=self._logprobs(delta.tokens),
        )
        return protocol.ChatCompletionChunk(self.id, self.created, self.model, [choice])

    def usage_chunk(self) -> protocol.ChatCompletionChunk:
        """Return the chunk without choices."""
        return protocol.ChatCompletionChunk(self.id, self.created, self.model, [], self.usage())

    def _logprobs(self, tokens: Sequence[TokenInfo]) -> protocol.ChoiceLogprobs | None:
        if not self.logprobs:
            return None
        return protocol.ChoiceLogprobs(
            [
                protocol.TokenLogprob(
                    **vars(self._top(token.id, token.logprob)),
                    top_logprobs=[self._top(*pair) for pair in token.top],
                )
                for token in tokens
            ]
        )

    def _top(self, token: int, logprob: float) -> protocol.TopLogprob:
        return protocol.TopLogprob(
            self._text(token), logprob, list(self._tokenizer.token_bytes(token))
        )


class TextCall(Call[protocol.Completion, protocol.Completion]):
    """A call of ``completions.create``."""

    prefix = "cmpl"

    def whole(self) -> protocol.Completion:
        """Return the completion."""
        choices = [
            protocol.TextChoice(
                index=index,
                text=answer.text,
                finish_reason=answer.finish,
                logprobs=self._logprobs(self._visible(answer), 0),
                token_ids=[token.id for token in answer.tokens],
            )
            for index, answer in enumerate(self.answers)
        ]
        return protocol.Completion(self.id, self.created, self.model, choices, self.usage())

    def chunk(self, index: int, delta: Delta) -> protocol.Completion:
        """Return what `delta` adds to one completion."""
        offset = len(self.answers[index].text) - len(delta.text)
        choice = protocol.TextChoice(
            index=index,
            text=delta.text,
            finish_reason=delta.finish or None,
            logprobs=self._logprobs(delta.tokens, offset),
            token_ids=[token.id for token in delta.tokens],
        )
        return protocol.Completion(self.id, self.created, self.model, [choice])

    def usage_chunk(self) -> protocol.Completion:
        """Return the chunk without choices."""
        return protocol.Completion(self.id, self.created, self.model, [], self.usage())

    def _logprobs(
        self, tokens: Sequence[TokenInfo], offset: int
    ) -> protocol.CompletionLogprobs | None:
        if not self.logprobs:
            return None
        texts = [self._text(token.id) for token in tokens]
        return protocol.CompletionLogprobs(
            tokens=texts,
            token_logprobs=[token.logprob for token in tokens],
            top_logprobs=[{self._text(i): value for i, value in token.top} for token in tokens],
            text_offset=[offset + sum(map(len, texts[:index])) for index in range(len(texts))],
        )
