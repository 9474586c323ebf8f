"""Language models in MLC's formats: convert them, run them on the CPU or a GPU, talk to them.

The native library is loaded by the first call that needs it, so importing the package is quick and
imports neither NumPy nor TVM FFI.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlc_llm.async_engine import AsyncMLCEngine
    from mlc_llm.devices import Device, list_devices
    from mlc_llm.engine import MLCEngine
    from mlc_llm.linear import Q4F16Linear
    from mlc_llm.model import Model
    from mlc_llm.quantization import dequantize_q4f16_1, quantize_q4f16_1

    __version__: str

__all__ = [
    "AsyncMLCEngine",
    "Device",
    "MLCEngine",
    "Model",
    "Q4F16Linear",
    "__version__",
    "dequantize_q4f16_1",
    "list_devices",
    "quantize_q4f16_1",
]

_MODULES = {
    "AsyncMLCEngine": "async_engine",
    "MLCEngine": "engine",
    "Model": "model",
    "Device": "devices",
    "list_devices": "devices",
    "Q4F16Linear": "linear",
    "dequantize_q4f16_1": "quantization",
    "quantize_q4f16_1": "quantization",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415 - slow, and rarely asked for

        return version("mlc_llm")
    if name in _MODULES:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
