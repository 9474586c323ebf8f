"""The tiny real model on a Vulkan device: its text, and tokens chosen as on the CPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from model_cases import convert
from vulkan_device import first_gpu
from vulkan_layers import validation

from mlc_llm import MLCEngine

TINY = Path(__file__).parent.parent / "assets/tiny"
SAMPLINGS: list[dict[str, Any]] = [
    {"temperature": 0},
    {"temperature": 1e-40},  # whose inverse no float holds
    {"temperature": 1.5, "seed": 3},
    {"temperature": 2, "top_k": 5, "seed": 4},
    {"temperature": 2, "top_p": 0.9, "seed": 5},
    {"temperature": 2, "top_p": 0.999, "seed": 6},
    {"temperature": 2, "min_p": 0.02, "seed": 7},
    {"temperature": 1.5, "seed": 8, "repetition_penalty": 1.3, "logit_bias": {5: 3.0, 7: -2.0}},
    {"temperature": 0, "presence_penalty": 1.5, "frequency_penalty": 0.5},
    {"temperature": 2, "seed": 9, "logprobs": 3},
]


@pytest.fixture(scope="module", autouse=True)
def _gpu() -> None:
    first_gpu()


@pytest.mark.parametrize("quantization", ["q0f32", "q0f16", "q4f16_1", "q4f32_1"])
def test_the_model_says_its_text(quantization: str, learnt: str, tmp_path: Path) -> None:
    with MLCEngine(convert(TINY, quantization, tmp_path), "vulkan") as engine:
        result = engine.completions.create(prompt=learnt[:16], temperature=0)
        assert learnt[:16] + result.choices[0].text == learnt
        # What a step of one token brings back is a shortlist, not the logits.
        assert 0 < engine.last_work(len(learnt)).returned_bytes < 4 * engine.vocabulary


def test_tokens_are_chosen_as_on_the_cpu(learnt: str, tmp_path: Path) -> None:
    model = convert(TINY, "q0f32", tmp_path)
    with MLCEngine(model, "vulkan") as gpu, MLCEngine(model, "cpu") as cpu:
        for sampling in SAMPLINGS:
            found, expected = (
                engine.completions.create(prompt=learnt[:40], max_tokens=24, **sampling).choices[0]
                for engine in (gpu, cpu)
            )
            assert found.token_ids == expected.token_ids, sampling


def test_no_validation_message(tiny_model: Path, learnt: str, tmp_path: Path) -> None:
    variables, log = validation(tmp_path)
    options = ("--device", "vulkan", "--max-tokens", "3", "--repetition-penalty", "1.1")
    run = subprocess.run(
        [sys.executable, "-m", "mlc_llm", "generate", tiny_model, "--prompt", learnt, *options],
        cwd=tmp_path,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    if log.exists() or os.environ.get("MLC_LLM_REQUIRE_VULKAN") == "1":
        assert log.read_text(encoding="utf-8") == ""
