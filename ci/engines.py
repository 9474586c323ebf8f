"""The ways from an sdist to a tested wheel: cibuildwheel, in a container or not, or the host.

All read `[tool.cibuildwheel]` in pyproject.toml: the host takes the same steps in the same order,
with the same toolchain, and gives the same bytes, for its own platform and for others.
"""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import subprocess
import sys
import tarfile
import venv
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ci import shell
from ci.errors import FactoryError
from ci.failed_tests import failed_in_ctest
from ci.images import ImageRef
from ci.lanes import Lane
from ci.paths import PROGRAMS, ROOT
from ci.process import run_logged
from ci.toml import read_toml
from ci.toolchain import Toolchain, toolchain_env

# How this machine reaches the network: host builds and containers alike need it.
NETWORK = (
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
    *("http_proxy", "https_proxy", "all_proxy", "no_proxy"),
    *("PIP_INDEX_URL", "UV_INDEX_URL", "UV_DEFAULT_INDEX", "UV_HTTP_RETRIES"),
)
# What else a host build may see of the environment.
KEPT = (
    *("HOME", "TMPDIR", "LANG", "XDG_CACHE_HOME", "UV_CACHE_DIR", "SSL_CERT_FILE", "PIP_CERT"),
    *("PYENV_ROOT", "UV_PYTHON_INSTALL_DIR", "MLC_LLM_CACHE"),
)
# Settings of the tools that a build runs: they come from pyproject.toml alone.
SETTINGS = ("CIBW_", "CMAKE_", "PYTHON", "SETUPTOOLS_SCM_", "SKBUILD_", "SOURCE_DATE_EPOCH")


@dataclass(frozen=True)
class Job:
    """One wheel to make: `work` is the lane's own folder, `repaired` where the wheel ends."""

    lane: Lane
    sdist: Path
    work: Path
    log: Path
    epoch: int
    on_line: Callable[[str], bool | None]

    @property
    def repaired(self) -> Path:
        """The folder of the repaired wheel."""
        return self.work / "repaired"


def build_in_container(job: Job, image: ImageRef, engine: str) -> None:
    """Run cibuildwheel on the sdist, in `image`, with docker or podman."""
    label = f"mlc_llm.build={os.getpid()}"
    create = shlex.join([f"--label={label}", *container_arguments()])
    env = {
        **clean_environ(),
        **lane_variables(job),
        "CIBW_CONTAINER_ENGINE": f"{engine}; create_args: {create}",
        "CIBW_MANYLINUX_X86_64_IMAGE": image.address,
    }
    if shell.wanted():
        env["CIBW_DEBUG_KEEP_CONTAINER"] = "1"
    try:
        run_logged(
            [
                *(sys.executable, "-m", "cibuildwheel", job.sdist, "--output-dir", job.repaired),
                *("--only", job.lane.cibuildwheel),
            ],
            log=job.log,
            lane=job.lane.id,
            phase=f"cibuildwheel with {engine}",
            cwd=job.work,
            env=env,
            on_line=job.on_line,
            on_failure=lambda: open_container_shell(job, engine, label),
        )
    finally:
        remove_containers(engine, label)


def open_container_shell(job: Job, engine: str, label: str) -> None:
    """Open a shell in the container that cibuildwheel has kept, as its own steps see it."""
    env = lane_variables(job) | {"PYTHONPATH": "/opt/mlc_llm/toolchain:/project"}
    for container in find_containers(engine, label):
        shell.open_container_shell(engine, container, "/project", env)


def find_containers(engine: str, label: str) -> list[str]:
    """Return the containers with `label`, running or not."""
    listed = [engine, "ps", "--all", "--quiet", f"--filter=label={label}"]
    return subprocess.run(listed, capture_output=True, text=True, check=False).stdout.split()


def remove_containers(engine: str, label: str) -> None:
    """Remove what an interrupted cibuildwheel leaves: it lets a busy container run on."""
    if found := find_containers(engine, label):
        subprocess.run([engine, "rm", "--force", *found], capture_output=True, check=False)


