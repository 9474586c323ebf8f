import os
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ci import engines, shell
from ci.engines import (
    Job,
    check_host,
    clean_environ,
    container_arguments,
    fill,
    host_env,
    remove_containers,
    unpack,
)
from ci.errors import FactoryError
from ci.images import ImageRef
from ci.lanes import load_lanes
from ci.toolchain import Toolchain

LANE = load_lanes()["linux-x86_64"]


@pytest.fixture
def job(tmp_path: Path) -> Job:
    sdist = tmp_path / "mlc_llm-1.2.3.tar.gz"
    return Job(LANE, sdist, tmp_path, tmp_path / "log", 1_700_000_000, lambda _line: None)


def test_hermetic_build_sees_no_program_of_the_host(job: Job, tmp_path: Path) -> None:
    toolchain = Toolchain(tmp_path / "toolchain", "d" * 64)
    env = host_env(job, toolchain, tmp_path / "src", system_compiler=False)
    folders = env["PATH"].split(os.pathsep)
    assert all(Path(folder).is_relative_to(tmp_path) for folder in folders)
    assert (Path(folders[0]) / "python").exists()


@pytest.mark.parametrize("variable", ["CXX", "CXXFLAGS", "CMAKE_ARGS", "PYTHONPATH", "LD_PRELOAD"])
def test_hermetic_build_ignores_the_hosts_flags(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "from the host")
    toolchain = Toolchain(tmp_path / "toolchain", "d" * 64)
    env = host_env(job, toolchain, tmp_path / "src", system_compiler=False)
    assert "from the host" not in env.values()


def test_systems_compiler_may_be_named(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "clang++-14")
    toolchain = Toolchain(tmp_path / "toolchain", "d" * 64)
    env = host_env(job, toolchain, tmp_path / "src", system_compiler=True)
    assert env["CXX"] == "clang++-14"


def test_source_is_unpacked_where_the_version_does_not_show(job: Job, tmp_path: Path) -> None:
    top = tmp_path / "mlc_llm-1.2.3"
    top.mkdir()
    (top / "CMakeLists.txt").touch()
    with tarfile.open(job.sdist, "w:gz") as archive:
        archive.add(top, arcname=top.name)
    source = unpack(job.sdist, tmp_path / "src")
    assert source == tmp_path / "src"
    assert [path.name for path in source.iterdir()] == ["CMakeLists.txt"]


def test_paths_reach_the_shell_whole(tmp_path: Path) -> None:
    wheel = tmp_path / "it's $(echo here)" / "a b.whl"
    command = fill("printf %s {wheel}", {"wheel": wheel})
    assert subprocess.check_output(command, text=True) == str(wheel)


def test_foreign_machine_cannot_be_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    with pytest.raises(FactoryError, match=r"\(arm64, linux\) cannot build.*docker or podman"):
        check_host(LANE)


@pytest.mark.parametrize("name", ["CIBW_TEST_SKIP", "SETUPTOOLS_SCM_PRETEND_VERSION", "CMAKE_ARGS"])
def test_tools_take_no_settings_from_the_environment(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "1")
    assert name not in clean_environ()


