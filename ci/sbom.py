"""The software bill of materials inside a wheel: CycloneDX 1.7, from the locks and the wheel alone.

Repair runs this, in the container as on the host: standard library and toolchain only.
"""

from __future__ import annotations

import datetime as dt
import email
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ci.lanes import Lane
from ci.paths import ROOT
from ci.repack import find_dist_info
from ci.toolchain import locked_version

NAME = "sboms/mlc_llm.cdx.json"  # inside the .dist-info folder, where PEP 770 puts it
SPEC = "1.7"  # the first that can say "not part of this, found at run time" (isExternal)
LLVM = "Apache-2.0 WITH LLVM-exception"
ZIG_LIBRARIES = Path("ziglang/lib")

Component = dict[str, Any]


@dataclass(frozen=True)
class Part:
    """Something that is compiled into the library."""

    name: str
    version: str
    licence: str  # an SPDX expression
    purl: str
    about: str


def make_sbom(
    files: Mapping[str, bytes], needed: Iterable[str], lane: Lane, epoch: int, toolchain: Path
) -> bytes:
    """Return the document for a repaired wheel.

    `files` are the wheel's, `needed` the libraries that its own loads, as the library spells them;
    `epoch` is SOURCE_DATE_EPOCH. Raises ValueError where a version cannot be read.
    """
    dist_info = find_dist_info(files)
    metadata = email.message_from_bytes(files[f"{dist_info}/METADATA"])
    purl = f"pkg:pypi/{canonicalize_name(metadata['Name'])}@{metadata['Version']}"
    inside = [_linked(part) for part in linked_parts(lane, toolchain)]
    outside = [
        *(_library(name) for name in sorted(needed)),
        _loader(lane),
        *(_dependency(Requirement(line)) for line in metadata.get_all("Requires-Dist", [])),
    ]
    components = [*inside, *outside]
    root = {
        "type": "library",
        "bom-ref": purl,
        "name": metadata["Name"],
        "version": metadata["Version"],
        "description": metadata["Summary"],
        "licenses": [{"expression": metadata["License-Expression"]}],
        "purl": purl,
        "properties": [{"name": "mlc_llm:lane", "value": lane.id}],
    }
    document = {
        "$schema": f"http://cyclonedx.org/schema/bom-{SPEC}.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": SPEC,
        "version": 1,
        "metadata": {
            "timestamp": dt.datetime.fromtimestamp(epoch, dt.timezone.utc).strftime("%FT%TZ"),
            "lifecycles": [{"phase": "build"}],
            "authors": [{"name": "mlc_llm contributors"}],
            "component": root,
        },
        "components": components,
        "dependencies": [{"ref": purl, "dependsOn": [part["bom-ref"] for part in components]}],
    }
    return (json.dumps(document, indent=2) + "\n").encode()


def linked_parts(lane: Lane, toolchain: Path) -> list[Part]:
    """Return what the toolchain compiles into the lane's library; NOTICE names the same."""
    libraries = toolchain / ZIG_LIBRARIES
    digits = _find(libraries / "libcxx/include/__config", r"_LIBCPP_VERSION (\d{6})$")
    llvm = ".".join(str(int(digits[i : i + 2])) for i in (0, 2, 4))
    zig, ffi = locked_version("ziglang"), locked_version("apache-tvm-ffi")
    dlpack = toolchain / "tvm_ffi/include/dlpack/dlpack.h"
    dlpack_version = ".".join(
        _find(dlpack, rf"#define DLPACK_{word}_VERSION (\d+)$") for word in ("MAJOR", "MINOR")
    )
    vulkan = _find(ROOT / "cpp/vulkan/vulkan_api.h", r"Vulkan API registry, header version (\d+)")
    project = f"pkg:github/llvm/llvm-project@llvmorg-{llvm}"
    static = "linked statically"
    return [
        *(
            Part(name, llvm, LLVM, f"{project}#{folder}", static)
            for name, folder in (
                ("libc++", "libcxx"),
                ("libc++abi", "libcxxabi"),
                *([("libunwind", "libunwind")] if not lane.macos else []),
            )
        ),
        Part("compiler-rt of zig", zig, f"MIT AND ({LLVM})", f"pkg:pypi/ziglang@{zig}", static),
        *_c_library(lane, libraries, zig),
        Part(
            "Apache TVM FFI headers", ffi, "Apache-2.0", f"pkg:pypi/apache-tvm-ffi@{ffi}", "headers"
        ),
        Part(
            *("DLPack", dlpack_version, "Apache-2.0"),
            *(f"pkg:github/dmlc/dlpack@v{dlpack_version}", "headers"),
        ),
        Part(
            *("Vulkan API registry", vulkan, "Apache-2.0 OR MIT"),
            *("pkg:github/KhronosGroup/Vulkan-Headers", "declarations made from vk.xml"),
        ),
    ]


def _c_library(lane: Lane, libraries: Path, zig: str) -> list[Part]:
    """Return the part of the C library that is linked in: start files, on Windows more.

    On macOS there is none: the system's library brings that, and libunwind.
    """
    if lane.macos:
        return []
    if lane.glibc:
        licence, purl = "LGPL-2.1-or-later", f"pkg:generic/glibc@{lane.glibc}"
        return [Part("GNU C Library start files", lane.glibc, licence, purl, f"as in zig {zig}")]
    header = libraries / "libc/include/any-windows-any/_mingw_mac.h"
    version = ".".join(
        _find(header, rf"#define __MINGW64_VERSION_{word} (\d+)$") for word in ("MAJOR", "MINOR")
    )
    purl = f"pkg:generic/mingw-w64@{version}"
    return [Part("mingw-w64 runtime", version, "ZPL-2.1", purl, "linked statically")]


def _linked(part: Part) -> Component:
    return {
        "type": "library",
        "bom-ref": part.name,
        "name": part.name,
        "version": part.version,
        "description": f"compiled in: {part.about}",
        "scope": "required",
        "licenses": [{"expression": part.licence}],
        "purl": part.purl,
    }


def _library(name: str) -> Component:
    ours = "tvm_ffi" in name
    provider = "the Python package apache-tvm-ffi" if ours else "the operating system"
    return _external(name, f"loaded with the library; from {provider}", "required")


def _loader(lane: Lane) -> Component:
    (name,) = (name for name in lane.exclude if "vulkan" in name)
    about = f"the Vulkan loader, {name}: looked for at run time, never linked"
    return _external("Vulkan loader", about, "optional")


def _dependency(requirement: Requirement) -> Component:
    versions = "|".join(
        f"{clause.operator}{clause.version}"
        for clause in sorted(requirement.specifier, key=lambda clause: clause.version)
    )
    about = "installed by pip" + (f", where {requirement.marker}" if requirement.marker else "")
    return _external(requirement.name, about, "required") | {
        "bom-ref": str(requirement),
        "versionRange": f"vers:pypi/{versions or '*'}",
        "purl": f"pkg:pypi/{canonicalize_name(requirement.name)}",
    }


def _external(name: str, about: str, scope: str) -> Component:
    return {
        "type": "library",
        "bom-ref": name,
        "name": name,
        "description": about,
        "scope": scope,
        "isExternal": True,
    }


def _find(path: Path, pattern: str) -> str:
    match = re.search(pattern, path.read_text(encoding="utf-8"), re.MULTILINE)
    if match is None:
        raise ValueError(f"{path} does not hold {pattern}")
    return match[1]
