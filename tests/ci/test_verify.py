"""Each check sees its own fault, and only that."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from wheels import (
    DIST_INFO,
    LIBRARY,
    METADATA,
    NAMED,
    PROJECT,
    VERSION,
    WHEEL,
    WHEEL_NAME,
    Elf,
    good_files,
    record,
    sbom,
    write_toolchain,
    write_wheel,
)

from ci.checks import FAILED
from ci.lanes import Lane, find_lane, load_lanes
from ci.repack import repack
from ci.verify import checks_of, verify_wheel

LANE = find_lane("linux-x86_64", load_lanes())
CHECKS = checks_of(LANE)
WRONG_RECORD = record(good_files()).replace(b"sha256=", b"sha256=0", 1)
OTHER_SCRIPT = "[console_scripts]\nmlc_llm = other:main\n"
SBOM = f"{DIST_INFO}/sboms/mlc_llm.cdx.json"
MALLOC = ("malloc", "GLIBC_2.2.5", False)


pytestmark = pytest.mark.usefixtures("pyproject")


def make_wheel(folder: Path, files: dict[str, bytes], name: str = WHEEL_NAME) -> Path:
    wheel = write_wheel(folder, files, name)
    repack(wheel, 1_700_000_000)
    return wheel


@pytest.fixture
def toolchain(tmp_path: Path) -> Path:
    return write_toolchain(tmp_path / "toolchain")


def failed(
    wheel: Path, toolchain: Path, lane: Lane = LANE, forbidden: Iterable[str] = ()
) -> dict[str, str]:
    checks = verify_wheel(wheel, lane, VERSION, tvm_ffi=toolchain, forbidden=forbidden)
    return {check.name: check.detail for check in checks if check.status == FAILED}


def elf(**fault: object) -> dict[str, bytes | None]:
    return {LIBRARY: Elf(**fault).build()}  # type: ignore[arg-type]


def info(name: str, text: str) -> dict[str, bytes | None]:
    return {f"{DIST_INFO}/{name}": text.encode()}


def metadata(old: str, new: str) -> dict[str, bytes | None]:
    return info("METADATA", METADATA.replace(old, new))


# (the check that must fail, what it must say, files that are put in; None takes one out)
FAULTS: list[tuple[str, str, dict[str, bytes | None]]] = [
    ("wheel tag", "has the tags", info("WHEEL", WHEEL.replace("py3-none", "cp312-abi3"))),
    ("wheel tag", "has the tags", info("WHEEL", WHEEL + "Tag: py3-none-any\n")),
    ("wheel tag", "Root-Is-Purelib", info("WHEEL", WHEEL.replace("false", "true"))),
    ("metadata", "Name is", metadata("Name: mlc_llm", "Name: mlc_other")),
    ("metadata", "Version is", metadata(f"Version: {VERSION}\nS", "Version: 9.9\nS")),
    ("metadata", "Summary", metadata("Summary: A test wheel\n", "")),
    ("metadata", "Requires-Python", metadata("Requires-Python: >=3.10\n", "")),
    ("metadata", "License-Expression", metadata("License-Expression: Apache-2.0\n", "")),
    ("metadata", "apache-tvm-ffi", metadata("apache-tvm-ffi", "numpy")),
    ("metadata", "apache-tvm-ffi", metadata(">=0.1.11", '; extra == "gpu"')),
    ("metadata", "Requires-Python", metadata(">=3.10", ">=3.9")),
    ("metadata", "apache-tvm-ffi>=0.1.12", metadata(">=0.1.11", ">=0.1.12")),
    ("metadata", "numpy", metadata("Requires-Dist:", "Requires-Dist: numpy\nRequires-Dist:")),
    ("licence", "there is no licence", {f"{DIST_INFO}/licenses/LICENSE": None}),
    ("licence", "differ", {f"{DIST_INFO}/licenses/NOTICE": b"A notice.\n"}),
    ("licence", "empty", {f"{DIST_INFO}/licenses/LICENSE": b"\n"}),
    ("console script", "is absent", {f"{DIST_INFO}/entry_points.txt": None}),
    ("console script", "is other:main", info("entry_points.txt", OTHER_SCRIPT)),
    ("py.typed", "is absent", {"mlc_llm/py.typed": None}),
    ("vendored", "libs/libz.so", {"mlc_llm/mlc_llm.libs/libz.so.1": b"z"}),
    ("vendored", "libvulkan", {"mlc_llm/lib/libvulkan.so.1": b"v"}),
    ("vendored", "libtvm_ffi", {"mlc_llm/lib/libtvm_ffi.so": b"t"}),
    ("vendored", "extra", {"mlc_llm/lib/extra": Elf(payload=b"x").build()}),
    ("vendored", "helper.py", {"mlc_llm/helper.py": b"MZ\x90\0"}),
    ("vendored", "extra", {"mlc_llm/extra": b"\xcf\xfa\xed\xfe"}),
    ("vendored", "extra", {"mlc_llm/extra": b"\xfe\xed\xfa\xce"}),
    ("vendored", "extra", {"mlc_llm/extra": b"\xca\xfe\xba\xbe"}),
    ("sbom", "is absent", {SBOM: None}),
    ("sbom", "of version 9.9", {SBOM: sbom(*NAMED, version="9.9")}),
    ("sbom", "does not name: libc.so.6", {SBOM: sbom(*(n for n in NAMED if n != "libc.so.6"))}),
    ("sbom", "does not name: apache-tvm", {SBOM: sbom(*(n for n in NAMED if ">=0.1.11" not in n))}),
    ("sbom", "does not name: libc++", {SBOM: sbom(*NAMED[1:])}),
    ("sbom", "a second", {f"{DIST_INFO}/sboms/auditwheel.cdx.json": b"{}"}),
    ("paths", "/build/mlc/a.cc", elf(payload=b"\0/build/mlc/a.cc\0")),
    ("paths", "/nix/store/a.h", elf(payload=b"\0(lambda at /nix/store/a.h:5:2)\0")),
    ("paths", "/srv/inc/b", elf(payload=b"\0clang -I/srv/inc/b -O2\0")),
    ("paths", "/home/me/x", {"mlc_llm/where.py": b"HERE = '/home/me/x'\n"}),
    ("machine", "EM_AARCH64", elf(machine=183)),
    ("needed", "libvulkan.so.1", elf(needed=("libtvm_ffi.so", "libvulkan.so.1"))),
    ("needed", "libtvm_ffi.so", elf(needed=("libc.so.6",))),
    ("glibc", "GLIBC_2.29", elf(imports=(("exp", "GLIBC_2.29", False),))),
    ("glibc", "GLIBC_2.28.1", elf(imports=(("exp", "GLIBC_2.28.1", False),))),
    ("glibc", "GLIBC_PRIVATE", elf(imports=(("x", "GLIBC_PRIVATE", False),))),
    ("imports", "lost", elf(imports=(MALLOC, ("lost", "", False)))),
    ("imports", "TVMFFIGone", elf(imports=(MALLOC, ("TVMFFIGone", "", False)))),
    ("imports", "other_symbol", elf(imports=(MALLOC, ("other_symbol", "", False)))),
    ("imports", "weak_one", elf(imports=(MALLOC, ("weak_one", "", True)))),
    ("exports", "_Znwm", elf(exports=("__tvm_ffi_x", "_Znwm"))),
    ("exports", "_ZTISt9exception", elf(exports=("_ZTISt9exception",))),
    ("run path", "[]", elf(run_path="")),
    ("run path", "$ORIGIN/../tvm_ffi/lib", elf(run_path="$ORIGIN/../tvm_ffi/lib")),
    ("stack", "is executable", elf(stack_flags=7)),
    ("stack", "is missing", elf(stack_flags=None)),
    ("segments", "writable and executable", elf(load_flags=7)),
    ("relro", "PT_GNU_RELRO", elf(relro=False)),
    ("relro", "BIND_NOW", elf(bind_now=False)),
    ("stripped", ".debug_info", elf(debug=True)),
    ("twine", "twine check", metadata("\nA description.\n", "")),
    ("check-wheel-contents", "W001", {"mlc_llm/cli.pyc": b"x"}),
]


def test_a_good_wheel_passes_every_check(tmp_path: Path, toolchain: Path) -> None:
    wheel = make_wheel(tmp_path, good_files())
    checks = verify_wheel(wheel, LANE, VERSION, tvm_ffi=toolchain)
    assert [check.name for check in checks] == ["archive", *CHECKS]
    assert [check for check in checks if check.status == FAILED] == []


@pytest.mark.parametrize(("name", "detail", "change"), FAULTS)
def test_a_fault_fails_its_check_alone(
    tmp_path: Path,
    toolchain: Path,
    name: str,
    detail: str,
    change: dict[str, bytes | None],
) -> None:
    changed = good_files() | change
    held = {entry: data for entry, data in changed.items() if data is not None}
    found = failed(make_wheel(tmp_path, held), toolchain)
    assert list(found) == [name]
    assert detail in found[name]


def test_a_wrong_record_is_not_canonical_either(tmp_path: Path, toolchain: Path) -> None:
    found = failed(
        write_wheel(tmp_path, good_files() | {f"{DIST_INFO}/RECORD": WRONG_RECORD}), toolchain
    )
    assert set(found) == {"record", "canonical"}
    assert "has another hash" in found["record"]


def test_an_archive_that_was_not_repacked_is_refused(tmp_path: Path, toolchain: Path) -> None:
    assert set(failed(write_wheel(tmp_path, good_files()), toolchain)) == {"canonical"}


def test_bytes_in_front_of_the_archive_are_refused(tmp_path: Path, toolchain: Path) -> None:
    wheel = make_wheel(tmp_path, good_files())
    wheel.write_bytes(b"#!/bin/sh\n" + wheel.read_bytes())
    assert set(failed(wheel, toolchain)) == {"canonical"}


def test_requirements_are_compared_by_meaning(
    tmp_path: Path, toolchain: Path, pyproject: Path
) -> None:
    pyproject.write_text(PROJECT.replace("apache-tvm-ffi>=", "Apache_TVM.ffi >= "))
    assert failed(make_wheel(tmp_path, good_files()), toolchain) == {}


def test_a_requirement_that_is_lost_is_named(
    tmp_path: Path, toolchain: Path, pyproject: Path
) -> None:
    numpy = "numpy>=2.1; python_version >= '3.13'"
    pyproject.write_text(PROJECT.replace('["apache', f'["{numpy}", "apache'))
    found = failed(make_wheel(tmp_path, good_files()), toolchain)
    assert list(found) == ["metadata"]
    assert "numpy" in found["metadata"]


def test_the_folder_of_auditwheel_is_refused(tmp_path: Path, toolchain: Path) -> None:
    wheel = make_wheel(tmp_path, good_files() | {"mlc_llm.libs/libz.so.1": b"z"})
    # A second top-level folder is what check-wheel-contents minds.
    assert set(failed(wheel, toolchain)) == {"vendored", "check-wheel-contents"}


def test_run_time_paths_are_allowed(tmp_path: Path, toolchain: Path) -> None:
    library = Elf(payload=b"\0/proc/self/exe\0/usr/share/vulkan/a\0mlc_llm/home/x\0").build()
    assert failed(make_wheel(tmp_path, good_files(library)), toolchain) == {}


def test_forbidden_text_is_found_in_any_file(tmp_path: Path, toolchain: Path) -> None:
    wheel = make_wheel(tmp_path, good_files() | {"mlc_llm/flags.py": b"'-I/srv/build'"})
    assert list(failed(wheel, toolchain, forbidden=["/srv/build"])) == ["paths"]


@pytest.mark.parametrize(
    "name", [WHEEL_NAME.replace("py3", "py312"), WHEEL_NAME.replace("1.2.3", "1.2.4")]
)
def test_file_name(tmp_path: Path, toolchain: Path, name: str) -> None:
    # check-wheel-contents reads the .dist-info folder by the file's name, and so may fail too.
    found = failed(make_wheel(tmp_path, good_files(), name), toolchain)
    assert WHEEL_NAME in found["file name"]
    assert set(found) <= {"file name", "check-wheel-contents"}


def test_size(tmp_path: Path, toolchain: Path) -> None:
    wheel = make_wheel(tmp_path, good_files())
    small = replace(LANE, size_budget=wheel.stat().st_size - 1)
    assert list(failed(wheel, toolchain, small)) == ["size"]
    exact = replace(LANE, size_budget=wheel.stat().st_size)
    assert failed(wheel, toolchain, exact) == {}


@pytest.mark.parametrize("name", ["/absolute.py", "../up.py"])
def test_an_unsafe_name_is_one_failed_check(tmp_path: Path, toolchain: Path, name: str) -> None:
    wheel = write_wheel(tmp_path, good_files() | {name: b""})
    assert list(failed(wheel, toolchain)) == ["archive"]


def test_no_zip_is_one_failed_check(tmp_path: Path, toolchain: Path) -> None:
    wheel = tmp_path / WHEEL_NAME
    wheel.write_bytes(b"not a zip")
    assert list(failed(wheel, toolchain)) == ["archive"]
    assert list(failed(tmp_path / "absent.whl", toolchain)) == ["archive"]


def test_an_empty_zip_raises_nothing(tmp_path: Path, toolchain: Path) -> None:
    wheel = tmp_path / WHEEL_NAME
    zipfile.ZipFile(wheel, "w").close()
    # What looks only for faults finds none in nothing.
    assert set(CHECKS) - set(failed(wheel, toolchain)) == {
        "file name",
        "size",
        "vendored",
        "paths",
    }


@pytest.mark.parametrize("data", [b"", b"\x7fELF", b"\x7fELF\2\1\1" + bytes(100)])
def test_a_damaged_library_raises_nothing(tmp_path: Path, toolchain: Path, data: bytes) -> None:
    found = failed(make_wheel(tmp_path, good_files(data)), toolchain)
    assert set(found) == {
        *("machine", "needed", "glibc", "imports", "exports", "sbom"),
        *("run path", "stack", "segments", "relro", "stripped"),
    }


@pytest.mark.parametrize("field", ["vn_cnt", "sh_info"])
def test_a_huge_version_table_is_refused_at_once(
    tmp_path: Path, toolchain: Path, field: str
) -> None:
    library = bytearray(Elf().build())
    elf_file = ELFFile(io.BytesIO(library))
    number = elf_file.get_section_index(".gnu.version_r")
    assert number is not None
    if field == "vn_cnt":
        struct.pack_into("<H", library, elf_file.get_section(number)["sh_offset"] + 2, 0xFFFF)
    else:
        header = elf_file["e_shoff"] + number * elf_file["e_shentsize"]
        struct.pack_into("<I", library, header + 44, 0xFFFFFFFF)
    found = failed(make_wheel(tmp_path, good_files(bytes(library))), toolchain)
    assert "the version table is damaged" in found["glibc"]


def test_no_toolchain_fails_the_symbol_check(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, good_files())
    checks = verify_wheel(wheel, LANE, VERSION, tvm_ffi=None)
    assert [check.name for check in checks if check.status == FAILED] == ["imports"]