def container_arguments() -> list[str]:
    """Volumes that keep compiled objects and downloads, and the host's own certificates."""
    objects = os.environ.get("MLC_LLM_OBJECTS", "mlc_llm-objects")
    arguments = [
        f"--volume={objects}:/opt/mlc_llm/objects",
        "--volume=mlc_llm-uv:/opt/mlc_llm/uv",
        "--env=ZIG_LOCAL_CACHE_DIR=/opt/mlc_llm/objects",
        "--env=UV_CACHE_DIR=/opt/mlc_llm/uv",
    ]
    arguments += [f"--env={name}" for name in NETWORK if name in os.environ]
    if bundle := os.environ.get("SSL_CERT_FILE"):
        inside = "/opt/mlc_llm/ca.pem"
        arguments += [f"--volume={bundle}:{inside}:ro"]
        arguments += [f"--env={name}={inside}" for name in ("SSL_CERT_FILE", "PIP_CERT")]
    return arguments


def build_natively(job: Job, toolchain: Toolchain) -> None:
    """Run cibuildwheel without a container, on the lane's own kind of machine."""
    source = unpack(job.sdist, job.work / "src")
    run_logged(
        [
            *(sys.executable, "-m", "cibuildwheel", source, "--output-dir", job.repaired),
            # Another CPython than this one could not load what the toolchain has compiled.
            *("--only", f"cp{sys.version_info[0]}{sys.version_info[1]}-{job.lane.own_tag}"),
        ],
        log=job.log,
        lane=job.lane.id,
        phase="cibuildwheel",
        cwd=source,
        env={
            **clean_environ(),
            **lane_variables(job),
            **toolchain_env(toolchain, job.lane),
            "MLC_LLM_SOURCE": os.fspath(source),
            "MLC_LLM_TVM_FFI": os.fspath(toolchain.directory),
        },
        on_line=job.on_line,
    )


def build_on_host(
    job: Job, toolchain: Toolchain, *, tvm_ffi: Path | None = None, system_compiler: bool = False
) -> None:
    """Take cibuildwheel's steps here, with zig or with the compiler that CMake finds on PATH.

    `tvm_ffi` is the folder of the lane's own, where the lane is for another platform than this.
    """
    table = read_toml(ROOT / "pyproject.toml")["tool"]["cibuildwheel"]
    source = unpack(job.sdist, job.work / "src")
    raw = job.work / "raw"
    env = host_env(job, toolchain, source, system_compiler=system_compiler)
    if tvm_ffi:
        env |= cross_variables(job.lane, tvm_ffi)
    settings = dict(table["config-settings"])
    if system_compiler:
        del settings["cmake.toolchain-file"], settings["cmake.args"]
        settings["cmake.define.MLC_LLM_BUILD_TESTS"] = "ON"
    build = ["build", source, "--wheel", f"--outdir={raw}", *table["build-frontend"]["args"]]
    for key, value in settings.items():
        build.append(f"--config-setting={key}={value.format(project=source)}")

    def step(phase: str, command: list[str | Path]) -> None:
        program, *words = command
        run_logged(
            [shutil.which(program, path=env["PATH"]) or program, *words],
            log=job.log,
            lane=job.lane.id,
            phase=phase,
            cwd=source,
            env=env,
            on_line=job.on_line,
        )

    step("build", ["python", "-m", *build])
    wheels = sorted(raw.glob("*.whl"))
    if len(wheels) != 1:
        raise FactoryError(
            f"the build left {len(wheels)} wheels instead of one.", lane=job.lane.id, log=job.log
        )
    if system_compiler:
        job.on_line("Testing the core...")
        # Visual Studio's build folders hold several configurations.
        cmake = source / "build" / "cmake"
        tests = ("--test-dir", cmake, "--build-config", "Release", "--output-on-failure")
        try:
            step("ctest", [toolchain.ctest, *tests, "--parallel", f"{os.cpu_count()}"])
        except FactoryError as error:
            error.failed = failed_in_ctest(cmake)
            raise
    words = {"project": source, "package": source, "dest_dir": job.repaired}
    job.repaired.mkdir()
    job.on_line("Repairing wheel...")
    step("repair", fill(table["repair-wheel-command"], words | {"wheel": wheels[0]}))
    (repaired,) = job.repaired.glob("*.whl")
    job.on_line("Testing wheel...")
    env["PATH"] += os.pathsep + os.environ["PATH"]  # any Python here may test the wheel
    step("smoke", fill(table["test-command"], words | {"wheel": repaired}))


