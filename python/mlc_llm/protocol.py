"""The shapes of OpenAI's answers, with two of our own: ``token_ids`` and ``usage.extra``.

Source: OpenAI's API reference, "Chat completions" and "Completions".
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any


class _Shape:
    """What every answer can do."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain dictionaries and lists, as the JSON of OpenAI's server has them."""
        return dataclasses.asdict(self)  # type: ignore[call-overload, no-any-return]

    def to_json(self) -> str:
        """Return the JSON text."""
        return json.dumps(self.to_dict(), ensure_ascii=False)


@dataclass
class PromptTokensDetails(_Shape):
    """Of the prompt's tokens, those whose work earlier requests had done."""

    cached_tokens: int = 0


@dataclass
class Usage(_Shape):
    """Tokens, and in `extra` the times: seconds, and tokens per second.

    ``time_to_first_token_s``, ``prefill_tokens_per_s``, ``decode_tokens_per_s`` (both None when
    there was too little to measure), ``end_to_end_latency_s``.
    """

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails
    extra: dict[str, float | None] = field(default_factory=dict)


@dataclass
class TopLogprob(_Shape):
    """A token with its log probability; `bytes` where `token` is part of a character."""

    token: str
    logprob: float
    bytes: list[int]


@dataclass
class TokenLogprob(TopLogprob):
    """A chosen token, and the likeliest ones in its place."""

    top_logprobs: list[TopLogprob] = field(default_factory=list)


@dataclass
class ChoiceLogprobs(_Shape):
    """Log probabilities of the tokens of a chat's answer."""

    content: list[TokenLogprob]


@dataclass
class CompletionLogprobs(_Shape):
    """Log probabilities of a completion's tokens, in the older shape."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]
    text_offset: list[int]


@dataclass
class Message(_Shape):
    """What the assistant says; while streaming, what it adds."""

    role: str | None = "assistant"
    content: str | None = None


@dataclass
class Choice(_Shape):
    """One answer of a chat."""

    index: int
    message: Message
    finish_reason: str
    logprobs: ChoiceLogprobs | None = None
    token_ids: list[int] = field(default_factory=list)


@dataclass
class ChunkChoice(_Shape):
    """What one chunk adds to one answer; `finish_reason` comes with the last."""

    index: int
    delta: Message
    finish_reason: str | None = None
    logprobs: ChoiceLogprobs | None = None


@dataclass
class TextChoice(_Shape):
    """One completion, or while streaming what a chunk adds to it."""

    index: int
    text: str
    finish_reason: str | None = None
    logprobs: CompletionLogprobs | None = None
    token_ids: list[int] = field(default_factory=list)


@dataclass
class ChatCompletion(_Shape):
    """The answer to ``chat.completions.create``."""

    id: str
    created: int
    model: str
    choices: list[Choice]
    usage: Usage
    object: str = "chat.completion"


@dataclass
class ChatCompletionChunk(_Shape):
    """A piece of a streamed answer; one with `usage` has no choices and comes last."""

    id: str
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: Usage | None = None
    object: str = "chat.completion.chunk"


@dataclass
class Completion(_Shape):
    """The answer to ``completions.create``, or a piece of it."""

    id: str
    created: int
    model: str
    choices: list[TextChoice]
    usage: Usage | None = None
    object: str = "text_completion"
