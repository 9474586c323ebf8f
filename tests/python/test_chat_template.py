from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from mlc_llm.chat_template import ChatTemplate, check_messages, find_template

HELLO = [{"role": "user", "content": 'Say "é" <now>'}]


def render(source: str, **variables: Any) -> str:
    return ChatTemplate(source, {"bos_token": "<s>"}).render(HELLO, variables)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{{ bos_token }}{{ messages[0]['role'] }}", "<s>user"),
        ("{{ messages[0].content | tojson }}", '"Say \\"é\\" <now>"'),
        ("{{ {'b': 1, 'a': 2} | tojson(sort_keys=true) }}", '{"a": 2, "b": 1}'),
        # Blocks take their line with them.
        ("a\n  {% if true %}\nb\n  {% endif %}\nc", "a\nb\nc"),
        ("{% for i in range(9) %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}", "01"),
        ("{% generation %}x{% endgeneration %}", "x"),
        ("{{ strftime_now('%%') }}", "%"),
        ("{{ 'ab' * 2 }}{{ 3 * 4 }}", "abab12"),
        ("{{ add_generation_prompt }}{{ thinking }}", "Trueno"),
        ("{{ tools is none and documents is none }}", "True"),
    ],
)
def test_template_has_what_templates_of_the_hub_use(source: str, expected: str) -> None:
    assert render(source, thinking="no") == expected


def test_variables_may_have_any_names() -> None:
    variables = {"self": 1, "messages": [], "add_generation_prompt": False}
    assert render("{{ messages[0].role }}{{ add_generation_prompt }}", **variables) == "userFalse"


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("{{ raise_exception('No system role.') }}", r": No system role\.$"),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{{ messages.append(1) }}", "unsafe"),
        ("{{ raise_exception.__globals__.os }}", "unsafe"),
        ("{{ 'a' * 999999999999 }}", "more than 16777216"),
        ("{{ 9 ** 9 ** 9 }}", "not allowed"),
        (
            "{% for i in range(99999) %}{{ messages[0].content * 99 }}{% endfor %}",
            "more than 16777216",
        ),
        ("{{ messages[7].content }}", "no element 7"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "recursion"),
    ],
)
def test_template_is_kept_in_its_sandbox(source: str, reason: str) -> None:
    with pytest.raises(ValueError, match=f"refuses these messages.*{reason}"):
        render(source)


@pytest.mark.parametrize(
    "source",
    [
        "{% if",
        "{{ 1 | " + "x" * 999 + " }}",
        # What Python's own compiler refuses.
        "{% for i in [1] %}" * 21 + "{% endfor %}" * 21,
        "{% if x %}" * 120 + "{% endif %}" * 120,
    ],
)
def test_damaged_template_is_refused(source: str) -> None:
    with pytest.raises(ValueError, match="template is damaged: ") as caught:
        ChatTemplate(source, {})
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("files", "config", "expected"),
    [
        ({}, {"chat_template": "text"}, "text"),
        (
            {},
            {
                "chat_template": [
                    {"name": "tool_use", "template": "tools"},
                    {"name": "default", "template": "plain"},
                ]
            },
            "plain",
        ),
        ({"chat_template.jinja": "file"}, {"chat_template": "text"}, "file"),
        ({"chat_template.json": json.dumps({"chat_template": "json"})}, {}, "json"),
    ],
)
def test_template_is_found(
    tmp_path: Path, files: dict[str, str], config: dict[str, Any], expected: str
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert find_template(tmp_path, config) == expected


@pytest.mark.parametrize("config", [{}, {"chat_template": [{"name": "tool_use"}]}])
def test_model_without_a_template_says_what_works(tmp_path: Path, config: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"no chat template.*`mlc_llm generate`"):
        find_template(tmp_path, config)


@pytest.mark.parametrize("name", ["chat_template.jinja", "chat_template.json"])
def test_template_may_not_be_a_link_out_of_the_model(tmp_path: Path, name: str) -> None:
    directory = tmp_path / "model"
    directory.mkdir()
    (tmp_path / "secret").write_text('{"chat_template": "secret"}')
    (directory / name).symlink_to(tmp_path / "secret")
    with pytest.raises(ValueError, match="leads out of the model directory"):
        find_template(directory, {})


def test_giant_template_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="more than 1048576 characters"):
        find_template(tmp_path, {"chat_template": "a" * ((1 << 20) + 1)})


def test_giant_file_is_not_read_whole(tmp_path: Path) -> None:
    with (tmp_path / "chat_template.jinja").open("wb") as file:
        file.truncate(64 << 20)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="more than 1048576 characters"):
            find_template(tmp_path, {})
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


def test_parts_of_text_are_joined() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    checked = check_messages([{"role": "user", "content": parts, "name": "x"}])
    assert checked == [{"role": "user", "content": "ab", "name": "x"}]


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([], "at least one message"),
        ("hello", "at least one message"),
        (["hello"], "needs a"),
        ([{"content": "hello"}], "needs a"),
        ([{"role": "user", "content": 3}], "must be text.*3"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], "must be text.*image_url"),
    ],
)
def test_what_is_no_message_is_refused(messages: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        check_messages(messages)
