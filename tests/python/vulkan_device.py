"""The device that tests of Vulkan need, and what becomes of them without it."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

from mlc_llm import Device, list_devices


def skip(reason: str) -> NoReturn:
    """Skip the test, unless this machine is meant to have what it lacks."""
    if os.environ.get("MLC_LLM_REQUIRE_VULKAN") == "1":
        pytest.fail(f"MLC_LLM_REQUIRE_VULKAN=1, but {reason}")
    pytest.skip(reason)


def first_gpu() -> Device:
    """Return the device that "vulkan" means; skips the test where there is none."""
    for device in list_devices():
        if device.id != "cpu":
            return device
    skip("there is no Vulkan device")
