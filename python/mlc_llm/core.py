"""A model with all that it takes to answer: what both engines are made of."""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from mlc_llm.chat_template import ChatTemplate, check_messages, find_template
from mlc_llm.generation import Answer, Event
from mlc_llm.hub import resolve
from mlc_llm.model import Model, Progress
from mlc_llm.placement import find_placements
from mlc_llm.plan import Plan, place
from mlc_llm.protocol import ChatCompletion, ChatCompletionChunk, Completion
from mlc_llm.responses import Arrival, Call, ChatCall, Chunk, TextCall, Whole
from mlc_llm.sampling import CHAT, MAX_LOGPROBS, TEXT, check_names, check_whole, parse_options
from mlc_llm.streams import Running
from mlc_llm.tokenizer import Tokenizer
from mlc_llm.weights import load_model_dir
from mlc_llm.worker import Worker

Messages = Sequence[Mapping[str, Any]]


class Core:
    """What both engines are: model, tokenizer, template, plan and worker."""

    def __init__(
        self,
        model: str | Path,
        device: str = "auto",
        *,
        max_context: int | None = None,
        max_sequences: int = 8,
        prefill_chunk: int = 512,
        progress: Progress | None = None,
    ) -> None:
        self.model_name = str(model)
        directory = resolve(self.model_name)
        loaded = load_model_dir(directory)
        self.tokenizer = Tokenizer(directory)
        weight_bytes = sum(tensor.nbytes for tensor in loaded.tensors.values())
        self.plan: Plan = place(
            find_placements(device),
            loaded.config,
            weight_bytes=weight_bytes,
            max_context=max_context,
            max_sequences=max_sequences,
            prefill_chunk=prefill_chunk,
        )
        self._known_context = loaded.config.context_window
        # Rotary embeddings can depend on the context.
        config = dataclasses.replace(loaded.config, context_window=self.plan.context)
        loaded = dataclasses.replace(loaded, config=config)
        self.model = Model(loaded, self.plan.device, self.plan.prefill_chunk, progress)
        self._defaults = loaded.chat_config
        self._directory = directory
        self._template: ChatTemplate | None = None
        self._worker = Worker(self.model.handle, self.plan)
        self.close = weakref.finalize(self, self._worker.close)

    def start_chat(
        self, messages: Messages, deliver: Callable[[Arrival], None], given: dict[str, Any]
    ) -> Running[ChatCompletion, ChatCompletionChunk]:
        """Queue a chat's requests."""
        variables = given.pop("chat_template_kwargs", None)
        if variables is not None and not isinstance(variables, Mapping):
            raise ValueError(f"chat_template_kwargs must be a dict, and is {variables!r}.")
        if "max_completion_tokens" in given:
            given["max_tokens"] = given.pop("max_completion_tokens")
        check_names(given, CHAT)
        logprobs = _flag("logprobs", given.pop("logprobs", None))
        if logprobs:
            given["top_logprobs"] = given.get("top_logprobs") or 0
        elif given.get("top_logprobs"):
            raise ValueError("top_logprobs needs logprobs=True.")
        else:
            given.pop("top_logprobs", None)
        text = self.get_template().render(check_messages(messages), variables)
        prompt = self.tokenizer.encode(text, add_special_tokens=False)
        running = self._start(ChatCall, prompt, (), deliver, given)
        running.call.logprobs = logprobs
        return running

    def start_text(
        self, prompt: str | Sequence[int], deliver: Callable[[Arrival], None], given: dict[str, Any]
    ) -> Running[Completion, Completion]:
        """Queue a completion's requests."""
        check_names(given, TEXT)
        logprobs = given.pop("logprobs", None)
        if logprobs is not None:
            given["top_logprobs"] = check_whole("logprobs", logprobs, 0, MAX_LOGPROBS)
        if not isinstance(prompt, Sequence):
            raise ValueError(  # noqa: TRY004 - one kind of error for every parameter
                f"prompt must be a text or a list of tokens, and is {prompt!r}."
            )
        tokens = self.tokenizer.encode(prompt) if isinstance(prompt, str) else list(prompt)
        running = self._start(TextCall, tokens, tokens, deliver, given)
        running.call.logprobs = logprobs is not None
        return running

    def _start(
        self,
        kind: Callable[..., Call[Whole, Chunk]],
        prompt: list[int],
        continued: Sequence[int],
        deliver: Callable[[Arrival], None],
        given: dict[str, Any],
    ) -> Running[Whole, Chunk]:
        given.pop("model", None)
        given.pop("user", None)
        include_usage = _include_usage(given.pop("stream_options", None))
        vocabulary = self.model.config.vocab
        options = parse_options(given, self._defaults, vocabulary)
        room = self._check_prompt(prompt, vocabulary)
        stop_tokens = () if options.ignore_eos else self._stop_tokens(vocabulary)
        answers = [
            Answer(self.tokenizer, options.stop, stop_tokens, continued) for _ in range(options.n)
        ]
        call = kind(self.model_name, len(prompt), answers, self.tokenizer)
        call.include_usage = include_usage
        running = Running(call, self, self._worker.cancel)
        try:
            for index in range(options.n):
                request = self._worker.submit(
                    prompt,
                    options,
                    partial(_send, deliver, index),
                    choice=index,
                    max_tokens=min(options.max_tokens or room, room),
                    stop_tokens=stop_tokens,
                )
                running.requests.append(request)
        except BaseException:
            running.close()
            raise
        return running

    def _check_prompt(self, prompt: list[int], vocabulary: int) -> int:
        """Return how many tokens of answer fit behind `prompt`."""
        if not prompt:
            raise ValueError("The prompt is empty: it must have at least one token.")
        for token in prompt:
            if not isinstance(token, int) or not 0 <= token < vocabulary:
                raise ValueError(f"The prompt's tokens are 0 to {vocabulary - 1}, not {token!r}.")
        room = self.plan.context - len(prompt)
        if room < 1:
            known = self._known_context
            more = f"or make the engine with a larger max_context (the model knows {known})"
            if self.plan.context == known:
                more = "as this is all that the model knows"
            raise ValueError(
                f"The prompt has {len(prompt)} tokens, and the context is {self.plan.context}, at "
                f"least one of them for the answer: shorten the prompt, {more}."
            )
        return room

    def _stop_tokens(self, vocabulary: int) -> tuple[int, ...]:
        return tuple(token for token in self.tokenizer.stop_tokens if token < vocabulary)

    def get_template(self) -> ChatTemplate:
        """Return the model's template. Raises ValueError where it has none, or a damaged one."""
        if self._template is None:
            source = find_template(self._directory, self.tokenizer.config)
            self._template = ChatTemplate(source, self.tokenizer.special)
        return self._template


def _send(deliver: Callable[[Arrival], None], index: int, item: Event | Exception) -> None:
    deliver(Arrival(index, item))


def _flag(name: str, value: Any) -> bool:
    if value is not None and not isinstance(value, bool):
        raise ValueError(f"{name} must be True or False, and is {value!r}.")
    return bool(value)


def _include_usage(stream_options: Any) -> bool:
    options = {} if stream_options is None else stream_options
    if not isinstance(options, dict) or set(options) - {"include_usage"}:
        raise ValueError(f"stream_options may hold include_usage, and is {stream_options!r}.")
    return _flag("include_usage", options.get("include_usage"))
