from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import version

import pytest

from mlc_llm import cli, list_devices, selftest


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"mlc_llm {version('mlc_llm')}\n"


def test_module_runs_as_a_command() -> None:
    command = [sys.executable, "-m", "mlc_llm", "--help"]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "selftest" in run.stdout


def test_devices_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["devices", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["devices"][0]["id"] == "cpu"
    assert "portable" in found["devices"][0]["features"]
    # Either there is a Vulkan device, or there is a reason.
    assert (len(found["devices"]) > 1) != bool(found["vulkan_reason"])


def test_devices_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["devices"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[0] == "cpu"
    assert any(line.startswith("vulkan") for line in lines)


def test_selftest_passes_on_every_device(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["selftest", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["passed"]
    assert {result["device"] for result in report["results"]} == {d.id for d in list_devices()}


def test_selftest_fails_when_a_kernel_is_wrong(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(selftest, "measure_error", lambda *_, **__: 1.5)
    assert cli.main(["selftest", "--device", "cpu"]) == 1
    assert "FAILED" in capsys.readouterr().out


def test_selftest_fails_on_an_unknown_device(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["selftest", "--device", "gpu"]) == 1
    printed = capsys.readouterr()
    assert 'no device "gpu"' in printed.err
    assert printed.out == ""


def test_no_command_prints_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 2
    assert "usage: mlc_llm" in capsys.readouterr().err


def test_an_unknown_command_is_refused() -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.main(["talk"])


def test_a_broken_installation_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse() -> None:
        raise ImportError("Reinstall it.")

    monkeypatch.setattr("mlc_llm._library.load", refuse)
    assert cli.main(["--version"]) == 1
    assert capsys.readouterr().err == "mlc_llm: Reinstall it.\n"
