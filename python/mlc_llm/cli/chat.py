"""``mlc_llm chat``: talk to a model."""

from __future__ import annotations

import argparse
import contextlib
import sys
from typing import TYPE_CHECKING, Any

from mlc_llm.cli.options import add_model, add_sampling, load_engine, sampling

if TYPE_CHECKING:
    from mlc_llm import MLCEngine
    from mlc_llm.protocol import Usage

_HELP = """\
/help   this list
/reset  forget the conversation
/stats  tokens and speed of the last answer
/exit   end; so does the end of the input (Ctrl-D)
Ctrl-C stops an answer."""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "chat",
        help="talk to a model",
        description="Talk to a model, a line at a time; /help lists the commands.",
    )
    add_model(parser)
    parser.add_argument("--system", metavar="TEXT", help="what the model is told first")
    add_sampling(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Read lines and answer each until the input ends; 1 when one of a pipe was not answered."""
    terminal = sys.stdin.isatty()
    with load_engine(args) as engine:
        engine.check_chat()
        conversation = Conversation(engine, args.system, sampling(args))
        if terminal:
            with contextlib.suppress(ImportError):  # Windows' console is one by itself
                import readline  # noqa: F401, PLC0415 - makes input() a line editor

            print("/help lists the commands.", file=sys.stderr)
        while (line := _read_line()) is not None:
            if not conversation.take(line.strip()):
                break
    return 1 if conversation.failed and not terminal else 0


def _read_line() -> str | None:
    """Return the next line, or None at the end of the input. Ctrl-C clears what was typed."""
    if not sys.stdin.isatty():
        return sys.stdin.readline() or None
    try:
        if sys.stdout.isatty():
            return input("> ")
        print("> ", end="", file=sys.stderr, flush=True)
        return input()
    except EOFError:
        print(file=sys.stderr)
        return None
    except KeyboardInterrupt:
        print("\n/exit ends.", file=sys.stderr)
        return ""


class Conversation:
    """Messages so far, and what was used for the last answer.

    `failed` is whether a message could not be answered.
    """

    def __init__(self, engine: MLCEngine, system: str | None, options: dict[str, Any]) -> None:
        self._engine = engine
        self._options = options
        self._start = [{"role": "system", "content": system}] if system else []
        self._messages = list(self._start)
        self._usage: Usage | None = None
        self.failed = False

    def take(self, line: str) -> bool:
        """Do what `line` says, a command or a message. Return False when it ends the chat."""
        if line == "/exit":
            return False
        if line == "/reset":
            self._messages = list(self._start)
            print("The conversation is forgotten.", file=sys.stderr)
        elif line == "/stats":
            print(_format(self._usage), file=sys.stderr)
        elif line.startswith("/"):
            print(_HELP, file=sys.stderr)
        elif line:
            self._answer(line)
        return True

    def _answer(self, line: str) -> None:
        """Print the answer as it comes. A message that cannot be answered is forgotten."""
        messages = [*self._messages, {"role": "user", "content": line}]
        said = ""
        try:
            self._engine.tokenizer.encode(line)  # tells where in the line it is not UTF-8
            with self._engine.chat.completions.create(
                messages=messages,
                stream=True,
                stream_options={"include_usage": True},
                **self._options,
            ) as chunks:
                for chunk in chunks:
                    self._usage = chunk.usage or self._usage
                    for choice in chunk.choices:
                        said += choice.delta.content or ""
                        print(choice.delta.content, end="", flush=True)
        except KeyboardInterrupt:
            print(" [stopped]", end="", file=sys.stderr, flush=True)
        except ValueError as error:
            self.failed = True
            print(f"mlc_llm: {error}", file=sys.stderr)
            return
        print(flush=True)
        self._messages = [*messages, {"role": "assistant", "content": said}]


def _format(usage: Usage | None) -> str:
    if usage is None:
        return "There was no answer yet."
    cached = usage.prompt_tokens_details.cached_tokens
    speeds = {name: usage.extra.get(f"{name}_tokens_per_s") for name in ("prefill", "decode")}
    parts = [
        f"prompt {usage.prompt_tokens} tokens ({cached} from the cache)",
        f"answer {usage.completion_tokens} tokens",
        *(f"{name} {speed:.1f} tokens/s" for name, speed in speeds.items() if speed),
    ]
    return ", ".join(parts)
