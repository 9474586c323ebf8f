"""Each check of a macOS library sees its own fault, and only that."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from dylibs import Dylib
from foreign_wheels import failures, write_tvm_ffi

from ci.lanes import load_lanes

pytestmark = pytest.mark.usefixtures("pyproject")
LANE = load_lanes()["macos-arm64"]
NEEDED = Dylib().needed

FAULTS = [
    ("machine", "X86_64", Dylib(processor=0x01000007)),
    ("kind", "BUNDLE, not a DYLIB", Dylib(kind=8)),
    ("kind", "calls itself '/usr/lib/libmlc_llm.dylib'", Dylib(name="/usr/lib/libmlc_llm.dylib")),
    ("kind", "calls itself ''", Dylib(name="")),
    ("kind", "no LC_UUID", Dylib(uuid=False)),
    ("minimum", "needs macOS 12.0, and the tag says 11.0", Dylib(minimum=12 << 16)),
    ("minimum", "needs macOS 10.15", Dylib(minimum=10 << 16 | 15 << 8)),
    ("minimum", "is for IOS", Dylib(platform=2)),
    ("needed", "does not need libtvm_ffi.dylib", Dylib(needed=NEEDED[1:], imports=())),
    ("needed", "/usr/lib/libc++.1.dylib", Dylib(needed=(*NEEDED, "/usr/lib/libc++.1.dylib"))),
    ("needed", "libvulkan.1.dylib", Dylib(needed=(*NEEDED, "@rpath/libvulkan.1.dylib"))),
    ("imports", "_TVMFFIGone", Dylib(imports=(("_TVMFFIGone", 1),))),
    ("imports", "_other_symbol", Dylib(imports=(("_other_symbol", 1),))),
    ("imports", "_malloc of any library", Dylib(imports=(("_malloc", 254),))),
    ("exports", "__ZNSt3__14cerrE", Dylib(exports=("__ZNSt3__14cerrE", "__Znwm"))),
    ("run path", "[]", Dylib(run_paths=())),
    ("run path", "@loader_path", Dylib(run_paths=("@loader_path",))),
    ("segments", "__TEXT", Dylib(protections=7)),
    ("stripped", "__ZN3mlc6Engine4StepEv", Dylib(local=("__ZN3mlc6Engine4StepEv",))),
    ("stripped", "debug information", Dylib(stab=True)),
    ("stripped", "debug information", Dylib(segment="__DWARF")),
    ("signature", "not signed", Dylib(signed=False)),
    ("signature", "not ad hoc", Dylib(flags=0)),
    ("signature", "bytes are signed", Dylib(unsigned=16)),
    ("signature", "changed after it was signed: pages (0,)", Dylib(altered=True)),
    ("paths", "/Users/me/b.cc", Dylib(payload=b"\0/Users/me/b.cc\0")),
]


@pytest.fixture
def tvm_ffi(tmp_path: Path) -> Path:
    """A folder whose libtvm_ffi.dylib exports one function of the FFI, and another."""
    library = Dylib(exports=("_TVMFFIErrorSetRaised", "_other_symbol"), imports=())
    return write_tvm_ffi(tmp_path, "libtvm_ffi.dylib", library.build())


def verify(folder: Path, library: bytes, tvm_ffi: Path) -> dict[str, str]:
    return failures(
        folder,
        LANE,
        library,
        tvm_ffi,
        (*NEEDED, "/usr/lib/libc++.1.dylib", "@rpath/libvulkan.1.dylib"),
    )


def test_a_good_library_passes_every_check(tmp_path: Path, tvm_ffi: Path) -> None:
    assert verify(tmp_path, Dylib().build(), tvm_ffi) == {}


@pytest.mark.parametrize(("name", "detail", "library"), FAULTS)
def test_a_fault_fails_its_check_alone(
    tmp_path: Path, tvm_ffi: Path, name: str, detail: str, library: Dylib
) -> None:
    found = verify(tmp_path, library.build(), tvm_ffi)
    assert list(found) == [name]
    assert detail in found[name]


GOOD = Dylib().build()
UNIVERSAL = struct.pack(">7I", 0xCAFEBABE, 1, 0x0100000C, 0, 4096, len(GOOD), 12).ljust(4096) + GOOD


@pytest.mark.parametrize(
    ("data", "detail"),
    [
        (b"", "no Mach-O file"),
        (b"\xcf\xfa\xed\xfe", "no Mach-O file"),
        (UNIVERSAL, "no Mach-O file for one processor"),
        (GOOD[: GOOD.index(b"\xfa\xde\x0c\xc0") + 8], "the code signature is damaged"),
        (GOOD.replace(b"\xfa\xde\x0c\xc0", bytes(4)), "the code signature begins with 0x0"),
        (GOOD.replace(b"\xfa\xde\x0c\x02", bytes(4)), "the code directory begins with 0x0"),
    ],
)
def test_a_damaged_library_raises_nothing(
    tmp_path: Path, tvm_ffi: Path, data: bytes, detail: str
) -> None:
    found = verify(tmp_path, data, tvm_ffi)
    assert {"needed", "exports", "signature"} <= set(found)
    assert detail in found["signature"]
