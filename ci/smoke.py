"""Smoke tests of a final wheel in clean environments: `python -m ci.smoke WHEEL`.

Every combination of the oldest and newest supported Python with the oldest and newest
apache-tvm-ffi gets a fresh environment outside the checkout; the last of them also meets every
state that Vulkan can be in. Each outcome is one line, `smoke: {json}`, which ci/wheels.py reads
from whichever engine ran it. Exits 1 when a check failed.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from ci.checks import FAILED, NOT_RUN, PASSED, Check
from ci.paths import LOCKS, ROOT
from ci.pythons import find_python, supported_pythons

PREFIX = "smoke: "
LOCK_OF = {"oldest": LOCKS / "smoke-oldest.txt", "newest": LOCKS / "smoke-newest.txt"}
LAVAPIPE = sorted(Path("/usr/share/vulkan/icd.d").glob("lvp_icd*.json"))
TINY = ROOT / "tests" / "assets" / "tiny"
PROMPT = "The core infers."  # the first words of what the tiny model knows by heart
TIMEOUT_S = 300


@dataclass(frozen=True)
class Environment:
    """A virtual environment with the wheel in it."""

    directory: Path
    label: str

    def run(self, command: str, *arguments: str, **variables: str) -> str:
        """Run one of the environment's commands from its own folder; return what it printed.

        Raises subprocess.CalledProcessError when it fails.
        """
        program = self.directory / "bin" / command
        return run_cleanly([program, *arguments], cwd=self.directory, **variables)


def clean_env() -> dict[str, str]:
    """Return this process's environment without what could reach into a clean one."""
    unwanted = ("PYTHON", "VIRTUAL_ENV", "VK_", "MLC_LLM_", "LD_")
    return {k: v for k, v in os.environ.items() if not k.startswith(unwanted)}


def run_cleanly(command: list[str | Path], *, cwd: Path | None = None, **variables: str) -> str:
    """Run `command` with `variables` in a clean environment and return what it printed.

    Raises subprocess.CalledProcessError when it fails.
    """
    result = subprocess.run(
        command,
        cwd=cwd,
        env=clean_env() | variables,
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT_S,
    )
    return result.stdout.strip()


def uv(*arguments: str | Path) -> str:
    """Run the toolchain's uv and return what it printed.

    Raises subprocess.CalledProcessError when it fails.
    """
    program = Path(os.environ["MLC_LLM_TOOLCHAIN"]) / "bin" / "uv"
    options = ("--no-progress", "--no-config")
    return run_cleanly([program, *options, *arguments], UV_HTTP_RETRIES="1")


def get_python(version: str) -> Path | None:
    """Return an interpreter of `version`: one that is here, else one that uv can download."""
    if here := find_python(version):
        return here
    with contextlib.suppress(subprocess.CalledProcessError, subprocess.TimeoutExpired):
        uv("python", "install", version)
        return Path(uv("python", "find", "--managed-python", version).splitlines()[-1])
    return None


def make_environment(
    directory: Path, python: Path, label: str, tvm_ffi: str, wheel: Path
) -> Environment:
    """Create an environment for `python`, the locked dependencies and `wheel`, checked by pip."""
    interpreter = directory / "bin" / "python"
    uv("venv", "--python", python, directory)
    uv("pip", "install", "--python", interpreter, "--require-hashes", "-r", LOCK_OF[tvm_ffi])
    uv("pip", "install", "--python", interpreter, "--no-deps", wheel)
    uv("pip", "check", "--python", interpreter)
    return Environment(directory, label)


def check_basics(environment: Environment, version: str) -> Iterator[Check]:
    """Import, console script and operator, in one environment."""
    shows_version = "import mlc_llm; print(mlc_llm.__version__)"
    for name, expected, command in (
        ("import", version, ("python", "-I", "-c", shows_version)),
        ("console script", f"mlc_llm {version}", ("mlc_llm", "--version")),
    ):
        printed = environment.run(*command)
        status = PASSED if printed == expected else FAILED
        yield Check(f"smoke: {name}, {environment.label}", status, printed)
    environment.run("mlc_llm", "selftest", "--device", "cpu")
    yield Check(f"smoke: selftest, {environment.label}", PASSED, "cpu agrees with NumPy")


def check_model(environment: Environment) -> Iterator[Check]:
    """From safetensors to text: a tiny model, converted to 4 bits, must say what it has learnt."""
    model = environment.directory / "tiny-q4f16_1"
    quantized = ("--quantization", "q4f16_1", "--output", f"{model}")
    environment.run("mlc_llm", "convert_weight", f"{TINY}", *quantized)
    environment.run("mlc_llm", "gen_config", f"{TINY}", *quantized, "--conv-template", "LM")
    printed = environment.run(
        *("mlc_llm", "generate", f"{model}", "--prompt", PROMPT),
        *("--temperature", "0", "--max-tokens", "400"),
    )
    answer = printed.rpartition("\n")[2]  # what goes before is of standard error
    text = (TINY / "text.txt").read_text(encoding="utf-8").strip()
    right = f"{PROMPT} {answer.strip()}" == text
    detail = f"{len(text)} characters by heart" if right else f"it said: {printed[-300:]}"
    yield Check(f"smoke: a model, {environment.label}", PASSED if right else FAILED, detail)


