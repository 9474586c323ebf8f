"""Each check of a macOS library sees its own fault, and only that."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from dylibs import Dylib
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

LANE = load_lanes()["macos-arm64"]
NAME = f"mlc_llm-{VERSION}-py3-none-{LANE.platform}.whl"
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


@pytest.fixture(autouse=True)
def pyproject(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "pyproject.toml"
    path.write_text(
        '[project]\nrequires-python = ">=3.10"\ndependencies = ["apache-tvm-ffi>=0.1.11"]\n'
    )
    monkeypatch.setattr(files, "PYPROJECT", path)


@pytest.fixture
def tvm_ffi(tmp_path: Path) -> Path:
    """A folder whose libtvm_ffi.dylib exports one function of the FFI, and another."""
    library = tmp_path / "target" / "tvm_ffi" / "lib" / "libtvm_ffi.dylib"
    library.parent.mkdir(parents=True)
    given = ("_TVMFFIErrorSetRaised", "_other_symbol")
    library.write_bytes(Dylib(exports=given, imports=()).build())
    return tmp_path / "target"


def verify(folder: Path, library: bytes, tvm_ffi: Path) -> dict[str, str]:
    held = good_files(library)
    held[LANE.library] = held.pop(LIBRARY)
    held[f"{DIST_INFO}/WHEEL"] = WHEEL.replace(PLATFORM, LANE.platform).encode()
    others = ("/usr/lib/libc++.1.dylib", "@rpath/libvulkan.1.dylib")
    held[f"{DIST_INFO}/sboms/mlc_llm.cdx.json"] = sbom(*NAMED, *NEEDED, *others)
    wheel = write_wheel(folder, held, NAME)
    repack(wheel, 1_700_000_000)
    checks = verify_wheel(wheel, LANE, VERSION, tvm_ffi=tvm_ffi)
    assert [check.name for check in checks] == ["archive", *checks_of(LANE)]
    return {check.name: check.detail for check in checks if check.status == FAILED}


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
