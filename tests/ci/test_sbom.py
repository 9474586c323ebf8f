"""The bill of materials is valid CycloneDX, names what the wheel needs, and never changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from wheels import DIST_INFO, METADATA, good_files

from ci.lanes import load_lanes
from ci.paths import ROOT
from ci.sbom import make_sbom

LANES = load_lanes()
NEEDED = ("libtvm_ffi.so", "libc.so.6")
EPOCH = 1_700_000_000


@pytest.fixture
def toolchain(tmp_path: Path) -> Path:
    """A folder with the headers that versions are read from."""
    for name, text in {
        "ziglang/lib/libcxx/include/__config": "#  define _LIBCPP_VERSION 210100\n",
        "ziglang/lib/libc/include/any-windows-any/_mingw_mac.h": (
            "#define __MINGW64_VERSION_MAJOR 13\n#define __MINGW64_VERSION_MINOR 0\n"
        ),
        "tvm_ffi/include/dlpack/dlpack.h": (
            "#define DLPACK_MAJOR_VERSION 1\n#define DLPACK_MINOR_VERSION 3\n"
        ),
    }.items():
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def make(toolchain: Path, lane: str = "linux-x86_64", metadata: str = METADATA) -> bytes:
    files = good_files() | {f"{DIST_INFO}/METADATA": metadata.encode()}
    return make_sbom(files, NEEDED, LANES[lane], EPOCH, toolchain)


def components(document: bytes) -> dict[str, dict[str, Any]]:
    return {part["bom-ref"]: part for part in json.loads(document)["components"]}


@pytest.mark.parametrize("lane", LANES)
def test_schema_of_cyclonedx_accepts_it(lane: str, toolchain: Path) -> None:
    validator = JsonStrictValidator(SchemaVersion.V1_7)
    assert validator.validate_str(make(toolchain, lane).decode()) is None


def test_schema_of_cyclonedx_refuses_a_planted_fault(toolchain: Path) -> None:
    document = make(toolchain).decode().replace('"isExternal": true', '"isExternal": "yes"', 1)
    assert JsonStrictValidator(SchemaVersion.V1_7).validate_str(document) is not None


def test_what_is_inside_and_what_is_not(toolchain: Path) -> None:
    parts = components(make(toolchain))
    outside = {name for name, part in parts.items() if part.get("isExternal")}
    assert outside == {*NEEDED, "Vulkan loader", "apache-tvm-ffi>=0.1.11"}
    assert parts["libc++"]["version"] == "21.1.0"
    assert parts["DLPack"]["version"] == "1.3"
    assert all(
        part["version"] and part["licenses"] for n, part in parts.items() if n not in outside
    )
    assert parts["Vulkan loader"]["scope"] == "optional"


def test_c_library_is_that_of_the_platform(toolchain: Path) -> None:
    assert "GNU C Library start files" in components(make(toolchain))
    windows = components(make(toolchain, "windows-x86_64"))
    assert windows["mingw-w64 runtime"]["version"] == "13.0"
    assert "vulkan-1.dll" in windows["Vulkan loader"]["description"]
    macos = components(make(toolchain, "macos-arm64"))
    assert "libunwind" in windows
    assert "libunwind" not in macos  # the system's


def test_requirement_becomes_a_range(toolchain: Path) -> None:
    wanted = "apache-tvm-ffi<2,>=0.1.11; python_version < '3.13'"
    parts = components(make(toolchain, metadata=METADATA.replace("apache-tvm-ffi>=0.1.11", wanted)))
    (part,) = (part for part in parts.values() if part["name"] == "apache-tvm-ffi")
    assert part["versionRange"] == "vers:pypi/>=0.1.11|<2"
    assert "python_version" in part["description"]


def test_same_wheel_gives_the_same_bytes(toolchain: Path) -> None:
    first = make(toolchain)
    assert make(toolchain) == first
    assert json.loads(first)["metadata"]["timestamp"] == "2023-11-14T22:13:20Z"
    assert "serialNumber" not in json.loads(first)


def test_header_without_a_version_is_an_error(toolchain: Path) -> None:
    (toolchain / "tvm_ffi/include/dlpack/dlpack.h").write_text("")
    with pytest.raises(ValueError, match=r"dlpack.h does not hold"):
        make(toolchain)


def test_notice_names_every_part(toolchain: Path) -> None:
    notice = " ".join((ROOT / "NOTICE").read_text(encoding="utf-8").split())
    for lane in LANES:
        for name, part in components(make(toolchain, lane)).items():
            word = name.removesuffix(" start files").removesuffix(" headers").split(" of ")[0]
            assert part.get("isExternal") or word in notice
