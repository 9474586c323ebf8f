"""Each check of a Windows library sees its own fault, and only that."""

from __future__ import annotations

from pathlib import Path

import pytest
from dlls import Dll
from foreign_wheels import failures, write_tvm_ffi

from ci.lanes import load_lanes

pytestmark = pytest.mark.usefixtures("pyproject")
LANE = load_lanes()["windows-x86_64"]
IMPORTS = Dll().imports

FAULTS = [
    ("machine", "ARM64", Dll(machine=0xAA64)),
    ("needed", "vulkan-1.dll", Dll(imports=IMPORTS | {"vulkan-1.dll": ("vkCreateInstance",)})),
    ("needed", "libc++.dll", Dll(imports=IMPORTS | {"libc++.dll": ("_Znwm",)})),
    ("needed", "MSVCP140.dll", Dll(imports=IMPORTS | {"MSVCP140.dll": ("_Xlength",)})),
    ("imports", "TVMFFIGone", Dll(imports=IMPORTS | {"tvm_ffi.dll": ("TVMFFIGone",)})),
    ("imports", "other_symbol", Dll(imports=IMPORTS | {"tvm_ffi.dll": ("other_symbol",)})),
    ("imports", "#7 of KERNEL32.dll", Dll(imports=IMPORTS | {"KERNEL32.dll": (7,)})),
    ("exports", "unw_getcontext", Dll(exports=("mlc_llm_version", "unw_getcontext"))),
    ("exports", "calls itself", Dll(name="libmlc_llm.dll")),
    ("protections", "DYNAMIC_BASE", Dll(characteristics=0x120)),
    ("protections", "NX_COMPAT", Dll(characteristics=0x060)),
    ("protections", "HIGH_ENTROPY_VA", Dll(characteristics=0x140)),
    ("protections", "no relocations", Dll(relocatable=False)),
    ("segments", ".rdata", Dll(flags=0xE0000040)),
    ("timestamps", "time of the build", Dll(debug=())),
    ("stripped", "symbol table", Dll(symbols=0x400)),
    ("stripped", ".debug_i", Dll(section=".debug_i")),
    ("stripped", "debug information", Dll(debug=(2, 16))),
    ("paths", r"D:\a\mlc\b.cc", Dll(payload=b"\0D:\\a\\mlc\\b.cc\0")),
    ("paths", "/home/me/b.cc", Dll(payload=b"\0/home/me/b.cc\0")),
]


@pytest.fixture
def tvm_ffi(tmp_path: Path) -> Path:
    """A folder whose tvm_ffi.dll exports one function of the FFI, and another."""
    library = Dll(exports=("TVMFFIErrorSetRaised", "other_symbol"))
    return write_tvm_ffi(tmp_path, "tvm_ffi.dll", library.build())


def verify(folder: Path, library: bytes, tvm_ffi: Path) -> dict[str, str]:
    return failures(
        folder, LANE, library, tvm_ffi, (*IMPORTS, "vulkan-1.dll", "libc++.dll", "MSVCP140.dll")
    )


@pytest.mark.parametrize("library", [Dll(), Dll(stamp=0, debug=())])
def test_a_good_library_passes_every_check(tmp_path: Path, tvm_ffi: Path, library: Dll) -> None:
    assert verify(tmp_path, library.build(), tvm_ffi) == {}


@pytest.mark.parametrize(("name", "detail", "library"), FAULTS)
def test_a_fault_fails_its_check_alone(
    tmp_path: Path, tvm_ffi: Path, name: str, detail: str, library: Dll
) -> None:
    found = verify(tmp_path, library.build(), tvm_ffi)
    assert list(found) == [name]
    assert detail in found[name]


@pytest.mark.parametrize("data", [b"", b"MZ", Dll().build()[:200]])
def test_a_damaged_library_raises_nothing(tmp_path: Path, tvm_ffi: Path, data: bytes) -> None:
    found = verify(tmp_path, data, tvm_ffi)
    assert {"needed", "exports", "protections"} <= set(found)
