"""``mlc_llm generate``: continue one text."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from mlc_llm.cli.options import add_model, add_sampling, load_engine, sampling

if TYPE_CHECKING:
    from mlc_llm import MLCEngine


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "generate",
        help="continue a text",
        description="Continue a text and print what follows; chat templates play no part.",
    )
    add_model(parser)
    parser.add_argument("--prompt", metavar="TEXT", help="the text; standard input by default")
    parser.add_argument("--ignore-eos", action="store_true", help="go on behind the model's end")
    parser.add_argument("--json", action="store_true", help="print JSON when all is done")
    add_sampling(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the continuation as it comes, or all of it as JSON."""
    prompt = sys.stdin.read() if args.prompt is None else args.prompt
    options = {**sampling(args), "ignore_eos": args.ignore_eos}
    with load_engine(args) as engine:
        if args.json:
            print(json.dumps(_complete(engine, prompt, options), ensure_ascii=False, indent=2))
            return 0
        with engine.completions.create(prompt=prompt, stream=True, **options) as chunks:
            for chunk in chunks:
                print(chunk.choices[0].text, end="", flush=True)
    print()
    return 0


def _complete(engine: MLCEngine, prompt: str, options: dict[str, Any]) -> dict[str, Any]:
    result = engine.completions.create(prompt=prompt, **options)
    (choice,) = result.choices
    usage = result.to_dict()["usage"]
    timings = usage.pop("extra")
    return {
        "text": choice.text,
        "token_ids": choice.token_ids,
        "finish_reason": choice.finish_reason,
        "usage": usage,
        "timings": timings,
    }
