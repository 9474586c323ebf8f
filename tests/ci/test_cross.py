"""Building for another platform: the commands, without running them."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from platform import machine
from typing import Any, Literal

import pytest
from offers import offer

from ci import engines
from ci.engines import Job, cross_variables
from ci.errors import FactoryError
from ci.lanes import load_lanes
from ci.paths import ROOT
from ci.repair import auditwheel_command, delvewheel_command
from ci.toolchain import Toolchain, ensure_tvm_ffi, locked_version

WINDOWS, X86 = (load_lanes()[name] for name in ("windows-x86_64", "linux-x86_64"))


def test_back_end_is_told_the_platform(tmp_path: Path) -> None:
    assert cross_variables(WINDOWS, tmp_path) == {
        "_PYTHON_HOST_PLATFORM": "win-amd64",
        "MLC_LLM_TVM_FFI": str(tmp_path),
    }


def test_delvewheel_looks_at_a_library_that_is_no_extension_module() -> None:
    command = list(map(str, delvewheel_command(Path("a.whl"), Path("out"), WINDOWS)))
    assert "--analyze-existing" in command
    assert f"tvm_ffi.dll{os.pathsep}vulkan-1.dll" in command
    assert command[-1] == "a.whl"


def test_auditwheel_is_told_a_foreign_processor() -> None:
    aarch64 = load_lanes()["linux-aarch64"]
    for lane, foreign in ((aarch64, machine() != "aarch64"), (X86, machine() != "x86_64")):
        command = list(map(str, auditwheel_command(Path("a.whl"), Path("out"), lane)))
        assert ("-c" in command) == foreign
        assert (f"machine = lambda: {lane.processor!r}" in " ".join(command)) == foreign


def test_native_build_is_cibuildwheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[list[str], dict[str, str]]] = []

    def run_logged(command: list[Any], env: dict[str, str], **_: object) -> None:
        ran.append((list(map(str, command)), env))

    monkeypatch.setattr(engines, "run_logged", run_logged)
    monkeypatch.setattr(engines, "unpack", lambda _sdist, folder: folder)
    monkeypatch.setenv("CIBW_TEST_SKIP", "*")
    job = Job(WINDOWS, tmp_path / "a.tar.gz", tmp_path, tmp_path / "log", 7, lambda _line: None)
    engines.build_natively(job, Toolchain(tmp_path / "toolchain", "d" * 64))
    ((command, env),) = ran
    assert command[:4] == [sys.executable, "-m", "cibuildwheel", str(tmp_path / "src")]
    assert command[-2] == "--only"
    assert command[-1] == f"cp3{sys.version_info.minor}-win_amd64"
    assert env["MLC_LLM_SOURCE"] == str(tmp_path / "src")
    assert env["MLC_LLM_TVM_FFI"] == env["MLC_LLM_TOOLCHAIN"] == str(tmp_path / "toolchain")
    assert (env["MLC_LLM_LANE"], env["SOURCE_DATE_EPOCH"]) == ("windows-x86_64", "7")
    assert "CIBW_TEST_SKIP" not in env


@pytest.mark.skipif(sys.version_info < (3, 11), reason="cibuildwheel needs Python 3.11")
@pytest.mark.parametrize(
    ("lane", "folders", "test", "path"),
    [
        ("windows-x86_64", (r"C:\tool chain", r"D:\a\src"), "", r"C:\tool chain;D:\a\src"),
        ("macos-arm64", ("/tool chain", "/src"), "cd {project} && ", "/tool chain:/src"),
    ],
)
def test_cibuildwheel_reads_our_table(
    lane: Literal["windows-x86_64", "macos-arm64"],
    folders: tuple[str, str],
    test: str,
    path: str,
) -> None:
    from cibuildwheel.options import CommandLineArguments, Options  # noqa: PLC0415
    from cibuildwheel.util.resources import BUILD_PLATFORMS  # noqa: PLC0415

    system: Literal["windows", "macos"] = "windows" if lane == "windows-x86_64" else "macos"
    arguments = CommandLineArguments.defaults()
    arguments.platform, arguments.package_dir = system, ROOT
    variables = dict(zip(("MLC_LLM_TOOLCHAIN", "MLC_LLM_SOURCE"), folders, strict=True))
    table = Options(system, arguments, env=variables, defaults=False)
    identifier = f"cp312-{load_lanes()[lane].own_tag}"
    assert f'"{identifier}"' in BUILD_PLATFORMS.read_text()
    options = table.build_options(identifier)
    assert options.repair_command == "python -m ci.repair {wheel} {dest_dir}"
    assert options.test_command == f"{test}python -m ci.smoke {{wheel}}"
    assert options.build_frontend is not None
    assert options.build_frontend.args == ["--no-isolation"]
    environment = options.environment.as_dictionary(variables)
    assert environment["PYTHONPATH"] == path


def test_tvm_ffi_alone_is_installed_for_the_platform(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offers = tmp_path / "offers"
    lock = tmp_path / "toolchain.txt"
    lock.write_text(offer(offers, "apache_tvm_ffi", "1.2") + offer(offers, "ziglang"))
    lock.write_text(lock.read_text().replace("_", "-"))
    for name, value in {
        "MLC_LLM_CACHE": str(tmp_path / "cache"),
        "UV_CACHE_DIR": str(tmp_path / "uv"),
        "UV_NO_INDEX": "1",
        "UV_FIND_LINKS": str(offers),
    }.items():
        monkeypatch.setenv(name, value)
    folder = ensure_tvm_ffi(WINDOWS, tmp_path / "log", lock)
    assert folder.name.endswith("-win_amd64")
    assert (folder / "apache_tvm_ffi").is_dir()
    assert not (folder / "ziglang").exists()
    with pytest.raises(FactoryError, match=r"is damaged.*\(tvm_ffi, "):  # this one has another name
        ensure_tvm_ffi(WINDOWS, tmp_path / "log", lock)


def test_package_that_is_not_locked_is_no_version(tmp_path: Path) -> None:
    lock = tmp_path / "some.txt"
    lock.write_text("ziglang==1\n")
    assert locked_version("ziglang", lock) == "1"
    with pytest.raises(ValueError, match=r"some\.txt does not hold nothing"):
        locked_version("nothing", lock)
