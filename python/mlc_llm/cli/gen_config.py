"""``mlc_llm gen_config``: configuration and tokenizer of a model directory."""

from __future__ import annotations

import argparse

from mlc_llm.cli.convert_weight import add_source_arguments, find_source

_SIZES = {
    "context_window_size": "most tokens of a prompt with its answer (default: the model's)",
    "sliding_window_size": "tokens of a model's sliding window; -1 turns it off (default: the "
    "model's)",
    "prefill_chunk_size": "tokens of a prompt that MLC's own engine computes together; not used "
    "here (default: 8192, or the context if that is less)",
}


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "gen_config",
        help="make the configuration of a converted model",
        description="Write mlc-chat-config.json, and copy the tokenizer's files beside it.",
    )
    add_source_arguments(parser)
    parser.add_argument(
        "--conv-template",
        required=True,
        metavar="NAME",
        help="MLC's name of the chat template, for its own tools: chats here are rendered by the "
        'template of the tokenizer, and "LM" means that there is none',
    )
    for name, text in _SIZES.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, metavar="N", help=text)
    parser.add_argument(
        "--max-batch-size",
        type=int,
        metavar="N",
        default=128,
        help="requests that MLC's own engine computes together; not used here (default: "
        "%(default)s)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the configuration."""
    from mlc_llm.weights import gen_config  # noqa: PLC0415 - keeps --help quick

    sizes = {name: getattr(args, name) for name in _SIZES}
    path = gen_config(
        find_source(args.config),
        args.quantization,
        args.conv_template,
        args.output,
        max_batch_size=args.max_batch_size,
        **sizes,
    )
    print(path)
    return 0
