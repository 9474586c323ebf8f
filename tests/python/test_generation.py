"""Stop strings, whatever the borders of tokens; parameters and their ranges."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlc_llm import MLCEngine
from mlc_llm.generation import Answer, Event, StopStrings
from mlc_llm.responses import Arrival, TextCall
from mlc_llm.sampling import parse_options

letters = st.text("ab", max_size=12)


def cut(pieces: list[str], stops: list[str]) -> tuple[str, bool]:
    """What a caller sees of `pieces`."""
    stopper, shown = StopStrings(stops), ""
    for piece in pieces:
        shown += stopper.push(piece)
        if stopper.found:
            return shown, True
    return shown + stopper.flush(), False


def expected(text: str, stops: list[str]) -> tuple[str, bool]:
    """The same, a character at a time and without a memory."""
    for end in range(1, len(text) + 1):
        lengths = [len(stop) for stop in stops if text[:end].endswith(stop)]
        if lengths:
            return text[: end - max(lengths)], True
    return text, False


@given(pieces=st.lists(letters, max_size=6), stops=st.lists(st.text("ab", min_size=1, max_size=4)))
def test_stop_strings_do_not_depend_on_borders(pieces: list[str], stops: list[str]) -> None:
    assert cut(pieces, stops) == expected("".join(pieces), stops)


def test_only_what_may_be_a_beginning_is_held_back() -> None:
    stopper = StopStrings(["<end>"])
    assert [stopper.push(piece) for piece in ("a<", "b", "<e", "nd", "!")] == [
        "a",
        "<b",
        "",
        "",
        "<end!",
    ]


def test_tokens_behind_a_stop_string_are_dropped(engine: MLCEngine) -> None:
    # The other answer still runs, and the engine was quicker than the cancellation.
    tokenizer = engine.tokenizer
    answers = [Answer(tokenizer, ["stop"], []), Answer(tokenizer, ["stop"], [])]
    call = TextCall("model", 1, answers, tokenizer)
    for token in tokenizer.encode("so stop it", add_special_tokens=False):
        call.push(Arrival(0, Event(token, "", 0.0, 0, (), 0.0)))
    assert answers[0].text == "so "
    assert answers[0].finish == "stop"
    assert not call.done
    call.push(Arrival(1, Event(-1, "length", 0.0, 0, (), 0.0)))
    assert [choice.finish_reason for choice in call.whole().choices] == ["stop", "length"]


@pytest.mark.parametrize(
    ("given_options", "message"),
    [
        ({"temperature": -0.1}, "temperature must be a number from 0 to 2, and is -0.1"),
        ({"temperature": math.nan}, "temperature must be"),
        ({"temperature": 10**400}, "temperature must be"),
        ({"temperature": "hot"}, "temperature must be"),
        ({"temperature": True}, "temperature must be"),
        ({"top_p": 0}, "top_p must be a number above 0 and at most 1, and is 0"),
        ({"min_p": 1.5}, "min_p must be a number from 0 to 1"),
        ({"frequency_penalty": 3}, "frequency_penalty must be a number from -2 to 2"),
        ({"presence_penalty": -3}, "presence_penalty must be"),
        ({"repetition_penalty": 0}, "repetition_penalty must be a number above 0"),
        ({"max_tokens": 0}, "max_tokens must be a whole number from 1"),
        ({"max_tokens": 1.0}, "max_tokens must be a whole number"),
        ({"top_k": -1}, "top_k must be a whole number from 0"),
        ({"n": 0}, "n must be a whole number from 1 to 128"),
        ({"seed": 1 << 64}, "seed must be"),
        ({"top_logprobs": 21}, "top_logprobs must be a whole number from 0 to 20"),
        ({"stop": ""}, "stop must be a text or a list of texts, none empty"),
        ({"stop": ["a", 3]}, "stop must be"),
        ({"stop": 5}, "stop must be"),
        ({"logit_bias": {10: 1}}, "logit_bias must map tokens from 0 to 9"),
        ({"logit_bias": {1: 101}}, "to numbers from -100 to 100"),
        ({"logit_bias": {1: 10**400}}, "logit_bias must map"),
        ({"logit_bias": {1: math.nan}}, "logit_bias must map"),
        ({"logit_bias": {math.inf: 1}}, "logit_bias must map"),
        ({"logit_bias": "x"}, "logit_bias must map"),
        ({"ignore_eos": 1}, "ignore_eos must be True or False"),
    ],
)
def test_parameter_out_of_its_range_is_named(given_options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_options(given_options, {}, 10)


def test_what_is_given_comes_before_the_model_s_own() -> None:
    defaults = {"temperature": 0.6, "top_p": 0.9, "presence_penalty": None}
    options = parse_options({"top_p": 0.5, "max_tokens": None}, defaults, 10)
    assert (options.temperature, options.top_p, options.presence_penalty) == (0.6, 0.5, 0)
    assert options.max_tokens is None


def test_choices_have_seeds_of_their_own() -> None:
    options = parse_options({"seed": -1}, {}, 10)
    seeds = [options.seed_of(choice) for choice in range(128)]
    assert seeds[0] == (1 << 64) - 1
    assert len(set(seeds)) == 128


def test_unset_seeds_differ() -> None:
    assert len({parse_options({}, {}, 10).seed for _ in range(4)}) == 4


def test_keys_of_logit_bias_may_be_digits() -> None:
    assert parse_options({"logit_bias": {"3": -100}}, {}, 10).logit_bias == {3: -100.0}