def check_vulkan(environment: Environment) -> Iterator[Check]:
    """Meet every state that Vulkan can be in: the package must say which, and go on."""
    empty = environment.directory / "no-drivers"
    empty.mkdir()
    loader_missing = not has_vulkan_loader()
    for name, variables, wanted, unavailable in (
        (
            "no Vulkan loader",
            {} if loader_missing else {"MLC_LLM_VULKAN_LOADER": str(empty / "none")},
            False,
            "",
        ),
        (
            "a Vulkan loader and no device",
            {"VK_DRIVER_FILES": str(empty), "VK_ICD_FILENAMES": str(empty)},
            False,
            "this machine has no Vulkan loader" if loader_missing else "",
        ),
        (
            "Mesa lavapipe",
            {"VK_DRIVER_FILES": f"{LAVAPIPE[0]}", "VK_ICD_FILENAMES": f"{LAVAPIPE[0]}"}
            if LAVAPIPE
            else {},
            True,
            "" if LAVAPIPE and not loader_missing else "this machine has no Mesa lavapipe",
        ),
    ):
        if unavailable:
            yield Check(f"smoke: {name}", NOT_RUN, unavailable)
            continue
        found = json.loads(environment.run("mlc_llm", "devices", "--json", **variables))
        devices = [d["id"] for d in found["devices"] if d["id"] != "cpu"]
        environment.run("mlc_llm", "selftest", **variables)
        detail = f"selftest passed on {', '.join(devices)}" if devices else found["vulkan_reason"]
        good = bool(devices) == wanted and bool(detail)
        yield Check(f"smoke: {name}", PASSED if good else FAILED, detail or "no reason was given")


def has_vulkan_loader() -> bool:
    """Whether the dynamic linker finds libvulkan.so.1 (asked in a process of its own)."""
    probe = [sys.executable, "-c", "import ctypes; ctypes.CDLL('libvulkan.so.1')"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


def smoke_one(
    root: Path, wheel: Path, python: str, interpreter: Path | None, tvm_ffi: str, *, vulkan: bool
) -> list[Check]:
    """All checks of one environment; whatever goes wrong becomes a failed check."""
    label = f"python {python}, {tvm_ffi} apache-tvm-ffi"
    if interpreter is None:
        detail = f"this machine has no Python {python}, and uv could not download one"
        return [Check(f"smoke: {label}", NOT_RUN, detail)]
    checks: list[Check] = []
    try:
        directory = root / f"{python}-{tvm_ffi}"
        environment = make_environment(directory, interpreter, label, tvm_ffi, wheel)
        checks += check_basics(environment, wheel.name.split("-")[1])
        checks += check_model(environment)
        if vulkan:
            checks += check_vulkan(environment)
    except subprocess.CalledProcessError as error:
        command = " ".join(map(str, error.cmd[:6]))
        detail = f"`{command}` failed: {str(error.output).strip()[-1500:]}"
        checks.append(Check(f"smoke: {label}", FAILED, detail))
    except (subprocess.TimeoutExpired, ValueError, KeyError) as error:
        checks.append(Check(f"smoke: {label}", FAILED, f"{type(error).__name__}: {error}"))
    return checks


def choose_pythons() -> dict[str, Path | None]:
    """Return the oldest and newest supported Python; this one too if either is missing."""
    supported = supported_pythons()
    pythons = {version: get_python(version) for version in (supported[0], supported[-1])}
    if None in pythons.values():
        pythons[f"{sys.version_info.major}.{sys.version_info.minor}"] = Path(sys.executable)
    return pythons


def smoke(wheel: Path) -> Iterator[Check]:
    """Run every combination, two at a time; yield the outcomes in a fixed order."""
    pythons = choose_pythons()
    combinations = [(*python, tvm_ffi) for python in pythons.items() for tvm_ffi in LOCK_OF]
    last = [combination for combination in combinations if combination[1]][-1]
    with (
        tempfile.TemporaryDirectory(prefix="mlc_llm-smoke-") as root,
        ThreadPoolExecutor(2) as pool,
    ):

        def smoke_combination(combination: tuple[str, Path | None, str]) -> list[Check]:
            return smoke_one(Path(root), wheel, *combination, vulkan=combination == last)

        for checks in pool.map(smoke_combination, combinations):
            yield from checks


def main(arguments: list[str]) -> int:
    """Smoke-test the wheel that `arguments` names."""
    (wheel,) = arguments
    failed = False
    for check in smoke(Path(wheel).resolve()):
        print(PREFIX + json.dumps(asdict(check)), flush=True)
        failed = failed or check.status == FAILED
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
