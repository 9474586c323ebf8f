"""Each check of a Windows library sees its own fault, and only that."""

from __future__ import annotations

from pathlib import Path

import pytest
from dlls import Dll
from wheels import (
    DIST_INFO,
    LIBRARY,
    NAMED,
    PLATFORM,
    VERSION,
    WHEEL,
    good_files,
    sbom,
    write_wheel,
)

from ci.checks import FAILED
from ci.lanes import load_lanes
from ci.repack import repack
from ci.verify import checks_of, files, verify_wheel

LANE = load_lanes()["windows-x86_64"]
NAME = f"mlc_llm-{VERSION}-py3-none-win_amd64.whl"
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


@pytest.fixture(autouse=True)
def pyproject(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "pyproject.toml"
    path.write_text(
        '[project]\nrequires-python = ">=3.10"\ndependencies = ["apache-tvm-ffi>=0.1.11"]\n'
    )
    monkeypatch.setattr(files, "PYPROJECT", path)


@pytest.fixture
def tvm_ffi(tmp_path: Path) -> Path:
    """A folder whose tvm_ffi.dll exports one function of the FFI, and another."""
    library = tmp_path / "target" / "tvm_ffi" / "lib" / "tvm_ffi.dll"
    library.parent.mkdir(parents=True)
    library.write_bytes(Dll(exports=("TVMFFIErrorSetRaised", "other_symbol")).build())
    return tmp_path / "target"


def verify(folder: Path, library: bytes, tvm_ffi: Path) -> dict[str, str]:
    held = good_files(library)
    held["mlc_llm/lib/mlc_llm.dll"] = held.pop(LIBRARY)
    held[f"{DIST_INFO}/WHEEL"] = WHEEL.replace(PLATFORM, LANE.platform).encode()
    others = ("vulkan-1.dll", "libc++.dll", "MSVCP140.dll")
    held[f"{DIST_INFO}/sboms/mlc_llm.cdx.json"] = sbom(*NAMED, *IMPORTS, *others)
    wheel = write_wheel(folder, held, NAME)
    repack(wheel, 1_700_000_000)
    checks = verify_wheel(wheel, LANE, VERSION, tvm_ffi=tvm_ffi)
    assert [check.name for check in checks] == ["archive", *checks_of(LANE)]
    return {check.name: check.detail for check in checks if check.status == FAILED}


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
