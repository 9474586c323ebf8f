"""Chats to prompts: the Jinja template that a model brings, in a sandbox.

The environment is that of transformers (``utils/chat_template_utils.py``): what templates
on the hub are written for. A template is a stranger's code: it sees plain data only and can neither
read files nor reach Python; products, powers and the whole output are bounded. It can still waste
time and memory, as the model's own files can in other ways.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mlc_llm.tokenizer import read_json
from mlc_llm.weights.files import resolve_inside

if TYPE_CHECKING:
    from pathlib import Path

_MAX_TEMPLATE = 1 << 20  # characters
_MAX_OUTPUT = 16 << 20
_MAX_REASON = 300
# What transformers defines whatever is given.
_DEFAULTS = {"tools": None, "documents": None, "add_generation_prompt": True}
_NONE = (
    "{directory} has no chat template: neither chat_template.jinja nor a chat_template in "
    "tokenizer_config.json. The model continues texts: use `mlc_llm generate` or "
    "`engine.completions.create`."
)


def find_template(directory: Path, config: Mapping[str, Any]) -> str:
    """Return the chat template of the model in `directory`.

    `config` is its tokenizer_config.json. Raises ValueError when there is none, or a link out of
    the model in its place.
    """
    file = resolve_inside(directory, "chat_template.jinja", str(directory))
    template: Any = None
    if file.is_file():
        with file.open(encoding="utf-8") as stream:
            template = stream.read(_MAX_TEMPLATE + 1)
    else:
        template = config.get("chat_template")
        named = template if isinstance(template, list) else []
        for item in named:
            if isinstance(item, dict) and item.get("name") == "default":
                template = item.get("template")
    if not isinstance(template, str):
        # Published by older releases of transformers beside the tokenizer's configuration.
        template = read_json(directory, "chat_template.json").get("chat_template")
    if not isinstance(template, str):
        raise ValueError(_NONE.format(directory=directory))  # noqa: TRY004 - the model lacks it
    if len(template) > _MAX_TEMPLATE:
        raise ValueError(
            f"The chat template of {directory} has more than {_MAX_TEMPLATE} characters, which is "
            "not allowed."
        )
    return template


def check_messages(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return `messages` with contents that are texts; parts of one are joined.

    Raises ValueError for what is no message, and for pictures and other parts.
    """
    if not isinstance(messages, (list, tuple)) or not messages:
        raise ValueError("messages must be a list with at least one message.")
    checked = []
    for message in messages:
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
            raise ValueError(  # noqa: TRY004 - one kind of error for every parameter
                f'Each message needs a "role" and a "content", and {message!r} has not both.'
            )
        content = message.get("content")
        parts = (
            content
            if isinstance(content, (list, tuple))
            else [{"type": "text", "text": content or ""}]
        )
        for part in parts:
            if not isinstance(part, Mapping) or not isinstance(part.get("text"), str):
                raise ValueError(  # noqa: TRY004
                    f"A message's content must be text, and has {part!r}."
                )
        checked.append({**message, "content": "".join(part["text"] for part in parts)})
    return checked


class ChatTemplate:
    """A compiled template. Raises ValueError when `source` is not one."""

    def __init__(self, source: str, special: Mapping[str, str]) -> None:
        self._special = dict(special)
        try:
            self._template = _make_environment().from_string(source)
        except Exception as error:  # Python's compiler, which Jinja calls, has its own
            reason = str(error)[:_MAX_REASON].rstrip(".")
            raise ValueError(f"The model's chat template is damaged: {reason}.") from error

    def render(
        self, messages: Sequence[Mapping[str, Any]], variables: Mapping[str, Any] | None = None
    ) -> str:
        """Return the prompt of `messages`, each with a "role" and a "content".

        `variables` are the template's own switches, such as ``enable_thinking``. Raises
        ValueError when the template refuses the messages or fails.
        """
        pieces: list[str] = []
        length = 0
        try:
            for piece in self._template.generate(
                {
                    **_DEFAULTS,
                    **self._special,
                    **_as_plain(variables or {}),
                    "messages": _as_plain(messages),
                }
            ):
                length += len(piece)
                _check_length(length)
                pieces.append(piece)
        except Exception as error:  # a template can raise anything that Python can
            reason = str(error)[:_MAX_REASON].rstrip(".")
            raise ValueError(
                f"The model's chat template refuses these messages: {reason}."
            ) from error
        return "".join(pieces)


def _make_environment() -> Any:
    import jinja2.ext  # noqa: PLC0415 - a fifth of a second
    from jinja2.sandbox import ImmutableSandboxedEnvironment  # noqa: PLC0415

    class Generation(jinja2.ext.Extension):  # type: ignore[misc]
        """``{% generation %}`` marks the assistant's words for training; here it does nothing."""

        tags = {"generation"}  # noqa: RUF012 - as the base class declares it

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
            return jinja2.nodes.Scope(body, lineno=line)

    class Sandbox(ImmutableSandboxedEnvironment):  # type: ignore[misc]
        intercepted_binops = frozenset({"*", "**"})

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            """Refuse what would fill the memory or take for ever."""
            if operator == "**":
                raise ValueError("it uses **, which is not allowed")
            for one, other in ((left, right), (right, left)):
                if isinstance(one, int) and hasattr(other, "__len__"):
                    _check_length(one * len(other))
            return super().call_binop(context, operator, left, right)

    environment = Sandbox(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = time.strftime
    return environment


def _check_length(characters: int) -> None:
    if characters > _MAX_OUTPUT:
        raise ValueError(f"it writes more than {_MAX_OUTPUT} characters")


def _to_json(
    value: Any,
    ensure_ascii: bool = False,  # noqa: FBT001, FBT002 - templates pass them by position too
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,  # noqa: FBT001, FBT002
) -> str:
    """Jinja's own filter escapes HTML, which models have never seen."""
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _raise_exception(message: str) -> None:
    from jinja2.exceptions import TemplateError  # noqa: PLC0415

    raise TemplateError(message)


def _as_plain(value: Any) -> Any:
    """Rebuild `value` of JSON's types: the methods of richer objects are not for a template."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if hasattr(value, "items"):
        return {str(key): _as_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_as_plain(item) for item in value]
    raise ValueError(f"a {type(value).__name__} is not what a chat message can hold")
