"""``mlc_llm convert_weight``: weights of Hugging Face become weights of MLC."""

from __future__ import annotations

import argparse
from pathlib import Path

from mlc_llm.cli.progress import Bar


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "convert_weight",
        help="convert and quantize the weights of a Hugging Face model",
        description="Convert the safetensors files of a Hugging Face directory into MLC's. The "
        "output is complete or not there at all; a former conversion in it is replaced at the end.",
    )
    add_source_arguments(parser)
    parser.set_defaults(run=run)


def add_source_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what convert_weight and gen_config have in common."""
    parser.add_argument(
        "config",
        metavar="DIR",
        type=Path,
        help="directory of the model, or the config.json in it",
    )
    parser.add_argument(
        "--quantization",
        required=True,
        choices=("q0f16", "q0f32", "q4f16_1", "q4f32_1"),
        help="how weights are stored: 4 bits (q4) or not (q0), the rest in float16 or float32",
    )
    parser.add_argument(
        "--output", "-o", required=True, metavar="OUT", type=Path, help="directory to write into"
    )


def find_source(config: Path) -> Path:
    """Return the directory that `config` names."""
    return config.parent if config.name == "config.json" else config


def run(args: argparse.Namespace) -> int:
    """Convert, and say what came of it."""
    from mlc_llm.plan import format_size  # noqa: PLC0415 - keeps --help quick
    from mlc_llm.weights import convert_weight  # noqa: PLC0415

    bar = Bar()
    try:
        done = convert_weight(find_source(args.config), args.quantization, args.output, bar.update)
    finally:
        bar.close()
    print(
        f"{args.output}: {done.parameters:,} parameters in {format_size(done.nbytes)}, "
        f"{8 * done.nbytes / done.parameters:.2f} bits each"
    )
    return 0
