"""The thread that drives the native engine, and hands its events to whoever asked."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mlc_llm._library import load
from mlc_llm.generation import Event
from mlc_llm.plan import Plan
from mlc_llm.sampling import Options

Deliver = Callable[["Event | Exception"], None]

_CLOSED = "The engine is closed: make a new one."
_NOT_A_NUMBER = (
    "The model computed logits that are no numbers: its weights are damaged, or too large for it."
)


class Worker:
    """Runs requests for any number of threads.

    `model` is the native model. Nothing computes while nobody asks. Events come to a request's
    `deliver` on the worker's thread: it must not block.
    """

    def __init__(self, model: Any, plan: Plan) -> None:
        library = load()
        self._native_submit = library("engine_submit")
        self._native_cancel = library("engine_cancel")
        self._native_step = library("engine_step")
        self._engine = library("engine_create")(model, plan.pages, plan.sequences, plan.context)
        self._changed = threading.Condition()
        self._active: dict[int, Deliver] = {}
        self._failure: Exception | None = None  # why there will be no more steps
        self._thread = threading.Thread(target=self._run, name="mlc_llm engine", daemon=True)
        self._thread.start()

    def submit(
        self,
        prompt: Sequence[int],
        options: Options,
        deliver: Deliver,
        *,
        choice: int,
        max_tokens: int,
        stop_tokens: Sequence[int],
    ) -> int:
        """Queue the request for one answer and return its number.

        Raises ValueError when it can never fit, and RuntimeError when the engine has ended.
        """
        pairs = _to_native(options, choice, max_tokens, stop_tokens)
        tokens = np.array(prompt, np.int32)
        with self._changed:
            if self._failure is not None:
                raise RuntimeError(str(self._failure)) from self._failure
            # Under the lock: its first event may come before this returns.
            request = int(self._native_submit(self._engine, tokens, *pairs))
            self._active[request] = deliver
            self._changed.notify()
        return request

    def cancel(self, request: int) -> None:
        """End a request at the next step; nothing more is delivered. Ended ones are ignored."""
        with self._changed:
            if self._active.pop(request, None) is not None:
                self._native_cancel(self._engine, request)

    def close(self) -> None:
        """End the thread after the step it is in; requests that wait get a RuntimeError."""
        with self._changed:
            self._failure = self._failure or RuntimeError(_CLOSED)
            self._changed.notify()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        while self._wait_for_work():
            events: list[tuple[int, Event]] = []
            error: Exception | None = None
            try:
                self._native_step(self._engine, _collect_into(events))
            except Exception as failure:  # noqa: BLE001 - told to those who wait
                error = failure
            self._dispatch(events, error)
        with self._changed:
            for deliver in list(self._active.values()):
                _deliver(deliver, RuntimeError(str(self._failure)))
            self._active.clear()

    def _wait_for_work(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._active or self._failure)
            return self._failure is None

    def _dispatch(self, events: list[tuple[int, Event]], error: Exception | None) -> None:
        with self._changed:
            if error is not None and not any(event.finish for _, event in events):
                self._failure = error  # nothing was ended by it, so it would come again
            for request, event in events:
                deliver = self._active.get(request)
                if event.finish:
                    self._active.pop(request, None)
                if deliver is None:
                    continue
                failed = event.finish == "error"
                _deliver(deliver, (error or RuntimeError(_NOT_A_NUMBER)) if failed else event)


def _deliver(deliver: Deliver, item: Event | Exception) -> None:
    # The event loop of whoever asked may be closed: that is no concern of the others.
    with contextlib.suppress(RuntimeError):
        deliver(item)


def _collect_into(events: list[tuple[int, Event]]) -> Callable[..., None]:
    def sink(  # noqa: PLR0917 - the native engine's call
        request: int,
        token: int,
        finish: str,
        logprob: float,
        reused: int,
        top_tokens: Any,
        top_logprobs: Any,
    ) -> None:
        top: tuple[tuple[int, float], ...] = ()
        if top_tokens is not None:
            pairs = zip(_to_list(top_tokens), _to_list(top_logprobs), strict=True)
            top = tuple(pairs)
        now = time.perf_counter()
        events.append((request, Event(token, str(finish), logprob, reused, top, now)))

    return sink


def _to_list(tensor: Any) -> list[Any]:
    values: list[Any] = np.from_dlpack(tensor).tolist()
    return values


def _to_native(
    options: Options, choice: int, max_tokens: int, stop_tokens: Sequence[int]
) -> list[Any]:
    """Return the keys and values of a native request, alternating."""
    seed = options.seed_of(choice)
    fields: dict[str, Any] = {
        "max_tokens": max_tokens,
        "temperature": options.temperature,
        "top_p": options.top_p,
        "top_k": options.top_k,
        "min_p": options.min_p,
        "repetition_penalty": options.repetition_penalty,
        "presence_penalty": options.presence_penalty,
        "frequency_penalty": options.frequency_penalty,
        "seed": seed - (1 << 64) if seed >> 63 else seed,  # the FFI's integers are signed
        "top_logprobs": -1 if options.top_logprobs is None else options.top_logprobs,
    }
    if stop_tokens:
        fields["stop_tokens"] = np.array(stop_tokens, np.int32)
    if options.logit_bias:
        fields["logit_bias_tokens"] = np.array(list(options.logit_bias), np.int32)
        fields["logit_bias_values"] = np.array(list(options.logit_bias.values()), np.float32)
    return [item for pair in fields.items() for item in pair]
