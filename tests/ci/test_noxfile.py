import ast
import importlib
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
from nox import registry
from packaging.requirements import Requirement

import noxfile  # noqa: F401 - registers the sessions
from ci import reference
from ci.errors import UsageError
from ci.paths import LOCKS, ROOT
from ci.toml import read_toml

SOURCE = (ROOT / "noxfile.py").read_text(encoding="utf-8")
SESSIONS = registry.get()
MODULES = {*re.findall(r'\brun\(session, "(\w+)"', SOURCE)}


def test_list_shows_every_session_with_its_sentence() -> None:
    listed = subprocess.run(
        [sys.executable, "-m", "nox", "--nocolor", "--list"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert dict(re.findall(r"^[*-] (\S+) -> (.+)$", listed, re.MULTILINE)) == {
        name: session.func.__doc__ for name, session in SESSIONS.items()
    }


@pytest.mark.parametrize("name", SESSIONS)
def test_session_says_what_it_does_in_one_sentence(name: str) -> None:
    assert re.fullmatch(r"[A-Z][^\n]+\.", SESSIONS[name].func.__doc__ or "")


def test_plain_nox_builds_tests_and_lints() -> None:
    assert [name for name, session in SESSIONS.items() if session.default] == [
        "wheels",
        "tests",
        "lint",
    ]


@pytest.mark.parametrize("module", sorted(MODULES))
def test_session_runs_a_module_that_is_there(module: str) -> None:
    found = importlib.util.find_spec(f"ci.{module}")
    assert found is not None
    assert found.has_location  # a folder without a module would be found as well


@pytest.mark.parametrize("module", sorted(MODULES))
def test_session_explains_itself_before_it_does_anything(module: str) -> None:
    name = f"ci.{module}"
    is_folder = (ROOT / "ci" / module).is_dir()
    main = importlib.import_module(f"{name}.__main__" if is_folder else name).main
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])


@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("image", "--find foo"),
        ("image", "--latest foo"),
        ("image", "--push foo"),
        ("index.__main__", "--to docs"),
        ("index.__main__", "--releases docs"),
    ],
)
def test_wrong_words_are_told_as_such(module: str, words: str) -> None:
    with pytest.raises(UsageError):
        importlib.import_module(f"ci.{module}").main(words.split())


def test_reference_without_a_wheel_installs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reference, "WHEELHOUSE", tmp_path)
    monkeypatch.setattr(reference, "call_step", lambda *_, **__: pytest.fail("it begins"))
    with pytest.raises(UsageError, match=r"no wheel for Linux in .*\. Run `nox -s wheels` first"):
        reference.main([])


@pytest.mark.parametrize("lock", sorted({*re.findall(r'\binstall\(session, "(\w+)"', SOURCE)}))
def test_session_installs_a_lock_that_is_there(lock: str) -> None:
    assert (LOCKS / f"{lock}.txt").is_file()


def test_script_header_agrees_with_pyproject(tmp_path: Path) -> None:
    (block,) = re.findall(r"^# /// script\n((?:#.*\n)+?)# ///$", SOURCE, re.MULTILINE)
    header = tmp_path / "header.toml"
    header.write_text(re.sub(r"^# ?", "", block, flags=re.MULTILINE))
    pyproject = read_toml(ROOT / "pyproject.toml")
    assert read_toml(header) == {
        "requires-python": pyproject["project"]["requires-python"],
        "dependencies": pyproject["dependency-groups"]["nox"],
    }


def test_needed_nox_is_the_one_in_pyproject() -> None:
    (needed,) = re.findall(r'^nox\.needs_version = "(.+)"$', SOURCE, re.MULTILINE)
    groups = map(Requirement, read_toml(ROOT / "pyproject.toml")["dependency-groups"]["nox"])
    assert needed in [str(group.specifier) for group in groups if group.name == "nox"]


def test_old_python_is_told_so() -> None:
    pretend = "import runpy, sys; sys.version_info = (3, 9, 18); sys.version = '3.9.18 (main)'"
    result = subprocess.run(
        [sys.executable, "-c", f"{pretend}; runpy.run_path('noxfile.py', run_name='__main__')"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert result.stderr == "error: Python 3.10 or newer is needed; this is 3.9.18.\n"


def test_old_python_can_parse_the_file() -> None:
    ast.parse(SOURCE, feature_version=(3, 7))
