"""Options that several commands share, and the engine they ask for."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from mlc_llm.cli.progress import Bar

if TYPE_CHECKING:
    from mlc_llm import MLCEngine

SAMPLING = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "seed")


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add MODEL and how it is run."""
    parser.add_argument(
        "model", metavar="MODEL", help="a model directory, or HF://ORGANIZATION/NAME"
    )
    parser.add_argument(
        "--device", default="auto", metavar="ID", help="auto, cpu or vulkan[:i] (default: auto)"
    )
    parser.add_argument(
        "--max-context", type=int, metavar="N", help="tokens of prompt and answer (default: all)"
    )


def add_sampling(parser: argparse.ArgumentParser) -> None:
    """Add how the next token is chosen; the defaults are the model's."""
    group = parser.add_argument_group("sampling (defaults: the model's)")
    group.add_argument("--max-tokens", type=int, metavar="N", help="longest answer")
    group.add_argument("--temperature", type=float, metavar="T", help="0 is greedy, at most 2")
    group.add_argument("--top-p", type=float, metavar="P", help="above 0, at most 1")
    group.add_argument("--top-k", type=int, metavar="K", help="0 is off")
    group.add_argument("--min-p", type=float, metavar="P", help="0 to 1")
    group.add_argument("--repetition-penalty", type=float, metavar="X", help="1 is off")
    group.add_argument("--seed", type=int, metavar="S", help="the same seed gives the same text")
    group.add_argument("--stop", action="append", metavar="TEXT", help="end there; may be repeated")


def sampling(args: argparse.Namespace) -> dict[str, Any]:
    """Return the sampling options that were given."""
    names = (*SAMPLING, "max_tokens", "stop")
    return {name: getattr(args, name) for name in names if getattr(args, name) is not None}


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
