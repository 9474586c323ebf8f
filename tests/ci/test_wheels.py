import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ci import images, wheels
from ci.checks import FAILED, NOT_RUN, PASSED, Check
from ci.errors import FactoryError
from ci.lanes import load_lanes
from ci.paths import ROOT
from ci.session import run_session
from ci.smoke import PREFIX
from ci.timeline import Timeline
from ci.wheels import (
    SmokeReader,
    check_space,
    choose_engine,
    choose_lanes,
    judge,
    parse_arguments,
    prepare_image,
)

LANE = load_lanes()["linux-x86_64"]
WINDOWS = load_lanes()["windows-x86_64"]
MACOS = load_lanes()["macos-arm64"]


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ci.wheels", *arguments],
        cwd=ROOT,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--lane", "amiga-68k"], r"error: there is no lane 'amiga-68k'. The lanes are linux-"),
        (["--toolchain", "system", "--engine", "podman"], "error: --toolchain system uses this"),
        (["--wheelhouse", "docs"], "which no build put there"),
        (["--wheelhouse", "README.md"], "error: README.md is not a folder."),
    ],
)
def test_wrong_words_are_refused(arguments: list[str], message: str, tmp_path: Path) -> None:
    result = run("--wheelhouse", str(tmp_path / "wheelhouse"), *arguments)
    assert result.returncode == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "wheelhouse").exists()


@pytest.mark.skipif(sys.version_info < (3, 11), reason="another message, tested below")
def test_absent_engine_is_refused(tmp_path: Path) -> None:
    git = Path(subprocess.check_output(["which", "git"], text=True).strip())
    (tmp_path / "git").symlink_to(git)
    options = ("--engine", "podman", "--wheelhouse", str(tmp_path / "wheelhouse"))
    result = run("--lane", "linux-x86_64", *options, PATH=str(tmp_path))
    assert result.returncode == 1
    assert "podman cannot be used: podman is not installed" in result.stderr
    assert "--engine host" in result.stderr


def test_image_for_the_host_is_refused(tmp_path: Path) -> None:
    image = f"ghcr.io/owner/name@sha256:{'0' * 64}"
    options = ("--lane", "linux-x86_64", "--engine", "host", "--image", image)
    result = run(*options, "--wheelhouse", str(tmp_path / "wheelhouse"))
    assert result.returncode == 1
    assert "--image names what a container is made of" in result.stderr


def answering(*names: str) -> Callable[[str], str]:
    return lambda engine: "" if engine in names else f"{engine} is not installed"


@pytest.mark.parametrize(
    ("answers", "chosen"),
    [(("podman", "docker"), "podman"), (("docker",), "docker"), ((), "host")],
)
def test_best_answering_engine_is_chosen(
    answers: tuple[str, ...], chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 11))
    monkeypatch.setattr(images, "engine_problem", answering(*answers))
    assert choose_engine(LANE, "auto") == chosen


def test_python_too_old_for_cibuildwheel_builds_on_the_host(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 10))
    monkeypatch.setattr(images, "engine_problem", answering("podman"))
    assert choose_engine(LANE, "auto") == "host"
    with pytest.raises(FactoryError, match=r"podman cannot be used: cibuildwheel needs Python 3"):
        choose_engine(LANE, "podman")


