"""The engines on the tiny real model: what they say, and what they do under threads."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from mlc_llm import AsyncMLCEngine, MLCEngine
from mlc_llm.protocol import Completion

HELLO = [{"role": "user", "content": "Who are you?"}]
GREEDY: dict[str, Any] = {"temperature": 0}


def text_of(result: Completion) -> str:
    return result.choices[0].text


def test_the_model_says_its_text(engine: MLCEngine, learnt: str) -> None:
    result = engine.completions.create(prompt=learnt[:40], max_tokens=40, **GREEDY)
    assert learnt[40:].startswith(text_of(result))
    assert len(text_of(result)) > 40
    assert result.choices[0].finish_reason == "length"


def test_the_model_ends_its_text(engine: MLCEngine, learnt: str) -> None:
    (choice,) = engine.completions.create(prompt=learnt[:40], **GREEDY).choices
    assert choice.text == learnt[40:]
    assert choice.finish_reason == "stop"
    assert choice.token_ids[-1] in engine.tokenizer.stop_tokens


def test_ignore_eos_goes_on(engine: MLCEngine, learnt: str) -> None:
    result = engine.completions.create(prompt=learnt[:40], ignore_eos=True, **GREEDY)
    assert result.choices[0].finish_reason == "length"
    assert result.usage is not None
    assert result.usage.total_tokens == engine.plan.context


def test_stream_is_the_whole_in_pieces(engine: MLCEngine, learnt: str) -> None:
    options: dict[str, Any] = {"prompt": learnt[:40], "stream_options": {"include_usage": True}}
    chunks = list(engine.completions.create(stream=True, **options, **GREEDY))
    pieces = [chunk.choices[0].text for chunk in chunks[:-1]]
    assert "".join(pieces) == learnt[40:]
    assert len(pieces) > 20
    reasons = [chunk.choices[0].finish_reason for chunk in chunks[:-1]]
    assert reasons == [None] * (len(reasons) - 1) + ["stop"]
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert {chunk.id for chunk in chunks} == {chunks[0].id}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("length", [1, 3, 9])
def test_stop_string_across_token_borders(
    engine: MLCEngine,
    learnt: str,
    length: int,
    stream: bool,  # noqa: FBT001
) -> None:
    for start in range(60, 70):
        stop = learnt[start : start + length]
        expected = learnt[40 : learnt.index(stop, 40)]
        if stream:
            chunks = engine.completions.create(
                prompt=learnt[:40], stop=["never", stop], stream=True, **GREEDY
            )
            pieces = [chunk.choices[0] for chunk in chunks]
            said, reason = "".join(piece.text for piece in pieces), pieces[-1].finish_reason
        else:
            result = engine.completions.create(prompt=learnt[:40], stop=stop, **GREEDY)
            said, reason = text_of(result), result.choices[0].finish_reason
        assert (said, reason) == (expected, "stop")


def test_prompt_may_be_tokens(engine: MLCEngine, learnt: str) -> None:
    tokens = engine.tokenizer.encode(learnt[:40])
    by_text, by_tokens = (
        text_of(engine.completions.create(prompt=prompt, max_tokens=9, **GREEDY))
        for prompt in (learnt[:40], tokens)
    )
    assert by_text == by_tokens


def test_chat_has_openai_s_shape(engine: MLCEngine) -> None:
    result = engine.chat.completions.create(messages=HELLO, max_tokens=8, model="x", seed=1)
    (choice,) = result.choices
    assert result.object == "chat.completion"
    assert result.id.startswith("chatcmpl-")
    assert choice.message.role == "assistant"
    prompt = "<|begin|><|user|>Who are you?<|end|><|assistant|>"
    tokens = engine.tokenizer.encode(prompt, add_special_tokens=False)
    assert result.usage.prompt_tokens == len(tokens)
    assert result.usage.total_tokens == len(tokens) + len(choice.token_ids)
    assert result.to_dict()["usage"]["prompt_tokens_details"]["cached_tokens"] >= 0


def test_chat_streams_deltas(engine: MLCEngine) -> None:
    options: dict[str, Any] = {"messages": HELLO, "max_completion_tokens": 12, "seed": 5}
    whole = engine.chat.completions.create(**options)
    chunks = list(engine.chat.completions.create(stream=True, **options))
    said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert said == whole.choices[0].message.content
    assert chunks[-1].choices[0].finish_reason == whole.choices[0].finish_reason
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}


def test_same_seed_same_text(engine: MLCEngine) -> None:
    def say(seed: int) -> list[str]:
        result = engine.completions.create(prompt="A", n=3, temperature=2, max_tokens=24, seed=seed)
        return [choice.text for choice in result.choices]

    assert say(7) == say(7)
    assert say(7) != say(8)
    assert len(set(say(7))) == 3


def test_prefix_of_an_earlier_prompt_is_reused(engine: MLCEngine, learnt: str) -> None:
    prompt = "reused: " + learnt
    cached = [
        result.usage.prompt_tokens_details.cached_tokens
        for result in (
            engine.completions.create(prompt=prompt, max_tokens=1, **GREEDY) for _ in range(2)
        )
        if result.usage
    ]
    assert cached[0] < cached[1]
    assert cached[1] >= len(engine.tokenizer.encode(prompt)) - 32


def test_logprobs_of_a_chat(engine: MLCEngine) -> None:
    result = engine.chat.completions.create(
        messages=HELLO, max_tokens=4, logprobs=True, top_logprobs=3, ignore_eos=True, **GREEDY
    )
    logprobs = result.choices[0].logprobs
    assert logprobs is not None
    assert len(logprobs.content) == 4
    for token in logprobs.content:
        best = token.top_logprobs[0]
        assert (best.token, best.logprob) == (token.token, token.logprob)
        assert [top.logprob for top in token.top_logprobs] == sorted(
            (top.logprob for top in token.top_logprobs), reverse=True
        )
        assert bytes(token.bytes).decode(errors="replace") == token.token


def test_logprobs_of_a_completion(engine: MLCEngine, learnt: str) -> None:
    result = engine.completions.create(prompt=learnt[:40], max_tokens=5, logprobs=2, **GREEDY)
    (choice,) = result.choices
    assert choice.logprobs is not None
    assert "".join(choice.logprobs.tokens) == choice.text
    assert all(-1 < logprob <= 0 for logprob in choice.logprobs.token_logprobs)
    assert [len(top) for top in choice.logprobs.top_logprobs] == [2] * 5
    assert [choice.text[at:] for at in choice.logprobs.text_offset] == [
        "".join(choice.logprobs.tokens[index:]) for index in range(5)
    ]


def test_logit_bias_bans_and_forces(engine: MLCEngine, learnt: str) -> None:
    options: dict[str, Any] = {"prompt": learnt[:40], "max_tokens": 1, **GREEDY}
    (first,) = engine.completions.create(**options).choices[0].token_ids
    (other,) = engine.completions.create(logit_bias={first: -100}, **options).choices[0].token_ids
    forced = engine.completions.create(logit_bias={"5": 100}, **options)
    assert other != first
    assert forced.choices[0].token_ids == [5]


@pytest.mark.parametrize(
    ("context", "cure"),
    [
        (512, r"shorten the prompt, as this is all that the model knows\."),
        (64, r"or make the engine with a larger max_context \(the model knows 512\)"),
    ],
)
def test_prompt_that_is_too_long_is_refused_with_numbers(
    tiny_model: Path, context: int, cure: str
) -> None:
    numbers = f"prompt has 600 tokens, and the context is {context}, "
    with (
        MLCEngine(tiny_model, "cpu", max_context=context) as engine,
        pytest.raises(ValueError, match=numbers + ".*" + cure),
    ):
        engine.completions.create(prompt=[5] * 600)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prompt": []}, "prompt is empty"),
        ({"prompt": [-1]}, "tokens are 0 to"),
        ({"prompt": [99999]}, "tokens are 0 to"),
        ({"prompt": "a", "temperature": 3}, "temperature must be"),
        ({"prompt": "a", "stream_options": {"usage": True}}, "stream_options may hold"),
        ({"prompt": None}, "prompt must be a text or a list of tokens, and is None"),
        ({"prompt": "a", "logprobs": 21}, "^logprobs must be a whole number from 0 to 20"),
        ({"prompt": "a", "logprobs": False}, "^logprobs must be a whole number"),
        ({"prompt": "a", "top_logprobs": 2}, "no parameter 'top_logprobs'; there are .*logprobs"),
        ({"prompt": "a", "wrong": 1}, "'wrong'; there are .*stream, stream_options, temperature"),
    ],
)
def test_wrong_request_is_refused(engine: MLCEngine, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        engine.completions.create(**options)


@pytest.mark.parametrize("variables", [[1], "x", 0])
def test_variables_of_a_template_are_a_dict(engine: MLCEngine, variables: Any) -> None:
    with pytest.raises(ValueError, match="chat_template_kwargs must be a dict"):
        engine.chat.completions.create(messages=HELLO, chat_template_kwargs=variables)


def test_top_logprobs_need_logprobs(engine: MLCEngine) -> None:
    with pytest.raises(ValueError, match="top_logprobs needs logprobs=True"):
        engine.chat.completions.create(messages=HELLO, top_logprobs=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"logprobs": True, "top_logprobs": 21}, "^top_logprobs must be a whole number"),
        ({"logprobs": 2}, "^logprobs must be True or False, and is 2"),
        ({"wrong": 1}, "'wrong'; there are chat_template_kwargs, .*logprobs, max_completion_to"),
    ],
)
def test_wrong_chat_is_refused(engine: MLCEngine, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        engine.chat.completions.create(messages=HELLO, **options)


def test_closing_a_stream_ends_its_request(tiny_model: Path) -> None:
    with MLCEngine(tiny_model, "cpu", max_sequences=1) as engine:
        worker = engine._core._worker
        native_step, steps = worker._native_step, [0]

        def step(*arguments: object) -> None:
            steps[0] += 1
            native_step(*arguments)

        worker._native_step = step
        stream = engine.completions.create(prompt="A", stream=True, ignore_eos=True)
        next(stream)
        stream.close()
        before = steps[0]
        # With room for one sequence, the next request runs only when the first one is gone.
        engine.completions.create(prompt="A", max_tokens=1)
        assert steps[0] - before < 5


def test_dropped_stream_ends_its_request(tiny_model: Path) -> None:
    with MLCEngine(tiny_model, "cpu") as engine:
        stream = engine.completions.create(prompt="A", stream=True, ignore_eos=True)
        del stream
        assert engine._core._worker._active == {}


def test_closed_engine_says_so(tiny_model: Path) -> None:
    engine = MLCEngine(tiny_model, "cpu")
    stream = engine.completions.create(prompt="A", stream=True, ignore_eos=True)
    engine.close()
    engine.close()
    with pytest.raises(RuntimeError, match="engine is closed"):
        list(stream)
    with pytest.raises(RuntimeError, match="engine is closed"):
        engine.completions.create(prompt="A")


def test_engine_that_fails_tells_everybody(tiny_model: Path) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("The device is gone.")

    with MLCEngine(tiny_model, "cpu") as engine:
        engine._core._worker._native_step = fail
        with pytest.raises(RuntimeError, match="The device is gone"):
            engine.completions.create(prompt="A")
        with pytest.raises(RuntimeError, match="The device is gone"):
            engine.completions.create(prompt="A")


@pytest.mark.parametrize(
    ("error", "message"), [("The device is full.", "device is full"), ("", "no numbers")]
)
def test_request_that_fails_takes_no_other_with_it(
    tiny_model: Path, error: str, message: str
) -> None:
    with MLCEngine(tiny_model, "cpu") as engine:
        worker = engine._core._worker
        step = worker._native_step

        def fail(_: object, sink: Callable[..., None]) -> None:
            worker._native_step = step
            sink(max(worker._active), -1, "error", 0.0, 0, None, None)
            if error:
                raise RuntimeError(error)

        worker._native_step = fail
        with pytest.raises(RuntimeError, match=message):
            engine.completions.create(prompt="A")
        assert engine.completions.create(prompt="A", max_tokens=1).usage is not None


def test_stream_keeps_its_engine_alive(tiny_model: Path) -> None:
    stream = MLCEngine(tiny_model, "cpu").completions.create(prompt="A", max_tokens=9, stream=True)
    assert [chunk.choices[0].finish_reason for chunk in stream][-1] in {"stop", "length"}


def test_eight_threads_hear_what_each_would_alone(engine: MLCEngine, learnt: str) -> None:
    def say(index: int) -> list[int]:
        result = engine.completions.create(
            prompt=learnt[index * 7 : index * 7 + 20 + index],
            max_tokens=20 + index,
            temperature=1.5,
            seed=index,
            ignore_eos=True,
        )
        return result.choices[0].token_ids

    alone = [say(index) for index in range(24)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(say, range(24))) == alone


def test_other_python_threads_run_while_it_computes(
    engine: MLCEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker, ended = engine._core._worker, threading.Event()
    native_step, inside, seen = worker._native_step, False, 0

    def step(*arguments: object) -> None:
        nonlocal inside
        inside = True
        native_step(*arguments)
        inside = False

    def look() -> None:
        nonlocal seen
        while not ended.wait(1e-6):  # which releases the GIL
            seen += inside

    monkeypatch.setattr(worker, "_native_step", step)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(3600)  # so that a thread runs on until it releases the GIL by itself
    thread = threading.Thread(target=look)
    thread.start()
    try:
        engine.completions.create(prompt="A", ignore_eos=True)
    finally:
        ended.set()
        thread.join()
        sys.setswitchinterval(interval)
    assert seen > 0


def test_async_engine_answers_many_at_once(
    tiny_model: Path, engine: MLCEngine, learnt: str
) -> None:
    async def ask() -> tuple[list[str], str]:
        async with AsyncMLCEngine(tiny_model, "cpu") as asynchronous:
            create = asynchronous.completions.create
            results = await asyncio.gather(
                *(create(prompt=learnt[:n], max_tokens=12, **GREEDY) for n in (20, 30, 40))
            )
            chunks = await create(prompt=learnt[:40], stream=True, **GREEDY)
            streamed = "".join([chunk.choices[0].text async for chunk in chunks])
            chat = await asynchronous.chat.completions.create(messages=HELLO, max_tokens=1)
            assert chat.usage.completion_tokens == 1
            async with await create(prompt="A", stream=True, ignore_eos=True) as early:
                async for _ in early:
                    break
            assert asynchronous._core._worker._active == {}
            return [text_of(result) for result in results], streamed

    texts, streamed = asyncio.run(ask())
    assert texts == [
        text_of(engine.completions.create(prompt=learnt[:n], max_tokens=12, **GREEDY))
        for n in (20, 30, 40)
    ]
    assert streamed == learnt[40:]


def test_async_errors_are_raised_where_they_are_awaited(tiny_model: Path) -> None:
    async def ask() -> None:
        async with AsyncMLCEngine(tiny_model, "cpu") as asynchronous:
            with pytest.raises(ValueError, match="top_p must be"):
                await asynchronous.completions.create(prompt="A", top_p=2)
            stream = await asynchronous.completions.create(prompt="A", stream=True, ignore_eos=True)
            asynchronous.close()
            with pytest.raises(RuntimeError, match="engine is closed"):
                async for _ in stream:
                    pass

    asyncio.run(ask())


def test_a_closed_event_loop_harms_no_other(tiny_model: Path) -> None:
    asynchronous = AsyncMLCEngine(tiny_model, "cpu")

    async def ask(**options: Any) -> Any:
        return await asynchronous.completions.create(prompt="A", **options)

    abandoned = asyncio.run(ask(stream=True, ignore_eos=True))
    asyncio.run(asyncio.wait_for(ask(max_tokens=1), 30))
    asynchronous.close()
    del abandoned  # until here it asked for more
