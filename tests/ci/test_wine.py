"""What stands in for a Windows machine, as far as it can be tested without Wine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ci.checks import NOT_RUN
from ci.smoke import wine
from ci.smoke.cases import run_case
from ci.smoke.windows_python import NO_BUILD
from ci.smoke.wine import Machine, WineEnvironment, copy_prefix, spell

WHEEL = Path("mlc_llm-1.2.3-py3-none-win_amd64.whl")


def test_paths_are_spelled_as_windows_does() -> None:
    assert spell(Path("/home/a b/tiny")) == r"Z:\home\a b\tiny"


def test_without_wine_the_table_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with wine.cases(tmp_path, WHEEL) as (case,):
        (check,) = run_case(case, "1.2.3")
    assert check.status == NOT_RUN
    assert check.detail.endswith("`apt-get install wine wine64 xvfb`")


def test_commands_run_in_their_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "wine"
    fake.write_text('#!/bin/sh\necho "$WINEPREFIX $DISPLAY $VK_DRIVER_FILES" "$@"\n')
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("WINEPREFIX", "/of/the/user")
    environment = WineEnvironment(Machine(tmp_path / "disk", ":7"), tmp_path, "a label")
    printed = environment.run("mlc_llm", "generate", Path("/m"), "/p", VK_DRIVER_FILES="none")
    python = tmp_path / "python.exe"
    assert printed == f"{tmp_path}/disk :7 none {python} -m mlc_llm generate Z:\\m /p"
    assert environment.run("python", "-c", "pass").endswith(f"{python} -c pass")


def test_disk_is_linked_but_its_registry_copied(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    (disk / "drive_c").mkdir(parents=True)
    (disk / "drive_c" / "a.dll").write_text("a")
    (disk / "user.reg").write_text("b")
    copy_prefix(disk, tmp_path / "copy")
    assert (tmp_path / "copy" / "drive_c" / "a.dll").samefile(disk / "drive_c" / "a.dll")
    assert not (tmp_path / "copy" / "user.reg").samefile(disk / "user.reg")
    assert (tmp_path / "copy" / "user.reg").read_text() == "b"


def test_an_sdist_is_downloaded_without_running_it(tmp_path: Path) -> None:
    source = tmp_path / "some_data-1.0"
    source.mkdir()
    (source / "setup.py").write_text("raise SystemExit('this must never run')\n")
    (source / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: some-data\nVersion: 1.0\n")
    archive = tmp_path / "some_data-1.0.tar.gz"
    subprocess.run(["tar", "-C", tmp_path, "-czf", archive, source.name], check=True)
    code = "import setuptools.build_meta as b; print(b.prepare_metadata_for_build_wheel('.'))"
    printed = subprocess.check_output(
        [sys.executable, "-c", code], cwd=source, env={"PYTHONPATH": str(NO_BUILD)}, text=True
    )
    assert printed.strip() == "some_data-1.0.dist-info"
    assert (source / printed.strip() / "METADATA").read_text().endswith("Version: 1.0\n")
