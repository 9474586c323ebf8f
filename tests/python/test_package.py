from __future__ import annotations

import json
import re
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import tvm_ffi

import mlc_llm
from mlc_llm import _library

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    RunCode = Callable[[str], subprocess.CompletedProcess[str]]


def test_import_brings_in_neither_numpy_nor_torch(run_code: RunCode) -> None:
    run = run_code("import json, sys, mlc_llm; print(json.dumps(list(sys.modules)))")
    assert run.returncode == 0, run.stderr
    assert not set(json.loads(run.stdout)) & {
        "numpy",
        "torch",
        "tvm_ffi",
        "ctypes",
        "importlib.metadata",
    }


def test_every_public_name_is_there() -> None:
    for name in mlc_llm.__all__:
        assert getattr(mlc_llm, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        mlc_llm.nothing  # noqa: B018


def test_metadata_package_and_library_agree_on_the_version() -> None:
    _library.load()
    assert mlc_llm.__version__ == version("mlc_llm")
    assert tvm_ffi.get_global_func("mlc_llm.version")() == version("mlc_llm")


def test_the_library_loads_in_a_fresh_process_by_itself(run_code: RunCode) -> None:
    # Nothing has loaded libtvm_ffi here: only the RPATH leads to it.
    code = f"import ctypes; ctypes.CDLL({str(_library.library_path())!r})"
    run = run_code(code)
    assert run.returncode == 0, run.stderr


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the installed package, to be broken."""
    package = Path(mlc_llm.__file__).parent
    shutil.copytree(package, tmp_path / "mlc_llm")
    return tmp_path


def import_error(run_code: RunCode, prelude: str = "") -> str:
    """What loading the broken copy says."""
    code = f"{prelude}\nfrom mlc_llm import list_devices; list_devices()"
    run = run_code(code)
    assert run.returncode == 1
    assert "ImportError" in run.stderr
    return run.stderr.splitlines()[-1]


def test_a_missing_library_is_explained(copy: Path, run_code: RunCode) -> None:
    shutil.rmtree(copy / "mlc_llm/lib")
    assert re.search("without its native library .*pip install --force", import_error(run_code))


def test_a_library_that_does_not_load_is_explained(copy: Path, run_code: RunCode) -> None:
    next((copy / "mlc_llm/lib").iterdir()).write_bytes(b"not a library")
    advice = r"does not load with apache-tvm-ffi .*newest wheel file .* newest apache-tvm-ffi\.$"
    assert re.search(advice, import_error(run_code))


def test_a_library_of_another_version_is_explained(run_code: RunCode) -> None:
    prelude = "import importlib.metadata as m; m.version = lambda name: '9.9.9'"
    assert re.search(
        "the installed package is mlc_llm 9.9.9.*mixed", import_error(run_code, prelude)
    )