@pytest.fixture
def broken_podman(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let podman hold every image and start none."""

    def refuse(*_: object) -> None:
        raise FactoryError("podman cannot start a container: no rlimits.")

    image = images.ImageRef("tag", "sha256:1")
    monkeypatch.setattr(images, "ensure_image", lambda *_: image)
    monkeypatch.setattr(images, "pull_image", lambda *_: image)
    monkeypatch.setattr(images, "check_start", refuse)


@pytest.mark.usefixtures("broken_podman")
def test_container_that_cannot_start_leaves_the_build_to_the_host(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prepare_image("podman", parse_arguments([]), tmp_path / "log") == ("host", None)
    assert "Building on the host, same steps and same bytes" in capsys.readouterr().out


@pytest.mark.usefixtures("broken_podman")
@pytest.mark.parametrize("asked", [["--engine", "podman"], ["--image", "name@sha256:1"]])
def test_container_that_was_asked_for_must_start(asked: list[str], tmp_path: Path) -> None:
    with pytest.raises(FactoryError, match="cannot start a container"):
        prepare_image("podman", parse_arguments(asked), tmp_path / "log")


def test_system_compiler_is_the_hosts() -> None:
    assert choose_engine(LANE, "auto", system_compiler=True) == "host"
    with pytest.raises(FactoryError, match="which no container has"):
        choose_engine(LANE, "podman", system_compiler=True)


@pytest.mark.parametrize(
    ("machine", "system", "chosen"),
    [
        ("x86_64", "linux", ("cross", "cross")),
        ("AMD64", "win32", ("native", "cross")),
        ("ARM64", "win32", ("cross", "cross")),
        ("arm64", "darwin", ("cross", "native")),
    ],
)
def test_cross_lane_is_built_where_we_are(
    machine: str, system: str, chosen: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setattr(sys, "platform", system)
    assert tuple(choose_engine(lane, "podman") for lane in (WINDOWS, MACOS)) == chosen


def test_only_linux_builds_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def choose(**options: bool) -> list[str]:
        return [lane.id for lane in choose_lanes(None, **options)]

    monkeypatch.setattr("platform.machine", lambda: "AMD64")
    monkeypatch.setattr(sys, "platform", "win32")
    assert choose() == choose(system_compiler=True) == ["windows-x86_64"]
    monkeypatch.setattr(sys, "platform", "linux")
    assert choose() == list(load_lanes())
    assert choose(system_compiler=True) == ["linux-x86_64"]


def test_small_disk_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wheels, "FREE_BYTES", 10**18)
    with pytest.raises(FactoryError, match=r"GB free, and a build needs up to.*Do this\."):
        check_space(tmp_path / "not yet there", "Do this.")


def outcome(name: str, status: str) -> str:
    return PREFIX + json.dumps({"name": name, "status": status, "detail": ""})


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [
        (NOT_RUN, PASSED, PASSED),
        (PASSED, NOT_RUN, PASSED),
        (FAILED, PASSED, FAILED),
        (PASSED, FAILED, FAILED),
        (NOT_RUN, NOT_RUN, NOT_RUN),
    ],
)
def test_outcomes_of_two_places_are_merged(first: str, second: str, kept: str) -> None:
    reader = SmokeReader(Timeline())
    for status in (first, second):
        assert reader.read("some prefix of cibuildwheel: " + outcome("smoke: a", status))
    assert not reader.read("some other line")
    assert reader.checks["smoke: a"].status == kept


@pytest.mark.parametrize(
    ("statuses", "message"),
    [
        ([PASSED, FAILED], "1 of 2 checks did not pass"),
        ([NOT_RUN], "no smoke test ran"),
        ([], "no smoke test ran"),
    ],
)
def test_bad_outcomes_stop_the_wheel(statuses: list[str], message: str, tmp_path: Path) -> None:
    checks = [Check(f"smoke: {i}", status, "") for i, status in enumerate(statuses)]
    with pytest.raises(FactoryError, match=message):
        judge(tmp_path / "some.whl", checks, LANE, tmp_path / "log")


def test_wheel_of_another_platform_need_not_run_here(tmp_path: Path) -> None:
    judge(tmp_path / "some.whl", [Check("smoke: a", NOT_RUN, "")], WINDOWS, tmp_path / "log")
    with pytest.raises(FactoryError, match="no smoke test ran"):
        judge(tmp_path / "some.whl", [Check("size", PASSED, "")], WINDOWS, tmp_path / "log")


def test_every_check_is_wanted_where_one_can_run(tmp_path: Path) -> None:
    checks = [Check("smoke: a", NOT_RUN, "no Wine"), Check("smoke: b", PASSED, "")]
    judge(tmp_path / "some.whl", checks, MACOS, tmp_path / "log", every=True)
    with pytest.raises(FactoryError, match=r"(?s)1 of 2 .* did not pass.*a: not run, no Wine"):
        judge(tmp_path / "some.whl", checks, WINDOWS, tmp_path / "log", every=True)


def test_good_outcomes_let_the_wheel_pass(tmp_path: Path) -> None:
    judge(tmp_path / "some.whl", [Check("smoke: a", PASSED, "")], LANE, tmp_path / "log")


def test_help_teaches() -> None:
    result = run("--help")
    assert result.returncode == 0
    for word in ("--lane", "--engine", "--toolchain", "wheelhouse"):
        assert word in result.stdout


def test_interrupt_leaves_the_wheelhouse_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(wheels, "build_lane", interrupt)
    monkeypatch.setattr(sys, "argv", ["wheels", "--wheelhouse", str(tmp_path / "wheelhouse")])
    with pytest.raises(SystemExit) as stopped:
        run_session(wheels.main)
    assert stopped.value.code == 130
    assert "interrupted" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
