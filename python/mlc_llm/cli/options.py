"""Options that several commands share, and the engine they ask for."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from mlc_llm.cli.progress import Bar
from mlc_llm.sampling import parse_options

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlc_llm import MLCEngine

# Name: (what reads it, how --help calls its value, what it is).
SAMPLING: dict[str, tuple[Callable[[str], Any], str, str]] = {
    "max_tokens": (int, "N", "longest answer"),
    "temperature": (float, "T", "0 is greedy, at most 2"),
    "top_p": (float, "P", "above 0, at most 1"),
    "top_k": (int, "K", "0 is off"),
    "min_p": (float, "P", "0 to 1"),
    "repetition_penalty": (float, "X", "1 is off"),
    "seed": (int, "S", "the same seed gives the same text"),
    "stop": (str, "TEXT", "end there; may be repeated"),
}


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add MODEL and how it is run."""
    parser.add_argument(
        "model", metavar="MODEL", help="a model directory, or HF://ORGANIZATION/NAME"
    )
    parser.add_argument(
        "--device", default="auto", metavar="ID", help="auto, cpu or vulkan[:i] (default: auto)"
    )
    text = "tokens of prompt and answer (default: what the model knows and memory allows)"
    parser.add_argument("--max-context", type=positive, metavar="N", help=text)


def positive(text: str) -> int:
    """Read a whole number from 1; argparse calls it by this function's name."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, and is {value}.")
    return value


def add_sampling(parser: argparse.ArgumentParser) -> None:
    """Add how the next token is chosen; the defaults are the model's."""
    group = parser.add_argument_group("sampling (defaults: the model's)")
    for name, (convert, metavar, text) in SAMPLING.items():
        group.add_argument(
            "--" + name.replace("_", "-"),
            type=_checked(name, convert),
            metavar=metavar,
            help=text,
            action="append" if name == "stop" else "store",
        )


def _checked(name: str, convert: Callable[[str], Any]) -> Callable[[str], Any]:
    """Return what reads the option `name` and says so at once where the engine would refuse it."""

    def read(text: str) -> Any:
        value = convert(text)
        try:
            parse_options({name: value}, {}, 0)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None
        return value

    read.__name__ = convert.__name__  # for argparse's "invalid float value"
    return read


def sampling(args: argparse.Namespace) -> dict[str, Any]:
    """Return the sampling options that were given."""
    return {name: getattr(args, name) for name in SAMPLING if getattr(args, name) is not None}


def load_engine(args: argparse.Namespace) -> MLCEngine:
    """Load the model and say on stderr how it was fitted into memory."""
    from mlc_llm.engine import MLCEngine  # noqa: PLC0415 - imports NumPy

    bar = Bar()
    try:
        engine = MLCEngine(
            args.model, args.device, max_context=args.max_context, progress=bar.update
        )
    finally:
        bar.close()
    print(engine.plan, file=sys.stderr)
    return engine
