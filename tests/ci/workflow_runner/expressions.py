"""The expressions of workflows: `${{ ... }}`, and what stands behind `if:`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

TOKEN = re.compile(
    r"\s*(?:(?P<text>'(?:[^']|'')*')|(?P<word>[A-Za-z_][\w.-]*)|(?P<sign>==|!=|&&|\|\||[!()]))"
)
SPAN = re.compile(r"\$\{\{(.*?)\}\}")
Functions = Mapping[str, Callable[..., Any]]
FUNCTIONS: Functions = {
    "fromJSON": json.loads,
    "startsWith": lambda text, start: text.startswith(start),
}


def fill(value: Any, contexts: Mapping[str, Any]) -> Any:
    """Return `value` with its expressions replaced; one that stands alone keeps its type."""
    if isinstance(value, dict):
        return {key: fill(item, contexts) for key, item in value.items()}
    if isinstance(value, list):
        return [fill(item, contexts) for item in value]
    if not isinstance(value, str):
        return value
    if alone := SPAN.fullmatch(value.strip()):
        return evaluate(alone[1], contexts)
    return SPAN.sub(lambda match: as_text(evaluate(match[1], contexts)), value)


def as_text(value: Any) -> str:
    """Return `value` as it stands in a text: true and false in lower case."""
    return json.dumps(value) if isinstance(value, bool) else str(value)


def evaluate(expression: str, contexts: Mapping[str, Any], functions: Functions = {}) -> Any:  # noqa: B006
    """Return what `expression` comes to; raises for a name that nothing has."""
    parser = _Parser(expression, contexts, {**FUNCTIONS, **functions})
    value = parser.either()
    assert not parser.rest.strip(), f"{expression!r}: what is {parser.rest!r}?"
    return value


class _Parser:
    def __init__(self, text: str, contexts: Mapping[str, Any], functions: Functions) -> None:
        self.rest, self.contexts, self.functions = text, contexts, functions

    def accept(self, *signs: str) -> str:
        """Take the next token if it is one of `signs`."""
        match = TOKEN.match(self.rest)
        if match and match["sign"] in signs:
            self.rest = self.rest[match.end() :]
            return match["sign"]
        return ""

    def either(self) -> Any:
        value = self.both()
        while self.accept("||"):
            other = self.both()
            value = value or other
        return value

    def both(self) -> Any:
        value = self.comparison()
        while self.accept("&&"):
            other = self.comparison()
            value = value and other
        return value

    def comparison(self) -> Any:
        value = self.operand()
        if sign := self.accept("==", "!="):
            return (value == self.operand()) == (sign == "==")
        return value

    def operand(self) -> Any:
        if self.accept("!"):
            return not self.operand()
        if self.accept("("):
            value = self.either()
            assert self.accept(")"), self.rest
            return value
        match = TOKEN.match(self.rest)
        assert match, f"what is {self.rest!r}?"
        assert not match["sign"], f"what is {match['sign']} here?"
        self.rest = self.rest[match.end() :]
        if match["text"]:
            return match["text"][1:-1].replace("''", "'")
        if self.accept("("):
            argument = None if self.accept(")") else self.either()
            if argument is None:
                return self.functions[match["word"]]()
            assert self.accept(")"), self.rest
            return self.functions[match["word"]](argument)
        value = self.contexts
        for name in match["word"].split("."):
            value = value[name]
        return value
