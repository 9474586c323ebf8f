"""Typed, bounded access to the fields of a configuration."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from mlc_llm.models.errors import FormatError

MAX_LIST = 4096
_LEAST = 1e-30  # what divides by less overflows


@dataclass(frozen=True)
class Fields:
    """The fields of one JSON object; `source` is what messages call it.

    A field that is null counts as missing. Every method raises FormatError for a value of a wrong
    type or out of its range, and for a missing one that has no default.
    """

    values: dict[str, Any]
    source: str

    def _get(self, name: str, default: Any) -> Any:
        value = self.values.get(name)
        value = default if value is None else value
        if value is None:
            raise FormatError(f"{self.source} lacks {name!r}.")
        return value

    def _wrong(self, name: str, wanted: str, value: Any) -> FormatError:
        shown = repr(value)
        shown = shown if len(shown) <= 80 else f"{shown[:77]}..."  # noqa: PLR2004
        return FormatError(f"{self.source}: {name} must be {wanted}, but it is {shown}.")

    def integer(self, name: str, default: int | None = None, *, high: int = 1 << 24) -> int:
        """Return an integer from 1 to `high`."""
        value = self._get(name, default)
        if type(value) is not int or not 1 <= value <= high:
            raise self._wrong(name, f"an integer from 1 to {high}", value)
        return value

    def number(self, name: str, default: float | None = None, *, high: float = 1e12) -> float:
        """Return a number from 1e-30 to `high`, as a float."""
        value = self._get(name, default)
        if type(value) not in (int, float) or not _LEAST <= value <= high:
            raise self._wrong(name, f"a number from {_LEAST:g} to {high:g}", value)
        return float(value)

    def cap(self, name: str) -> float:
        """Return a number above zero, or zero where the field is missing or zero."""
        return self.number(name) if self.values.get(name) else 0.0

    def flag(self, name: str, *, default: bool) -> bool:
        """Return true or false."""
        value = self._get(name, default)
        if type(value) is not bool:
            raise self._wrong(name, "true or false", value)
        return value

    def text(self, name: str, default: str | None = None) -> str:
        """Return a string."""
        value = self._get(name, default)
        if type(value) is not str:
            raise self._wrong(name, "a string", value)
        return value

    def numbers(self, name: str, count: int) -> tuple[float, ...]:
        """Return `count` numbers of at least 1e-30."""
        value = self._get(name, None)
        if type(value) is not list or len(value) != count:
            raise self._wrong(name, f"a list of {count} numbers", value)
        for number in value:
            if type(number) not in (int, float) or not _LEAST <= number < math.inf:
                raise self._wrong(name, f"a list of numbers from {_LEAST:g}", value)
        return tuple(map(float, value))

    def child(self, name: str) -> Fields:
        """Return the fields of an object inside this one; none where it is missing."""
        value = self.values.get(name)
        value = {} if value is None else value
        if type(value) is not dict:
            raise self._wrong(name, "an object", value)
        return Fields(value, f"{self.source}: {name}")
