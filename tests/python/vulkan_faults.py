"""The Vulkan loader that fails on demand, for processes that tests start.

It is tests/cpp/fault_loader.cc, which the test build makes.
"""

from __future__ import annotations

from pathlib import Path

from vulkan_device import skip

_LOADER = Path(__file__).parents[2] / "build/cmake/tests/cpp/libfault_loader.so"


def fault(name: str) -> dict[str, str]:
    """Return the environment with the fault `name`; skips the test where there is no loader."""
    if not _LOADER.is_file():
        skip(f"{_LOADER} is made by `nox -s tests` alone")
    return {"MLC_LLM_VULKAN_LOADER": str(_LOADER), "MLC_LLM_FAULT": name}
