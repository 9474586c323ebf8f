"""From safetensors to text: the tiny model that `tests/assets/train_tiny.py` has trained."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest
from model_cases import convert
from reference import Reference
from tokenizers import Tokenizer

from mlc_llm import MLCEngine
from mlc_llm.cli import main

ASSETS = Path(__file__).parent.parent / "assets"
TINY = ASSETS / "tiny"
TEXT = (TINY / "text.txt").read_text(encoding="utf-8").rstrip("\n")
PROMPT = "The core infers."
QUANTIZATIONS = ("q0f32", "q0f16", "q4f16_1", "q4f32_1")


def script_constant(name: str) -> str:
    tree = ast.parse((ASSETS / "train_tiny.py").read_text(encoding="utf-8"))
    (value,) = (
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name
    )
    constant: str = ast.literal_eval(value)
    return constant


def test_the_asset_is_that_of_the_script_and_small() -> None:
    assert script_constant("TEXT") == TEXT
    assert sum(path.stat().st_size for path in TINY.iterdir()) <= 1_000_000


@pytest.mark.parametrize("quantization", QUANTIZATIONS)
def test_every_word_of_the_text_is_certain(quantization: str) -> None:
    # So that no rounding of a processor or a quantization can change the text.
    tokenizer = Tokenizer.from_file(str(TINY / "tokenizer.json"))
    tokens = tokenizer.encode(TEXT + "<|end|>").ids
    start = len(tokenizer.encode(PROMPT).ids)
    logits = Reference(TINY, quantization, rounded=True).logits(tokens[:-1])[start - 1 :]
    assert logits.argmax(axis=1).tolist() == tokens[start:]
    second, first = np.sort(logits, axis=1)[:, -2:].T
    assert (first - second).min() > 5


@pytest.mark.parametrize("quantization", QUANTIZATIONS)
def test_the_commands_make_a_model_that_says_its_text(
    quantization: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    conversion = [str(TINY), "--quantization", quantization, "--output", str(tmp_path)]
    assert main(["convert_weight", *conversion]) == 0
    assert main(["gen_config", *conversion, "--conv-template", "LM"]) == 0
    capsys.readouterr()
    options = ["--device", "cpu", "--prompt", PROMPT, "--temperature", "0", "--max-tokens", "400"]
    assert main(["generate", str(tmp_path), *options]) == 0
    assert PROMPT + capsys.readouterr().out == f"{TEXT}\n"


@pytest.mark.parametrize("quantization", QUANTIZATIONS)
def test_a_chat_gets_its_answer(quantization: str, tmp_path: Path) -> None:
    question = {"role": "user", "content": script_constant("QUESTION")}
    with MLCEngine(convert(TINY, quantization, tmp_path), "cpu") as engine:
        result = engine.chat.completions.create(messages=[question], temperature=0, max_tokens=99)
    assert result.choices[0].message.content == script_constant("ANSWER")
    assert result.choices[0].finish_reason == "stop"
