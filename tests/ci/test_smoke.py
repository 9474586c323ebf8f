import json
import sys
from functools import partial
from pathlib import Path

import pytest

from ci.checks import FAILED, NOT_RUN, PASSED, Check
from ci.smoke import __main__ as smoke
from ci.smoke import checks, host, process
from ci.smoke.cases import Case, run_case
from ci.smoke.host import HostEnvironment, get_python
from ci.smoke.process import clean_env

WHEEL = Path("mlc_llm-1.2.3-py3-none-manylinux_2_28_x86_64.whl")


def add_script(path: Path, body: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    "name",
    ["PYTHONPATH", "VIRTUAL_ENV", "VK_DRIVER_FILES", "MLC_LLM_VULKAN_LOADER", "LD_LIBRARY_PATH"],
)
def test_clean_env_lets_nothing_in(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "of the host")
    assert name not in clean_env()


@pytest.mark.parametrize("name", ["PATH", "HOME", "HTTPS_PROXY", "SSL_CERT_FILE"])
def test_clean_env_keeps_what_a_machine_needs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "of the host")
    assert clean_env()[name] == "of the host"


@pytest.fixture
def broken_uv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A uv that downloads nothing and installs nothing."""
    add_script(tmp_path / "bin" / "uv", "echo no network; exit 1")
    monkeypatch.setenv("MLC_LLM_TOOLCHAIN", str(tmp_path))


@pytest.mark.usefixtures("broken_uv")
def test_absent_python_that_uv_cannot_download_is_none() -> None:
    assert get_python("3.99") is None


def test_absent_python_is_told_as_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pythons = {"3.99": None, "3.10": Path(sys.executable)}
    monkeypatch.setattr(host, "choose_pythons", lambda: pythons)
    with host.cases(tmp_path, WHEEL) as cases:
        assert [case.make is None for case in cases] == [True, True, False, False]
        assert [bool(case.vulkan) for case in cases] == [False, False, False, True]
    (check,) = run_case(cases[0], "1.2.3")
    assert check.status == NOT_RUN
    assert "no Python 3.99" in check.detail


def test_this_python_stands_in_for_an_absent_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "supported_pythons", lambda: ["3.1", "3.2", "3.99"])
    monkeypatch.setattr(host, "get_python", {"3.1": None, "3.99": Path("python3.99")}.get)
    assert host.choose_pythons() == {
        "3.1": None,
        "3.99": Path("python3.99"),
        f"3.{sys.version_info.minor}": Path(sys.executable),
    }


def smoke_installed(tmp_path: Path, mlc_llm: str) -> dict[str, list[str]]:
    """Smoke-test an "installed" wheel whose command is the script `mlc_llm`; details by status."""
    add_script(tmp_path / "bin" / "python", "echo 1.2.3")
    add_script(tmp_path / "bin" / "mlc_llm", mlc_llm)
    case = Case("a label", make=lambda: HostEnvironment(tmp_path, "a label"))
    details: dict[str, list[str]] = {}
    for check in run_case(case, "1.2.3"):
        details.setdefault(check.status, []).append(check.detail)
    return details


def good_command(answer: str) -> str:
    """The body of an `mlc_llm` that knows its version, and whose model says `answer`."""
    return f"""\
case $1 in
  --version) echo mlc_llm 1.2.3 ;;
  generate) echo the memory plan >&2; printf '%s\\n' '{answer}' ;;
