import os
from pathlib import Path

import pytest

from ci.pythons import find_python, supported_pythons


def add_script(path: Path, body: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def test_supported_pythons_are_the_classifiers_in_number_order(tmp_path: Path) -> None:
    pyproject = tmp_path / "pyproject.toml"
    names = ["Python :: 3", "Python :: 3.13", "Python :: 3.9", "Python :: 3.10", "C++"]
    rows = [f"Programming Language :: {name}" for name in names]
    pyproject.write_text(f"[project]\nclassifiers = {rows}\n")
    assert supported_pythons(pyproject) == ["3.9", "3.10", "3.13"]


def test_shim_of_an_absent_python_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shim = add_script(tmp_path / "shims" / "python3.99", "exit 127")
    real = add_script(tmp_path / "bin" / "python3.99", "exit 0")
    monkeypatch.setenv("PATH", f"{shim.parent}{os.pathsep}{real.parent}")
    assert find_python("3.99") == real


def test_python_of_pyenv_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = add_script(tmp_path / "versions" / "3.99.1" / "bin" / "python3.99", "exit 0")
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    assert find_python("3.99") == python


def test_absent_python_is_none() -> None:
    assert find_python("3.99") is None
