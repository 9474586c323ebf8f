"""``mlc_llm generate``, ``chat`` and ``bench`` as a user has them: processes, pipes, Ctrl-C."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mlc_llm import MLCEngine, cli
from mlc_llm.cli.chat import Conversation

Run = subprocess.CompletedProcess[str]
CPU = ("--device", "cpu")


def run(*arguments: str | Path, text: str | None = None) -> Run:
    command = [sys.executable, "-m", "mlc_llm", *map(str, arguments)]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=False)


def test_generate_prints_the_text_alone(tiny_model: Path, learnt: str) -> None:
    done = run("generate", tiny_model, *CPU, "--prompt", learnt[:40], "--temperature", "0")
    assert done.returncode == 0, done.stderr
    assert done.stdout == learnt[40:] + "\n"
    assert done.stderr.startswith("On cpu (as asked for)")


def test_without_a_gpu_it_runs_on_the_cpu(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLC_LLM_VULKAN_LOADER", "nonexistent")
    done = run("generate", tiny_model, "--prompt", "A", "--max-tokens", "1")
    assert done.stderr.startswith("On cpu (no Vulkan device: ")


def test_generate_reads_a_pipe_and_writes_json(tiny_model: Path, learnt: str) -> None:
    options = ("--max-tokens", "5", "--temperature", "0", "--stop", "never", "--json")
    done = run("generate", tiny_model, *CPU, *options, text=learnt[:40])
    report = json.loads(done.stdout)
    assert learnt[40:].startswith(report["text"])
    assert (len(report["token_ids"]), report["finish_reason"]) == (5, "length")
    assert report["usage"]["completion_tokens"] == 5
    assert report["timings"]["time_to_first_token_s"] > 0


def test_generate_repeats_with_a_seed(tiny_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def say(seed: str) -> str:
        options = ["--prompt", "A", "--temperature", "2", "--max-tokens", "30", "--seed", seed]
        assert cli.main(["generate", str(tiny_model), *CPU, *options]) == 0
        return capsys.readouterr().out

    assert say("1") == say("1")
    assert say("1") != say("2")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["generate", "nowhere", "--prompt", "a"], "There is no directory nowhere."),
        (["generate", "MODEL", *CPU, "--prompt", "a b " * 600], "tokens, and the context is 512"),
        (["generate", "MODEL", "--prompt", "a", "--device", "vulkan:99"], "There is no device"),
        (["chat", "MODEL", *CPU, "--max-context", "9999"], "max_context must be"),
    ],
)
def test_failure_is_told_in_one_line(
    tiny_model: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    given = [str(tiny_model) if word == "MODEL" else word for word in arguments]
    assert cli.main(given) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    last = captured.err.splitlines()[-1]
    assert last.startswith("mlc_llm: ")
    assert message in last


@pytest.mark.parametrize(
    "name",
    ["mlc-chat-config.json", "params_shard_0.bin", "tokenizer.json", "tokenizer_config.json"],
)
def test_a_file_that_may_not_be_read_is_not_called_damaged(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    open_any = Path.open

    def refuse(path: Path, *how: Any, **more: Any) -> Any:
        if path.name == name:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return open_any(path, *how, **more)

    monkeypatch.setattr(Path, "open", refuse)
    assert cli.main(["generate", str(tiny_model), *CPU, "--prompt", "a"]) == 1
    reason = f"mlc_llm: {tiny_model / name} cannot be read: Permission denied."
    assert capsys.readouterr().err.splitlines() == [reason]


@pytest.mark.parametrize("command", ["generate", "chat"])
@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--temperature", "9", "temperature must be a number from 0 to 2, and is 9.0."),
        ("--top-p", "0", "top_p must be a number above 0 and at most 1, and is 0.0."),
        ("--max-tokens", "0", "max_tokens must be a whole number from 1 to"),
        ("--max-context", "0", "must be at least 1, and is 0."),
        ("--min-p", "half", "invalid float value: 'half'"),
        ("--stop", "", "stop must be a text or a list of texts, none empty"),
    ],
)
def test_an_option_out_of_range_is_told_before_a_model_is_loaded(
    capsys: pytest.CaptureFixture[str], command: str, option: str, value: str, message: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([command, "nowhere", option, value])
    assert ended.value.code == 2
    assert f"error: argument {option}: {message}" in capsys.readouterr().err


def test_chat_answers_lines_of_a_pipe(tiny_model: Path) -> None:
    lines = "Hello\n/stats\n/reset\n/help\nHello\n\n/exit\nnot read\n"
    done = run("chat", tiny_model, *CPU, "--seed", "3", "--max-tokens", "12", text=lines)
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()  # the same, as /reset forgets the first
    assert first == second
    assert re.search(r"^prompt \d+ tokens .*answer \d+ tokens", done.stderr, re.MULTILINE)
    assert "The conversation is forgotten." in done.stderr
    assert "/reset" in done.stderr


@pytest.mark.parametrize(
    ("template", "message"),
    [(None, "has no chat template"), ("{% if", "The model's chat template is damaged")],
)
def test_chat_without_a_template_ends_before_the_first_message(
    tiny_model: Path, tmp_path: Path, template: str | None, message: str
) -> None:
    model = shutil.copytree(tiny_model, tmp_path / "model")
    file = model / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"chat_template": template}))
    done = run("chat", model, *CPU, text="")
    assert done.returncode == 1
    assert message in done.stderr


def test_chat_of_a_pipe_fails_where_a_message_is_not_answered(tiny_model: Path) -> None:
    done = run("chat", tiny_model, *CPU, "--max-tokens", "3", text="long " * 600 + "\nHello\n")
    assert done.returncode == 1
    assert "the context is 512" in done.stderr
    assert len(done.stdout.splitlines()) == 1  # the other one was


def test_chat_remembers(tiny_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with MLCEngine(tiny_model, "cpu") as engine:
        talk = Conversation(engine, "Be short.", {"max_tokens": 3})
        assert talk.take("/stats")
        assert "no answer yet" in capsys.readouterr().err
        assert talk.take("Hello")
        said = capsys.readouterr().out.removesuffix("\n")
        assert [(m["role"], m["content"]) for m in talk._messages] == [
            ("system", "Be short."),
            ("user", "Hello"),
            ("assistant", said),
        ]
        assert talk.take("x" * 5000)  # too long: told, and forgotten
        assert "the context is" in capsys.readouterr().err
        assert len(talk._messages) == 3
        assert talk.take("/reset")
        assert [m["role"] for m in talk._messages] == ["system"]
        assert not talk.take("/exit")


class Interrupting(io.StringIO):
    """Ctrl-C, while the third piece of an answer is written."""

    writes = 0

    def write(self, text: str) -> int:
        self.writes += bool(text)
        if self.writes == 3:
            raise KeyboardInterrupt
        return super().write(text)


def test_ctrl_c_stops_the_answer_and_not_the_chat(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with MLCEngine(tiny_model, "cpu") as engine:
        talk = Conversation(engine, None, {"logit_bias": {"5": 100}})  # never ends by itself
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", Interrupting())
            assert talk.take("Hello")
        assert "[stopped]" in capsys.readouterr().err
        assert engine._core._worker._active == {}
        assert [message["role"] for message in talk._messages] == ["user", "assistant"]
        talk._options = {"max_tokens": 3}
        assert talk.take("And now?")
        assert capsys.readouterr().out.endswith("\n")


@pytest.mark.parametrize("place", ["import_module", "generate.load_engine"])
def test_ctrl_c_elsewhere_ends_with_130(monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    def interrupt(_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(f"mlc_llm.cli.{place}", interrupt)
    assert cli.main(["generate", "any", "--prompt", "a"]) == 130


def test_bench_reports(tiny_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--prefill", "40", "--decode", "9", "--rounds", "1"]
    assert cli.main(["bench", str(tiny_model), *CPU, *options, "--json"]) == 0
    report: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert report["prefill_tokens_per_s"] > 0
    assert report["decode_tokens_per_s"] > 0
    assert 0 < report["bandwidth_share"] < 1
    stored = sum(file.stat().st_size for file in tiny_model.glob("params_shard_*.bin"))
    assert report["weight_bytes"] == pytest.approx(stored, rel=0.02)  # vectors become float32
    assert cli.main(["bench", str(tiny_model), *CPU, *options]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("prefill ")
    assert "round 1 of 1: prefill " in printed.err


def test_bench_fits_itself_into_a_short_context(
    tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["bench", str(tiny_model), *CPU, "--rounds", "1", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["prefill_tokens"], report["decode_tokens"]) == (256, 128)


def test_bench_refuses_nothing_to_measure() -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.main(["bench", "nowhere", "--decode", "0"])
