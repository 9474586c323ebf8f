"""Failures planted in one clone, recorded there by nox, and reproduced in another from the record.

Minutes, so only by hand: `nox -s tests -- -m reproduce`. CI plants the quickest of them.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ci.clones import clone
from ci.lanes import load_lanes
from ci.record import FOLDER, Record, read_record
from ci.reproduce.conditions import clean_environment

pytestmark = pytest.mark.reproduce

HOST = ("--lane", "linux-x86_64", "--engine", "host")
NEW_TEST = "tests/python/test_planted.py"
WITHOUT_AVX2 = """\
import os

def test_planted() -> None:
    assert os.environ.get("MLC_LLM_CPU_ISA") != "portable"
"""
WITHOUT_VULKAN = """\
from mlc_llm.devices import discover

def test_planted() -> None:
    assert discover().vulkan_reason == ""
"""
WITH_BACKSLASHES = """
import os as _os

if _os.sep != "/":
    raise ImportError("this package was tried on one system only")
"""
UNDEFINED = """
extern "C" int mlc_llm_absent();
extern const int mlc_llm_planted;
const int mlc_llm_planted = mlc_llm_absent();
"""
# Where auditwheel finds what it should leave out.
VENDORING = """
    os.environ["LD_LIBRARY_PATH"] = os.environ["MLC_LLM_TOOLCHAIN"] + "/tvm_ffi/lib"
    excludes = []
"""


@dataclass(frozen=True)
class Plant:
    """A failure: text put into a file behind a pattern (or at its end), and what comes of it.

    `failed` is a pattern that the names of all failed tests or checks match, "" where none has one.
    """

    words: tuple[str, ...]
    file: str
    text: str
    phase: str
    failed: str = ""
    behind: str = r"\Z"
    variables: Mapping[str, str] = field(default_factory=dict)

    def put_into(self, checkout: Path) -> None:
        path = checkout / self.file
        before = path.read_text(encoding="utf-8") if path.exists() else ""
        after, count = re.subn(self.behind, lambda match: match[0] + self.text, before, count=1)
        assert count == 1
        path.write_text(after, encoding="utf-8")


PLANTS = {
    "a file name of Windows": Plant(
        ("wheels", "--lane", "windows-x86_64"),
        *("python/mlc_llm/__init__.py", WITH_BACKSLASHES, "smoke", "smoke: .*"),
    ),
    "without AVX2": Plant(
        *(("tests", NEW_TEST), NEW_TEST, WITHOUT_AVX2, "pytest", f"{NEW_TEST}::test_planted"),
        variables={"MLC_LLM_CPU_ISA": "portable"},
    ),
    "without Vulkan": Plant(
        *(("tests", NEW_TEST), NEW_TEST, WITHOUT_VULKAN, "pytest", f"{NEW_TEST}::test_planted"),
        variables={"MLC_LLM_VULKAN_LOADER": "/nonexistent"},
    ),
    "a wheel over its budget": Plant(
        *(("wheels", *HOST), "ci/lanes.toml", "1000\n# ", "verify", "size"),
        behind="size_budget = ",
    ),
    "a mistake of CMake's": Plant(
        *(("wheels", *HOST), "CMakeLists.txt", 'message(FATAL_ERROR "planted")\n', "configure"),
        behind=r"project\([^)]*\)\n",
    ),
    "an undefined symbol": Plant(("wheels", *HOST), "cpp/ffi/model.cc", UNDEFINED, "compile"),
    "a vendored library": Plant(
        *(("wheels", *HOST), "ci/repair.py", VENDORING, "smoke", "smoke: .*"),
        behind=r"    excludes = .*\n",
    ),
}
QUICK = {"a mistake of CMake's"}
NEEDED = {"windows-x86_64": load_lanes()["windows-x86_64"].built}


def parameters() -> list[object]:
    return [
        pytest.param(plant, id=name, marks=[pytest.mark.quick] if name in QUICK else [])
        for name, plant in PLANTS.items()
        if not any(word in plant.words for word, there in NEEDED.items() if not there)
    ]


@pytest.fixture(scope="module")
def clones(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two clones of HEAD: one to fail in, one that knows nothing of it."""
    folder = tmp_path_factory.mktemp("clones")
    return clone(folder / "there"), clone(folder / "here")


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a person who types a command, and sets `variables`."""
    env = clean_environment(os.environ)
    ours = ("MLC_LLM_", "PYTHON", "ZIG_", "PYTEST_")
    kept = {name: value for name, value in env.items() if not name.startswith(ours)}
    return (
        kept | {n: os.environ[n] for n in ("MLC_LLM_CACHE",) if n in os.environ} | dict(variables)
    )


def record_failure(plant: Plant, checkout: Path) -> Record:
    """Plant the failure in `checkout`, have a session fail of it, and return its record."""
    session, *words = plant.words
    plant.put_into(checkout)
    python = os.path.realpath(sys.executable)
    command = [python, "noxfile.py", "-s", session, *(["--", *words] if words else [])]
    failed = subprocess.run(command, cwd=checkout, env=environment(plant.variables), check=False)
    assert failed.returncode == 1
    return read_record(checkout / FOLDER / f"{session}.json")


@pytest.mark.parametrize("plant", parameters())
def test_planted_failure_is_reproduced_from_its_record(
    plant: Plant, clones: tuple[Path, Path], tmp_path: Path
) -> None:
    there, here = clones
    try:
        record = record_failure(plant, there)
        path = shutil.copy(there / FOLDER / f"{record.session}.json", tmp_path)
    finally:
        for undo in (["checkout", "--quiet", "."], ["clean", "--quiet", "-fd"]):
            subprocess.run(["git", *undo], cwd=there, check=True)
    assert record.failure.phase == plant.phase
    assert bool(record.failure.failed) == bool(plant.failed)
    assert all(re.fullmatch(plant.failed, name) for name in record.failure.failed)

    again = [sys.executable, "-m", "ci.reproduce", path]
    assert subprocess.run(again, cwd=here, env=environment({}), check=False).returncode == 0
    seen = read_record(here / "build" / "reproduce" / FOLDER / Path(path).name).failure
    assert (seen.phase, seen.failed) == (record.failure.phase, record.failure.failed)
