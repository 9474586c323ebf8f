"""What of a machine decides how a build or a test goes, and how to pretend to be a weaker one."""

from __future__ import annotations

import ctypes
import platform
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

# By processor, as MLC_LLM_CPU_ISA names them, with the flags of Linux's /proc/cpuinfo. Each has
# what the one before it has, so that a machine can pretend; avx_vnni would not fit in.
AVX2 = {"avx2", "fma", "f16c"}
ISAS: dict[str, dict[str, set[str]]] = {
    "x86_64": {
        "portable": set(),
        "avx2": AVX2,
        "avx512": AVX2 | {"avx512f", "avx512bw", "avx512vl", "avx512_vnni"},
    },
    "aarch64": {"portable": set(), "neon": {"asimd"}, "neon_dotprod": {"asimd", "asimddp"}},
}
# What the Vulkan loader needs for a device, from the least on.
VULKAN = ("no loader", "no driver", "driver")
LOADERS = {"win32": "vulkan-1.dll", "darwin": "libvulkan.1.dylib"}
DRIVERS = ("/usr/share/vulkan/icd.d", "/usr/local/share/vulkan/icd.d", "/etc/vulkan/icd.d")
NOWHERE = "/nonexistent"


@dataclass(frozen=True)
class Machine:
    """A machine; `isa` is empty where it is not known, `vulkan` is one of VULKAN."""

    system: str  # as sys.platform has it
    machine: str
    python: str  # "3.11.2"
    isa: str
    vulkan: str


def this_machine() -> Machine:
    """Return the facts of this machine."""
    return Machine(
        system=sys.platform,
        machine=platform.machine(),
        python=platform.python_version(),
        isa=_isa(Path("/proc/cpuinfo"), platform.machine()),
        vulkan=_vulkan(),
    )


def _isa(cpuinfo: Path, processor: str) -> str:
    """Return the best of ISAS that the processors offer; empty where that is not known."""
    if not cpuinfo.is_file() or processor not in ISAS:
        return ""
    lines = cpuinfo.read_text(encoding="utf-8").splitlines()
    first = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    flags = set(first.split())
    return [isa for isa, needed in ISAS[processor].items() if needed <= flags][-1]


def _vulkan() -> str:
    try:
        ctypes.CDLL(LOADERS.get(sys.platform, "libvulkan.so.1"))
    except OSError:
        return "no loader"
    found = [path for folder in DRIVERS for path in Path(folder).glob("*.json")]
    return "driver" if found or sys.platform == "win32" else "no driver"


def pretend(wanted: Machine, here: Machine) -> dict[str, str]:
    """Return variables that make programs of this project see no more than `wanted` has."""
    variables = {}
    isas = [*ISAS.get(here.machine, {})]
    if wanted.isa in isas and here.isa in isas and _less(wanted.isa, here.isa, isas):
        variables["MLC_LLM_CPU_ISA"] = wanted.isa
    if _less(wanted.vulkan, here.vulkan, VULKAN):
        if wanted.vulkan == "no loader":
            variables["MLC_LLM_VULKAN_LOADER"] = NOWHERE
        variables |= dict.fromkeys(("VK_DRIVER_FILES", "VK_ICD_FILENAMES"), NOWHERE)
    return variables


def differences(wanted: Machine, here: Machine, pretended: Mapping[str, str]) -> list[str]:
    """Say in what `here` differs from `wanted`, and which of that is made up for."""
    lines = []
    for name, value in asdict(wanted).items():
        if (own := getattr(here, name)) != value:
            lines.append(f"{name}: {value or 'unknown'} there, {own or 'unknown'} here")
    if pretended:
        settings = " ".join(f"{name}={value}" for name, value in pretended.items())
        lines.append(f"less than this machine has is seen with {settings}")
    return lines


def _less(first: str, second: str, order: list[str] | tuple[str, ...]) -> bool:
    return order.index(first) < order.index(second)
