"""The installed package is what these tests run on."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from mlc_llm import Device, list_devices

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


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
