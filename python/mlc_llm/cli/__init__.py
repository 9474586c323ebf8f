"""The ``mlc_llm`` command: one module per sub-command, loaded when its name is given."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import mlc_llm

if TYPE_CHECKING:
    from collections.abc import Sequence

_COMMANDS = ("chat", "generate", "bench", "convert_weight", "gen_config", "devices", "selftest")
_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    _set_encodings()
    _open_closed_streams()
    try:
        parser = _make_parser()
        args = parser.parse_args(argv)
        if args.version:
            return _print_version()
        if not hasattr(args, "run"):
            parser.print_help(sys.stderr)
            return 2
        code: int = args.run(args)
        sys.stdout.flush()  # here, where it can still be told that it fails
    except (ImportError, ValueError, OSError, RuntimeError) as error:
        if isinstance(error, OSError) and error.filename is None:
            _give_up_output()
        if not isinstance(error, BrokenPipeError):  # the reader has seen enough, as `head` does
            print(f"mlc_llm: {_describe(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return _INTERRUPTED
    return code


def _set_encodings() -> None:
    """Read and write UTF-8 in pipes and files: Windows' code pages lack most of what models say.

    What is not UTF-8 is read nevertheless: where in a text it is, is told when that text is used.
    """
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and sys.platform == "win32":
            stream.reconfigure(encoding="utf-8")
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="surrogateescape")


def _open_closed_streams() -> None:
    """Where the shell closed a stream (`<&-`), Python has None: read nothing, write nowhere."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            stream = Path(os.devnull).open(mode, encoding="utf-8")  # noqa: SIM115 - to the end
            setattr(sys, name, stream)


def _give_up_output() -> None:
    """Discard what cannot be written, which Python would try, and report, again at its end."""
    with contextlib.suppress(OSError), Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


def _describe(error: Exception) -> str:
    """Return the error's words; the system's without its number, and first what they are about."""
    if not isinstance(error, OSError) or not error.strerror:
        return str(error)
    return f"{error.filename}: {error.strerror}" if error.filename else error.strerror


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
