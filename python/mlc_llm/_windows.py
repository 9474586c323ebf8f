"""What Windows says of memory: GlobalMemoryStatusEx and K32GetProcessMemoryInfo."""

from __future__ import annotations

import ctypes
import sys
from ctypes import c_size_t, c_uint32, c_uint64, c_void_p

assert sys.platform == "win32"  # noqa: S101 - the type checker skips the rest elsewhere

_kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
_kernel32.GetCurrentProcess.restype = c_void_p
_kernel32.K32GetProcessMemoryInfo.argtypes = (c_void_p, c_void_p, c_uint32)


class _MemoryStatus(ctypes.Structure):
    """MEMORYSTATUSEX."""

    _fields_ = (
        ("length", c_uint32),
        ("load", c_uint32),
        ("total", c_uint64),
        ("available", c_uint64),
        ("others", c_uint64 * 5),
    )


class _ProcessMemory(ctypes.Structure):
    """PROCESS_MEMORY_COUNTERS."""

    _fields_ = (
        ("size", c_uint32),
        ("page_faults", c_uint32),
        ("peak_working_set", c_size_t),
        ("others", c_size_t * 7),
    )


def available_memory() -> tuple[int, int]:
    """See mlc_llm.memory."""
    status = _MemoryStatus(length=ctypes.sizeof(_MemoryStatus))
    if not _kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):
        raise ctypes.WinError(ctypes.get_last_error())
    return status.total, status.available


def peak_memory() -> int:
    """See mlc_llm.memory."""
    memory = _ProcessMemory(size=ctypes.sizeof(_ProcessMemory))
    process = _kernel32.GetCurrentProcess()
    if not _kernel32.K32GetProcessMemoryInfo(process, ctypes.byref(memory), memory.size):
        raise ctypes.WinError(ctypes.get_last_error())
    return int(memory.peak_working_set)
