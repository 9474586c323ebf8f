"""JSON files of strangers: bounded in size, in depth and in numbers, and read without surprises."""

from __future__ import annotations

import json
import math
import stat
from typing import TYPE_CHECKING, Any

from mlc_llm.models.errors import FormatError

if TYPE_CHECKING:
    from pathlib import Path

MAX_CONFIG_BYTES = 16 << 20
MAX_TOKENIZER_BYTES = 256 << 20  # several times the largest vocabulary published
_MAX_DIGITS = 40


def _parse_int(text: str) -> int:
    if len(text) > _MAX_DIGITS:
        raise ValueError(f"an integer has {len(text)} digits")
    return int(text)


def _parse_float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("a number is too large")
    return value


def _parse_constant(text: str) -> float:
    raise ValueError(f"{text} is not JSON")


def _parse_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("an object has the same key twice")
    return result


def parse_json_object(data: bytes, name: str) -> dict[str, Any]:
    """Return the JSON object in `data`. Raises FormatError, which calls the source `name`."""
    try:
        value = json.loads(
            data.decode(),
            parse_int=_parse_int,
            parse_float=_parse_float,
            parse_constant=_parse_constant,
            object_pairs_hook=_parse_pairs,
        )
    except RecursionError:
        raise FormatError(f"{name} is not usable JSON: it is nested too deeply.") from None
    except ValueError as error:
        raise FormatError(f"{name} is not usable JSON: {error}.") from None
    if not isinstance(value, dict):
        raise FormatError(f"{name} must hold a JSON object, but it holds something else.")
    return value


def check_regular_file(path: Path) -> int:
    """Return the size of `path`. Raises FormatError when it is missing or not a regular file."""
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise FormatError(f"{path} cannot be read: {reason}.") from None
    if not stat.S_ISREG(status.st_mode):
        raise FormatError(f"{path} must be a regular file.")
    return status.st_size


def read_json_object(path: Path, max_bytes: int = MAX_CONFIG_BYTES) -> dict[str, Any]:
    """Return the JSON object in a file. Raises FormatError for any other content or no file."""
    size = check_regular_file(path)
    if size > max_bytes:
        raise FormatError(f"{path} has {size} bytes, more than the {max_bytes} that are allowed.")
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise FormatError(f"{path} cannot be read: {error.strerror}.") from None
    return parse_json_object(data[:max_bytes], str(path))