def fill(command: str, words: Mapping[str, Path]) -> list[str | Path]:
    """Return the shell command that a step of `[tool.cibuildwheel]` becomes with `words` in it."""
    quoted = {name: shlex.quote(os.fspath(word)) for name, word in words.items()}
    shell = "/bin/sh" if os.name == "posix" else "sh"  # which git brings to Windows
    return [shell, "-c", command.format(**quoted)]


def cross_variables(lane: Lane, tvm_ffi: Path) -> dict[str, str]:
    """Return what makes the back end and CMake build for the lane's platform, not for this one."""
    return {"_PYTHON_HOST_PLATFORM": lane.python_platform, "MLC_LLM_TVM_FFI": os.fspath(tvm_ffi)}


def runs_here(lane: Lane) -> bool:
    """Whether this machine's own Python and kernel are the lane's."""
    processor, system = platform.machine().lower(), sys.platform
    return (lane.processor, lane.system) == (
        {"amd64": "x86_64", "arm64": "aarch64"}.get(processor, processor),
        {"win32": "windows", "darwin": "macos"}.get(system, system),
    )


def can_run(lane: Lane) -> bool:
    """Whether a machine like this one can run the lane's wheels, by itself or by what stands in."""
    return runs_here(lane) or bool(lane.stand_in)


def check_host(lane: Lane) -> None:
    """Raise FactoryError on a machine that cannot build or test the lane's wheel by itself."""
    if not runs_here(lane):
        raise FactoryError(
            f"this machine ({platform.machine()}, {sys.platform}) cannot build or test "
            f"{lane.platform} wheels by itself.",
            hint="Start docker or podman, and build in a container.",
            lane=lane.id,
        )


def clean_environ() -> dict[str, str]:
    """Return this process's environment without settings of the tools that a build runs."""
    return {name: value for name, value in os.environ.items() if not name.startswith(SETTINGS)}


def test_on_host(job: Job, toolchain: Toolchain) -> None:
    """Smoke-test a container's wheel here too: a build image has no Vulkan, a host may."""
    (wheel,) = job.repaired.glob("*.whl")
    run_logged(
        [sys.executable, "-m", "ci.smoke", wheel],
        log=job.log,
        lane=job.lane.id,
        phase="smoke on the host",
        cwd=ROOT,
        env=clean_environ() | toolchain_env(toolchain, job.lane),
        on_line=job.on_line,
    )


def lane_variables(job: Job) -> dict[str, str]:
    """Return what the steps need to know of the lane."""
    return {
        "MLC_LLM_LANE": job.lane.id,
        "MLC_LLM_ZIG_TARGET": job.lane.zig_target,
        "MLC_LLM_ZIG_CPU": job.lane.cpu,
        "SOURCE_DATE_EPOCH": str(job.epoch),
    }


def host_env(
    job: Job, toolchain: Toolchain, source: Path, *, system_compiler: bool
) -> dict[str, str]:
    """Return a build environment in which nothing of the host's but Python is found.

    For the system's compiler all of it is, but the settings of our tools.
    """
    python = job.work / "python"
    venv.create(python, symlinks=os.name == "posix")
    env = clean_environ()
    if not system_compiler:
        env = {name: env[name] for name in (*KEPT, *NETWORK) if name in env}
    env |= lane_variables(job) | toolchain_env(toolchain, job.lane)
    env["PYTHONDONTWRITEBYTECODE"] = "1"
    env["PYTHONPATH"] = os.pathsep.join(map(os.fspath, (toolchain.directory, source)))
    path = [os.fspath(python / PROGRAMS), *map(os.fspath, toolchain.programs)]
    if system_compiler:
        path.append(os.environ["PATH"])
        env["MLC_LLM_PLATFORM"] = "auto"
    env["PATH"] = os.pathsep.join(path)
    return env


def unpack(sdist: Path, directory: Path) -> Path:
    """Unpack `sdist` as `directory`: its own top folder's name changes with every commit."""
    staging = directory.with_suffix(".tar")
    with tarfile.open(sdist) as archive:
        # Pythons before 3.10.12 and 3.11.4 know no filters; this is our own sdist either way.
        archive.extraction_filter = getattr(tarfile, "data_filter", lambda member, _path: member)
        archive.extractall(staging)  # noqa: S202
    (top,) = staging.iterdir()
    return top.rename(directory)
