"""What stands in for an arm64 machine, as far as it can be tested without qemu."""

from __future__ import annotations

from pathlib import Path

import pytest

from ci import debian
from ci.checks import NOT_RUN
from ci.debian import Package, PackageSet, unpacked
from ci.errors import FactoryError
from ci.smoke import qemu
from ci.smoke.cases import run_case
from ci.smoke.qemu import EMULATOR, QemuEnvironment

WHEEL = Path("mlc_llm-1.2.3-py3-none-manylinux_2_28_aarch64.whl")


@pytest.fixture
def emulator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An emulator that says what it is asked."""
    fake = tmp_path / EMULATOR
    fake.write_text('#!/bin/sh\necho "$VK_DRIVER_FILES" "$QEMU_CPU" "$@"\n')
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")


def outcome(folder: Path) -> tuple[str, str]:
    with qemu.cases(folder, WHEEL) as (case,):
        (check,) = run_case(case, "1.2.3")
    return check.status, check.detail


def test_without_qemu_the_table_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    status, detail = outcome(tmp_path)
    assert status == NOT_RUN
    assert detail.endswith("`apt-get install qemu-user-static`")


@pytest.mark.usefixtures("emulator")
def test_without_debians_packages_the_table_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> Path:
        raise FactoryError("no mirror")

    monkeypatch.setattr(qemu, "get_root", refuse)
    assert outcome(tmp_path) == (NOT_RUN, "no mirror")


@pytest.mark.usefixtures("emulator")
def test_commands_run_on_the_root(tmp_path: Path) -> None:
    environment = QemuEnvironment(Path("/root"), tmp_path, "a label")
    printed = environment.run("mlc_llm", "generate", Path("/m"), VK_DRIVER_FILES="none")
    python = tmp_path / "bin" / "python3"
    assert printed == f"none cortex-a53 -L /root {python} -m mlc_llm generate /m"


@pytest.mark.usefixtures("emulator")
def test_a_newer_processor_can_be_chosen(tmp_path: Path) -> None:
    environment = QemuEnvironment(Path("/root"), tmp_path, "a label")
    (variables,) = qemu.PROCESSORS.values()
    assert environment.run("python", "-V", **variables).startswith("cortex-a76 -L /root")


def test_packages_of_another_machine_are_kept_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[PackageSet, Path]] = []

    def fetch(packages: PackageSet, archives: Path) -> None:
        asked.append((packages, archives))

    monkeypatch.setattr(debian, "fetch", fetch)
    packages = PackageSet("trixie", (Package("zlib1g"),), "arm64")
    with pytest.raises(FactoryError, match="zlib1g"), unpacked(packages, tmp_path):
        pass
    assert asked == [(packages, tmp_path / "debian" / "trixie-arm64")]