def test_proxy_reaches_the_container(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    assert "--env=HTTPS_PROXY" in container_arguments()


def test_certificates_of_the_host_reach_the_container(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/certificates.pem")
    assert "--volume=/certificates.pem:/opt/mlc_llm/ca.pem:ro" in container_arguments()
    monkeypatch.delenv("SSL_CERT_FILE")
    assert not any("ca.pem" in word for word in container_arguments())


def test_containers_of_an_interrupted_build_are_removed(tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    engine = tmp_path / "engine"
    engine.write_text(f'#!/bin/sh\necho "$@" >> {calls}\n[ "$1" != ps ] || echo one two\n')
    engine.chmod(0o755)
    remove_containers(str(engine), "mlc_llm.build=1")
    assert calls.read_text().splitlines() == [
        "ps --all --quiet --filter=label=mlc_llm.build=1",
        "rm --force one two",
    ]


def test_interrupt_of_a_container_build_cleans_up(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    removed: list[str] = []

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(engines, "run_logged", interrupt)
    monkeypatch.setattr(engines, "remove_containers", lambda engine, _label: removed.append(engine))
    with pytest.raises(KeyboardInterrupt):
        engines.build_in_container(job, ImageRef("tag", "sha256:1"), "podman")
    assert removed == ["podman"]


@pytest.mark.parametrize("wanted", [False, True])
def test_container_is_kept_for_a_shell_that_is_wanted(
    wanted: bool,  # noqa: FBT001
    job: Job,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done: list[str] = []

    def fail(*_: object, env: dict[str, str], on_failure: Callable[[], None], **__: object) -> None:
        assert ("CIBW_DEBUG_KEEP_CONTAINER" in env) == wanted
        if wanted:
            on_failure()
        raise FactoryError("it failed")

    def open_shell(engine: str, container: str, cwd: str, env: dict[str, str]) -> None:
        assert env["PYTHONPATH"] == "/opt/mlc_llm/toolchain:/project"
        done.append(f"shell in {container} of {engine}, in {cwd}")

    monkeypatch.setattr(engines, "run_logged", fail)
    monkeypatch.setattr(engines, "find_containers", lambda *_: ["c1"])
    monkeypatch.setattr(engines, "remove_containers", lambda *_: done.append("removed"))
    monkeypatch.setattr(shell, "open_container_shell", open_shell)
    monkeypatch.setattr(shell, "wanted", lambda: wanted)
    with pytest.raises(FactoryError):
        engines.build_in_container(job, ImageRef("tag", "sha256:1"), "podman")
    assert done == ["shell in c1 of podman, in /project"] * wanted + ["removed"]


@pytest.mark.parametrize("system_compiler", [False, True])
def test_system_compiler_also_runs_the_cores_tests(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, system_compiler: bool
) -> None:
    steps: dict[str, list[str]] = {}

    def run_logged(command: list[Any], *, phase: str, env: dict[str, str], **_: object) -> None:
        steps[phase] = list(map(str, command))
        assert ("SYSTEMROOT" in env) == system_compiler
        for step, folder in (("build", "raw"), ("repair", "repaired")):
            if phase == step:
                (tmp_path / folder).mkdir(exist_ok=True)
                (tmp_path / folder / "some.whl").touch()

    monkeypatch.setattr(engines, "run_logged", run_logged)
    monkeypatch.setattr(engines, "unpack", lambda _sdist, folder: folder)
    monkeypatch.setenv("SYSTEMROOT", "what Visual Studio needs")
    toolchain = Toolchain(tmp_path / "toolchain", "d" * 64)
    engines.build_on_host(job, toolchain, system_compiler=system_compiler)
    tests = ["ctest"] if system_compiler else []
    assert list(steps) == ["build", *tests, "repair", "smoke"]
    build = " ".join(steps["build"])
    assert ("MLC_LLM_BUILD_TESTS=ON" in build) == system_compiler
    assert ("zig.cmake" in build) != system_compiler
    for command in (steps[name] for name in tests):
        folder = command[command.index("--test-dir") + 1]
        assert f"build-dir={folder}" in build


def test_failing_cpp_tests_are_named(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_logged(_: object, *, phase: str, **__: object) -> None:
        if phase == "ctest":
            log = tmp_path / "src/build/cmake/Testing/Temporary/LastTestsFailed.log"
            log.parent.mkdir(parents=True)
            log.write_text("7:json\n")
            raise FactoryError("it failed.")
        (tmp_path / "raw").mkdir()
        (tmp_path / "raw" / "some.whl").touch()

    monkeypatch.setattr(engines, "run_logged", run_logged)
    monkeypatch.setattr(engines, "unpack", lambda _sdist, folder: folder)
    with pytest.raises(FactoryError) as caught:
        engines.build_on_host(job, Toolchain(tmp_path, "d" * 64), system_compiler=True)
    assert caught.value.failed == ["json"]
