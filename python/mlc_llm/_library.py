"""The native library: found beside the package, loaded once, checked against the metadata."""

from __future__ import annotations

import ctypes
import functools
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_FILE_NAMES = {"win32": "mlc_llm.dll", "darwin": "libmlc_llm.dylib"}
_REINSTALL = "Install the wheel file again: `pip install --force-reinstall mlc_llm-*.whl`."


def library_path() -> Path:
    """Path of the native library that belongs to this package."""
    return Path(__file__).parent / "lib" / _FILE_NAMES.get(sys.platform, "libmlc_llm.so")


@functools.cache
def load() -> Callable[[str], Any]:
    """Load the native library and return what looks up its functions by name.

    Raises ImportError when the library is missing, does not fit the installed apache-tvm-ffi, or
    belongs to another version of the package.
    """
    path = library_path()
    if not path.is_file():
        raise ImportError(f"mlc_llm was installed without its native library {path}. {_REINSTALL}")

    import tvm_ffi  # noqa: PLC0415 - loads libtvm_ffi, which the library needs, and NumPy

    try:
        ctypes.CDLL(str(path))  # registers its functions with TVM FFI; never unloaded
    except OSError as error:
        raise ImportError(
            f"The native library {path} does not load with apache-tvm-ffi {tvm_ffi.__version__}: "
            f"{error}. Install the newest wheel file together with the newest apache-tvm-ffi."
        ) from error

    built = tvm_ffi.get_global_func("mlc_llm.version")()
    installed = version("mlc_llm")
    if built != installed:
        raise ImportError(
            f"The native library {path} is of version {built}, but the installed package is "
            f"mlc_llm {installed}: two installations are mixed. {_REINSTALL}"
        )
    return lambda name: tvm_ffi.get_global_func(f"mlc_llm.{name}")
