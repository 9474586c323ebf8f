"""delocate repairs a wheel for macOS on Linux too, and refuses what it should."""

from __future__ import annotations

import os
import subprocess
import sys
from email import message_from_bytes
from pathlib import Path

import pytest
from dylibs import Dylib
from wheels import DIST_INFO, LIBRARY, PLATFORM, VERSION, WHEEL, good_files, write_wheel

from ci.lanes import load_lanes
from ci.paths import ROOT
from ci.repack import read_wheel

pytestmark = [
    pytest.mark.skipif("MLC_LLM_TOOLCHAIN" not in os.environ, reason="`nox -s tests` has it"),
    pytest.mark.skipif(sys.platform == "win32", reason="otool is a shell script"),
]
LANE = load_lanes()["macos-arm64"]
NEEDED = Dylib().needed


@pytest.fixture
def tvm_ffi(tmp_path: Path) -> Path:
    library = tmp_path / "target" / "tvm_ffi" / "lib" / "libtvm_ffi.dylib"
    library.parent.mkdir(parents=True)
    library.write_bytes(Dylib(name="@rpath/libtvm_ffi.dylib", needed=NEEDED[1:]).build())
    return tmp_path / "target"


def repair(folder: Path, library: Dylib, tvm_ffi: Path) -> subprocess.CompletedProcess[str]:
    held = good_files(library.build())
    held[LANE.library] = held.pop(LIBRARY)
    held[f"{DIST_INFO}/WHEEL"] = WHEEL.replace(PLATFORM, LANE.platform).encode()
    del held[f"{DIST_INFO}/sboms/mlc_llm.cdx.json"]
    wheel = write_wheel(folder, held, f"mlc_llm-{VERSION}-py3-none-{LANE.platform}.whl")
    (folder / "repaired").mkdir()
    toolchain = os.environ["MLC_LLM_TOOLCHAIN"]
    variables = {
        "MLC_LLM_LANE": LANE.id,
        "MLC_LLM_TVM_FFI": str(tvm_ffi),
        "PYTHONPATH": os.pathsep.join([toolchain, str(ROOT)]),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "SOURCE_DATE_EPOCH": "1700000000",
    }
    return subprocess.run(
        [sys.executable, "-m", "ci.repair", wheel, folder / "repaired"],
        cwd=folder,
        env=os.environ | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def test_good_wheel_keeps_its_library_and_its_tag(tmp_path: Path, tvm_ffi: Path) -> None:
    done = repair(tmp_path, Dylib(), tvm_ffi)
    assert done.returncode == 0, done.stdout
    (wheel,) = (tmp_path / "repaired").iterdir()
    files = read_wheel(wheel)
    assert files[LANE.library] == Dylib().build()
    assert not [name for name in files if "dylibs" in name]
    info = message_from_bytes(files[f"{DIST_INFO}/WHEEL"])
    assert info.get_all("Tag") == [f"py3-none-{LANE.platform}"]
    assert any("delocate" in generator for generator in info.get_all("Generator", []))


@pytest.mark.parametrize(
    ("library", "message"),
    [
        (Dylib(needed=(*NEEDED, "@rpath/libomp.dylib")), "@rpath/libomp.dylib not found"),
        (Dylib(minimum=12 << 16), "has a minimum target of 12.0"),
    ],
)
def test_planted_fault_is_refused(
    tmp_path: Path, tvm_ffi: Path, library: Dylib, message: str
) -> None:
    done = repair(tmp_path, library, tvm_ffi)
    assert done.returncode != 0
    assert message in done.stdout
    assert list((tmp_path / "repaired").iterdir()) == []


def test_library_of_the_build_machine_is_not_vendored(tmp_path: Path, tvm_ffi: Path) -> None:
    stranger = tmp_path / "libstranger.dylib"
    stranger.write_bytes(Dylib(name=str(stranger), needed=NEEDED[1:]).build())
    done = repair(tmp_path, Dylib(needed=(*NEEDED, str(stranger))), tvm_ffi)
    assert done.returncode != 0
    assert list((tmp_path / "repaired").iterdir()) == []
