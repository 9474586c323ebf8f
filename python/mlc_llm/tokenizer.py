"""Text to tokens and back: tokenizer.json by the ``tokenizers`` library."""

from __future__ import annotations

import re
from contextlib import contextmanager
from os.path import commonprefix
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlc_llm.models.json_file import MAX_TOKENIZER_BYTES, read_json_object
from mlc_llm.weights.files import resolve_inside

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_REPLACEMENT = "\ufffd"
_CHARACTER_TOKENS = 4  # the longest UTF-8 sequence has four bytes, a token at least one
_CONTEXT = 8  # tokens


class Tokenizer:
    """The tokenizer of the model in `directory`.

    `stop_tokens` are the ids that end an answer, `special` the strings of tokenizer_config.json
    that chat templates use ("bos_token" and so on). Raises ValueError when a file is missing or
    damaged.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.config = read_json(directory, "tokenizer_config.json")
        self._tokenizer = _load(directory)
        self.special = {
            name: value if isinstance(value, str) else value["content"]
            for name, value in self.config.items()
            if name.endswith("_token")
            and (isinstance(value, str) or (isinstance(value, dict) and _has_content(value)))
        }
        self.stop_tokens = self._find_stop_tokens()
        self._byte_of = self._find_byte_alphabet()

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """Return the tokens of `text`.

        `add_special_tokens` adds what the model expects around a text, such as the token of its
        beginning; a rendered chat has these already. Special tokens written in `text` are
        taken for what they are, as transformers does. Raises ValueError for a text that UTF-8
        cannot hold, and where the tokenizer fails.
        """
        try:
            text.encode()
        except UnicodeEncodeError as error:  # half a pair, which stands for a byte of bad input
            raise ValueError(f"The text is not UTF-8, from character {error.start} on.") from None
        with _no_panic("The model's tokenizer fails at this text"):
            encoding = self._tokenizer.encode(text, add_special_tokens=add_special_tokens)
        ids: list[int] = encoding.ids
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of `ids`, special tokens left out; what is no UTF-8 becomes U+FFFD.

        Raises ValueError where the tokenizer fails.
        """
        with _no_panic("The model's tokenizer fails at these tokens"):
            text: str = self._tokenizer.decode(list(ids), skip_special_tokens=True)
        return text

    def token_bytes(self, token: int) -> bytes:
        """Return what `token` stands for: part of a UTF-8 character perhaps; empty if unknown."""
        piece: str | None = self._tokenizer.id_to_token(token)
        if piece is None:
            return b""
        if self._byte_of and all(character in self._byte_of for character in piece):
            return bytes(self._byte_of[character] for character in piece)
        if byte := re.fullmatch("<0x([0-9A-Fa-f]{2})>", piece):
            return bytes.fromhex(byte[1])
        return piece.replace("▁", " ").encode()

    def _find_stop_tokens(self) -> tuple[int, ...]:
        """Collect the ids that end an answer, from every file that names some."""
        named: list[Any] = []
        for file in ("mlc-chat-config.json", "generation_config.json", "config.json"):
            content = read_json(self.directory, file)
            template = content.get("conv_template")  # MLC's own; its text is not used
            more = template.get("stop_token_ids") if isinstance(template, dict) else None
            for value in (content.get("eos_token_id"), more):
                named += value if isinstance(value, list) else [value]
        found = [item for item in named if type(item) is int and item >= 0]
        for name in ("eos_token", "eot_token"):
            ids = self._tokenizer.token_to_id(self.special.get(name, ""))
            found += [] if ids is None else [ids]
        return tuple(dict.fromkeys(found))

    def _find_byte_alphabet(self) -> dict[str, int]:
        """Return which byte each character of a byte-level vocabulary stands for, if it is one."""
        decoder = self._tokenizer.decoder
        if decoder is None or b"ByteLevel" not in decoder.__getstate__():
            return {}
        printable = [*range(33, 127), *range(161, 173), *range(174, 256)]  # GPT-2's
        others = [byte for byte in range(256) if byte not in printable]
        alphabet = {chr(byte): byte for byte in printable}
        return alphabet | {chr(256 + index): byte for index, byte in enumerate(others)}


class TextStream:
    """Turns tokens into text as they come, whole characters only.

    `prompt` is what a continuation follows, so that a word's leading space is kept; the answer in
    a chat follows nothing.
    """

    def __init__(self, tokenizer: Tokenizer, prompt: Sequence[int] = ()) -> None:
        self._decode = tokenizer.decode
        self._ids = list(prompt[-_CONTEXT:])
        self._shown = self._decode(self._ids)  # of the text of `_ids`
        self._waiting = 0  # ids at the end whose text was not returned

    def push(self, token: int) -> str:
        """Return the text that `token` completes; empty while a character is incomplete."""
        self._ids.append(token)
        self._waiting += 1
        text = self._decode(self._ids)
        if not text.endswith(_REPLACEMENT):
            return self._advance(text, 0)
        # What is older than a character's tokens is not incomplete but wrong.
        return self._advance(text, 1) if self._waiting >= _CHARACTER_TOKENS else ""

    def flush(self) -> str:
        """Return what is left; an incomplete character becomes U+FFFD."""
        return self._advance(self._decode(self._ids), 0)

    def _advance(self, text: str, held: int) -> str:
        """Return what is new in `text`, but for the last `held` characters."""
        shown = text[: len(text) - held]
        new = shown[len(commonprefix([self._shown, shown])) :]  # noqa: RUF071 - of characters
        # The newest ids stay as context: decoders look at a token's neighbours.
        self._ids = (self._ids[-self._waiting :] if new else self._ids)[-_CONTEXT:]
        context = self._decode(self._ids)
        self._shown = context[: len(context) - held]
        self._waiting = 0
        return new


def read_json(directory: Path, name: str) -> dict[str, Any]:
    """Return the object in the model's file `name`, or nothing when there is no such file.

    Raises FormatError when the file is not a JSON object, or a link out of the model.
    """
    path = resolve_inside(directory, name, str(directory))
    return read_json_object(path) if path.exists() else {}


def _has_content(value: dict[str, Any]) -> bool:
    return isinstance(value.get("content"), str)


def _load(directory: Path) -> Any:
    from tokenizers import Tokenizer as Library  # noqa: PLC0415 - loaded when a model is

    path = resolve_inside(directory, "tokenizer.json", str(directory))
    if path.is_file():
        try:
            path.open("rb").close()
        except OSError as error:  # the library does not tell it from a damaged file
            raise ValueError(f"{path} cannot be read: {error.strerror}.") from error
    else:
        raise ValueError(
            f"There is no {path.name} in {path.parent}. Put the model's tokenizer.json there; "
            "`mlc_llm gen_config` copies it."
        )
    if path.stat().st_size > MAX_TOKENIZER_BYTES:
        raise ValueError(f"{path} is larger than any tokenizer. Get the file again.")
    with _no_panic(f"{path} is no tokenizer", " Get the file again."):
        tokenizer = Library.from_file(str(path))
    # Left in the file by training: prompts are taken as they are, as transformers does.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


@contextmanager
def _no_panic(failure: str, remedy: str = "") -> Iterator[None]:
    """Make a ValueError, which begins with `failure`, of whatever the library raises."""
    try:
        yield
    except BaseException as error:  # the library raises bare Exception, and panics beside that
        if isinstance(error, (KeyboardInterrupt, SystemExit, MemoryError)):
            raise
        raise ValueError(f"{failure}: {error}.{remedy}") from error
