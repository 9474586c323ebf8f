"""The installed package is what these tests run on."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mlc_llm import Device, MLCEngine, list_devices
from mlc_llm.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable

ASSET = Path(__file__).parents[1] / "assets/tiny"


@pytest.fixture(scope="session")
def cpu() -> Device:
    return list_devices()[0]


@pytest.fixture
def run_code(tmp_path: Path) -> Callable[[str], subprocess.CompletedProcess[str]]:
    """Runs code in a fresh interpreter, outside the checkout: in the test's `tmp_path`."""

    def run(code: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", code]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    return run


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny real model of tests/assets, in 4 bits."""
    directory = tmp_path_factory.mktemp("tiny") / "model"
    options = [str(ASSET), "--quantization", "q4f16_1", "-o", str(directory)]
    assert main(["convert_weight", *options]) == 0
    assert main(["gen_config", *options, "--conv-template", "chatml"]) == 0
    return directory


@pytest.fixture(scope="session")
def engine(tiny_model: Path) -> Iterator[MLCEngine]:
    with MLCEngine(tiny_model, "cpu") as loaded:
        yield loaded


@pytest.fixture(scope="session")
def learnt() -> str:
    """The text that the tiny model knows by heart."""
    return (ASSET / "text.txt").read_text(encoding="utf-8").strip()
