"""The ``mlc_llm`` command: one module per sub-command, loaded when its name is given."""

from __future__ import annotations

import argparse
import io
import sys
from importlib import import_module
from typing import TYPE_CHECKING

import mlc_llm

if TYPE_CHECKING:
    from collections.abc import Sequence

_COMMANDS = ("chat", "generate", "bench", "convert_weight", "gen_config", "devices", "selftest")
_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    if sys.platform == "win32":
        _speak_utf8()
    parser = _make_parser()
    args = parser.parse_args(argv)
    try:
        if args.version:
            return _print_version()
        if not hasattr(args, "run"):
            parser.print_help(sys.stderr)
            return 2
        code: int = args.run(args)
    except (ImportError, ValueError, OSError, RuntimeError) as error:
        print(f"mlc_llm: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return _INTERRUPTED
    return code


def _speak_utf8() -> None:
    """Read and write UTF-8 in pipes and files: Windows' code pages lack most of what models say."""
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8")


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mlc_llm",
        description=mlc_llm.__doc__.partition("\n")[0] if mlc_llm.__doc__ else None,
        epilog="Exit codes: 0 success, 1 a failure, told in one line, 2 wrong usage, 130 Ctrl-C.",
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for name in _COMMANDS:
        import_module(f"{__name__}.{name}").add_parser(commands)
    return parser


def _print_version() -> int:
    from mlc_llm._library import load  # noqa: PLC0415

    load()  # refuses a library of another version
    print(f"mlc_llm {mlc_llm.__version__}")
    return 0
