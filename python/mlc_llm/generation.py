"""One answer as it grows: tokens to text, stop strings, log probabilities."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mlc_llm.tokenizer import TextStream

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlc_llm.tokenizer import Tokenizer


@dataclass(frozen=True)
class Event:
    """What the engine says about a request: a token (-1 for none), an end, or both.

    `finish` is "", "stop", "length", "cancelled" or "error"; `reused` counts prompt tokens that
    were in the cache; `top` holds the likeliest tokens with their log probabilities; `time` is
    ``time.perf_counter`` when it came, in seconds.
    """

    token: int
    finish: str
    logprob: float
    reused: int
    top: tuple[tuple[int, float], ...]
    time: float


@dataclass(frozen=True)
class TokenInfo:
    """A generated token, with log probabilities of the model before any sampling parameter."""

    id: int
    logprob: float
    top: tuple[tuple[int, float], ...]


@dataclass
class Delta:
    """What one event added to an answer; `finish` is empty until the last one."""

    text: str = ""
    tokens: list[TokenInfo] = field(default_factory=list)
    finish: str = ""


class StopStrings:
    """Cuts a text that comes in pieces at the first stop string.

    The first is the one that is complete first, so that the result depends on the text alone and
    not on where pieces end. What may be the beginning of one is held back.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""
        self.found = False

    def push(self, piece: str) -> str:
        """Return what of the text so far is certain and new."""
        text = self._held + piece
        ends = [(at + len(stop), at) for stop in self._stops if (at := text.find(stop)) >= 0]
        if ends:
            self.found = True
            self._held = ""
            return text[: min(ends)[1]]
        longest = min(len(text), max(map(len, self._stops), default=1) - 1)
        keep = next((k for k in range(longest, 0, -1) if self._begins(text[-k:])), 0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def flush(self) -> str:
        """Return what was held back: the text ends, and it was no stop string."""
        held, self._held = self._held, ""
        return held

    def _begins(self, tail: str) -> bool:
        return any(stop.startswith(tail) for stop in self._stops)


class Answer:
    """Collects the events of one request."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        stop: Sequence[str],
        stop_tokens: Sequence[int],
        prompt: Sequence[int] = (),
    ) -> None:
        self._stream = TextStream(tokenizer, prompt)
        self._stops = StopStrings(stop)
        self.stop_tokens = frozenset(stop_tokens)
        self.text = ""
        self.tokens: list[TokenInfo] = []
        self.finish = ""
        self.reused = 0
        self.times: list[float] = []

    def push(self, event: Event) -> Delta:
        """Take one event. The answer has ended when the result has a `finish`."""
        delta = Delta()
        self.reused = max(self.reused, event.reused)
        if event.token >= 0:
            self.times.append(event.time)
            info = TokenInfo(event.token, event.logprob, event.top)
            self.tokens.append(info)
            if event.token not in self.stop_tokens:
                delta.tokens.append(info)
                delta.text = self._stops.push(self._stream.push(event.token))
        if self._stops.found:
            delta.finish = "stop"
        elif event.finish:
            delta.finish = event.finish
            delta.text += self._stops.push(self._stream.flush())
            delta.text += self._stops.flush()
            if self._stops.found:
                delta.finish = "stop"
        self.text += delta.text
        self.finish = delta.finish
        return delta