esac"""


TEXT = (checks.TINY / "text.txt").read_text(encoding="utf-8").strip()


def test_the_prompt_is_how_the_tiny_models_text_begins() -> None:
    assert TEXT.startswith(f"{checks.PROMPT} ")


def test_good_wheel_passes(tmp_path: Path) -> None:
    details = smoke_installed(tmp_path, good_command(TEXT[len(checks.PROMPT) :]))
    assert list(details) == [PASSED]


@pytest.mark.parametrize("answer", ["", TEXT[len(checks.PROMPT) : -1], TEXT, f"{TEXT[16:]} and on"])
def test_model_that_says_something_else_is_a_failed_check(answer: str, tmp_path: Path) -> None:
    details = smoke_installed(tmp_path, good_command(answer))
    (detail,) = details[FAILED]
    assert detail.startswith("it said: ")


def test_model_must_speak_on_every_processor(tmp_path: Path) -> None:
    add_script(tmp_path / "bin" / "mlc_llm", f"echo '{TEXT[len(checks.PROMPT) :]}'$CPU")
    processors = {"an old one": {}, "a new one": {"CPU": " and on"}}
    found = checks.check_processors(HostEnvironment(tmp_path, "a label"), processors)
    assert [(check.name, check.status) for check in found] == [
        ("smoke: an old one", PASSED),
        ("smoke: a new one", FAILED),
    ]


@pytest.mark.parametrize(
    ("wanted", "found", "reason", "status"),
    [
        (True, ["vulkan:0"], "", PASSED),
        (True, [], "no driver", FAILED),
        (False, ["vulkan:0"], "", FAILED),
        (False, [], "no loader", PASSED),
        (False, [], "", FAILED),
    ],
)
def test_state_of_vulkan_must_be_told(
    wanted: bool,  # noqa: FBT001
    found: list[str],
    reason: str,
    status: str,
    tmp_path: Path,
) -> None:
    devices = [{"id": name} for name in ("cpu", *found)]
    printed = json.dumps({"devices": devices, "vulkan_reason": reason})
    command = f"""case $1 in
      devices) echo '{printed}' ;;
      generate) echo '{TEXT[len(checks.PROMPT) :]}' ;;
    esac"""
    add_script(tmp_path / "bin" / "mlc_llm", command)
    states = [checks.VulkanState("a state", device=wanted)]
    (check,) = checks.check_vulkan(HostEnvironment(tmp_path, "a label"), states)
    assert (check.name, check.status) == ("smoke: a state", status)


def test_command_that_dies_is_a_failed_check(tmp_path: Path) -> None:
    details = smoke_installed(tmp_path, "echo undefined symbol: TVMFFI; exit 1")
    (detail,) = details[FAILED]
    assert "undefined symbol: TVMFFI" in detail


def test_wrong_version_is_a_failed_check(tmp_path: Path) -> None:
    details = smoke_installed(tmp_path, "echo mlc_llm 1.2.4")
    assert details[FAILED][0] == "mlc_llm 1.2.4"


@pytest.mark.usefixtures("broken_uv")
def test_wheel_that_does_not_install_is_a_failed_check(tmp_path: Path) -> None:
    python = Path(sys.executable)
    make = partial(host.make_environment, tmp_path, python, "a label", "oldest", WHEEL)
    (check,) = run_case(Case("a label", make=make), "1.2.3")
    assert check.status == FAILED
    assert "no network" in check.detail


def test_lane_that_nothing_here_can_run_is_told_as_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLC_LLM_LANE", "macos-arm64")
    monkeypatch.setattr(sys, "platform", "linux")
    (check,) = smoke.smoke(WHEEL)
    assert (check.name, check.status) == ("smoke: macos", NOT_RUN)
    assert "in CI macos-15" in check.detail


def test_main_fails_with_a_failed_check(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = [Check("one", PASSED, ""), Check("two", FAILED, "why")]
    monkeypatch.setattr(smoke, "smoke", lambda _: iter(found))
    assert smoke.main([str(WHEEL)]) == 1
    assert '"two", "status": "failed"' in capsys.readouterr().out


def test_hung_command_is_a_failed_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "TIMEOUT_S", 0.1)
    details = smoke_installed(tmp_path, "exec sleep 60")
    assert "TimeoutExpired" in details[FAILED][0]


def test_python_that_uv_downloads_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finds = 'case "$*" in *--quiet*) ;; *find*) echo a warning; echo /managed/python;; esac'
    add_script(tmp_path / "bin" / "uv", finds)
    monkeypatch.setenv("MLC_LLM_TOOLCHAIN", str(tmp_path))
    assert get_python("3.99") == Path("/managed/python")
