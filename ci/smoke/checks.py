"""What every environment must show: import, command, operator, model, each state of Vulkan."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from ci.checks import FAILED, NOT_RUN, PASSED, Check
from ci.paths import ROOT

TINY = ROOT / "tests" / "assets" / "tiny"
PROMPT = "The core infers."  # the first words of what the tiny model knows by heart


class Environment(Protocol):
    """A Python with the wheel and its dependencies, and nothing else, installed."""

    @property
    def label(self) -> str:
        """What the checks call it."""

    @property
    def directory(self) -> Path:
        """Its own folder, for files too."""

    def run(self, command: str, *arguments: str | Path, **variables: str) -> str:
        """Run `python` or `mlc_llm` and return what it printed; paths as that system spells them.

        Raises subprocess.CalledProcessError when it fails.
        """


@dataclass(frozen=True)
class VulkanState:
    """A state that Vulkan can be in; `unavailable` says why it cannot be had here."""

    name: str
    variables: dict[str, str] = field(default_factory=dict)
    device: bool = False
    unavailable: str = ""


def check_basics(environment: Environment, version: str) -> Iterator[Check]:
    """Import, command and operator, in one environment."""
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
    quantized = ("--quantization", "q4f16_1", "--output", model)
    environment.run("mlc_llm", "convert_weight", TINY, *quantized)
    environment.run("mlc_llm", "gen_config", TINY, *quantized, "--conv-template", "LM")
    right, detail = let_speak(environment, "cpu")
    yield Check(f"smoke: a model, {environment.label}", PASSED if right else FAILED, detail)


def let_speak(environment: Environment, device: str, **variables: str) -> tuple[bool, str]:
    """Let the tiny model continue its text on `device`; return whether it was right, and what."""
    printed = environment.run(
        *("mlc_llm", "generate", environment.directory / "tiny-q4f16_1", "--device", device),
        *("--prompt", PROMPT, "--temperature", "0", "--max-tokens", "400"),
        **variables,
    )
    answer = printed.rpartition("\n")[2]  # what goes before is of standard error
    text = (TINY / "text.txt").read_text(encoding="utf-8").strip()
    right = f"{PROMPT} {answer.strip()}" == text
    return right, f"{len(text)} characters by heart" if right else f"it said: {printed[-300:]}"


def check_processors(
    environment: Environment, processors: Mapping[str, Mapping[str, str]]
) -> Iterator[Check]:
    """Let the model speak on other processors: their names, and the variables that choose them."""
    for name, variables in processors.items():
        right, detail = let_speak(environment, "cpu", **variables)
        yield Check(f"smoke: {name}", PASSED if right else FAILED, detail)


def check_vulkan(environment: Environment, states: Iterable[VulkanState]) -> Iterator[Check]:
    """Meet `states`: the package must say in which one Vulkan is, and go on."""
    for state in states:
        name = f"smoke: {state.name}"
        if state.unavailable:
            yield Check(name, NOT_RUN, state.unavailable)
            continue
        printed = environment.run("mlc_llm", "devices", "--json", **state.variables)
        found = json.loads(printed)
        devices = [d["id"] for d in found["devices"] if d["id"] != "cpu"]
        environment.run("mlc_llm", "selftest", **state.variables)
        # Without a GPU, "auto" is the CPU.
        right, said = let_speak(environment, "vulkan" if devices else "auto", **state.variables)
        detail = found["vulkan_reason"]
        if devices:
            detail = f"selftest passed on {', '.join(devices)}; a model said {said}"
        good = right and bool(devices) == state.device and bool(detail)
        yield Check(name, PASSED if good else FAILED, detail or "no reason was given")
