"""What a request may ask for, checked before anything runs."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_SEEDS = 1 << 64
_INT32 = (1 << 31) - 1
MAX_LOGPROBS = 20
# Name: (lowest, highest, default, may be the lowest). OpenAI's, and what MLC has beside them.
_NUMBERS: dict[str, tuple[float, float, float, bool]] = {
    "temperature": (0, 2, 1, True),
    "top_p": (0, 1, 1, False),
    "min_p": (0, 1, 0, True),
    "frequency_penalty": (-2, 2, 0, True),
    "presence_penalty": (-2, 2, 0, True),
    "repetition_penalty": (0, 2, 1, False),
}
_WHOLE: dict[str, tuple[int, int, int | None]] = {
    "max_tokens": (1, _INT32, None),
    "top_k": (0, _INT32, 0),
    "n": (1, 128, 1),
    "seed": (-(_SEEDS >> 1), _SEEDS - 1, None),
    "top_logprobs": (0, MAX_LOGPROBS, None),
}
_MAX_BIAS = 100
_OPTIONS = {*_NUMBERS, *_WHOLE, "stop", "logit_bias", "ignore_eos"}
# What completions take, and chats: there `logprobs` is a switch.
TEXT = _OPTIONS - {"top_logprobs"} | {"logprobs", "model", "stream", "stream_options", "user"}
CHAT = TEXT | {"top_logprobs", "max_completion_tokens", "chat_template_kwargs"}


@dataclass(frozen=True)
class Options:
    """How to answer. `max_tokens` None: as many as fit; `top_logprobs` None: no logprobs."""

    temperature: float
    top_p: float
    min_p: float
    frequency_penalty: float
    presence_penalty: float
    repetition_penalty: float
    max_tokens: int | None
    top_k: int
    n: int
    seed: int
    top_logprobs: int | None
    stop: tuple[str, ...]
    logit_bias: dict[int, float]
    ignore_eos: bool

    def seed_of(self, choice: int) -> int:
        """Return the seed of one of `n` answers: the first has `seed` itself."""
        return (self.seed + choice * 0x9E3779B97F4A7C15) % _SEEDS


def check_names(given: Iterable[str], known: set[str]) -> None:
    """Raise ValueError for a parameter that is not `known`, and list those that are."""
    if unknown := sorted(set(given) - known):
        raise ValueError(
            f"There is no parameter {unknown[0]!r}; there are {', '.join(sorted(known))}."
        )


def parse_options(
    given: Mapping[str, Any], defaults: Mapping[str, Any], vocabulary: int
) -> Options:
    """Check `given` and fill in `defaults` (a model's own) for what is absent or None.

    Raises ValueError, naming the parameter and its range.
    """
    values = {name: value for name, value in given.items() if value is not None}
    usual = {name: defaults[name] for name in _NUMBERS if defaults.get(name) is not None}
    numbers: dict[str, Any] = {name: _number(name, (usual | values).get(name)) for name in _NUMBERS}
    whole = {name: _whole(name, values.get(name)) for name in _WHOLE}
    if whole["seed"] is None:
        whole["seed"] = secrets.randbits(63)
    whole["seed"] %= _SEEDS
    ignore_eos = values.get("ignore_eos", False)
    if not isinstance(ignore_eos, bool):
        raise ValueError(  # noqa: TRY004 - one kind of error for every parameter
            f"ignore_eos must be True or False, and is {ignore_eos!r}."
        )
    return Options(
        **numbers,
        **whole,
        stop=_stop(values.get("stop")),
        logit_bias=_logit_bias(values.get("logit_bias"), vocabulary),
        ignore_eos=ignore_eos,
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _number(name: str, value: Any) -> float:
    low, high, default, closed = _NUMBERS[name]
    if value is None:
        return float(default)
    if not _is_number(value) or not low <= value <= high or (value == low and not closed):
        start = f"from {low:g} to" if closed else f"above {low:g} and at most"
        raise ValueError(f"{name} must be a number {start} {high:g}, and is {value!r}.")
    return float(value)


def _whole(name: str, value: Any) -> Any:
    low, high, default = _WHOLE[name]
    return default if value is None else check_whole(name, value, low, high)


def check_whole(name: str, value: Any, low: int, high: int) -> int:
    """Return `value`. Raises ValueError, naming the parameter and its range."""
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ValueError(f"{name} must be a whole number from {low} to {high}, and is {value!r}.")
    return value


def _stop(value: Any) -> tuple[str, ...]:
    texts = (value,) if isinstance(value, str) else value or ()
    if not isinstance(texts, (list, tuple)) or not all(isinstance(t, str) and t for t in texts):
        raise ValueError(f"stop must be a text or a list of texts, none empty, and is {value!r}.")
    return tuple(texts)


def _logit_bias(value: Any, vocabulary: int) -> dict[int, float]:
    """Keys may be texts of digits: JSON knows no others."""
    try:
        bias = {int(token): weight for token, weight in dict(value or {}).items()}
    except (TypeError, ValueError, OverflowError):
        bias = {-1: 0.0}
    for token, weight in bias.items():
        if not (0 <= token < vocabulary and _is_number(weight) and abs(weight) <= _MAX_BIAS):
            raise ValueError(
                f"logit_bias must map tokens from 0 to {vocabulary - 1} to numbers from "
                f"-{_MAX_BIAS} to {_MAX_BIAS}, and is {value!r}."
            )
    return {token: float(weight) for token, weight in bias.items()}
