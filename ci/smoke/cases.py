"""Running the cases of a machine: each makes its environment and meets the checks there."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from ci.checks import FAILED, NOT_RUN, Check
from ci.smoke.checks import (
    Environment,
    VulkanState,
    check_basics,
    check_model,
    check_processors,
    check_vulkan,
)


@dataclass(frozen=True)
class Case:
    """An environment to be made, or the reason why this machine cannot."""

    label: str
    reason: str = ""
    make: Callable[[], Environment] | None = None
    vulkan: Sequence[VulkanState] = ()
    processors: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def run_case(case: Case, version: str) -> list[Check]:
    """Return all checks of one case; whatever goes wrong becomes a failed check."""
    if case.make is None:
        return [Check(f"smoke: {case.label}", NOT_RUN, case.reason)]
    checks: list[Check] = []
    try:
        environment = case.make()
        checks += check_basics(environment, version)
        checks += check_model(environment)
        checks += check_processors(environment, case.processors)
        checks += check_vulkan(environment, case.vulkan)
    except subprocess.CalledProcessError as error:
        command = " ".join(map(str, error.cmd[:6]))
        detail = f"`{command}` failed: {str(error.output).strip()[-1500:]}"
        checks.append(Check(f"smoke: {case.label}", FAILED, detail))
    except (subprocess.TimeoutExpired, OSError, ValueError, KeyError) as error:
        checks.append(Check(f"smoke: {case.label}", FAILED, f"{type(error).__name__}: {error}"))
    return checks


def run_cases(cases: Sequence[Case], version: str) -> Iterator[Check]:
    """Run `cases`, two at a time; yield the outcomes in a fixed order."""
    with ThreadPoolExecutor(2) as pool:
        for checks in pool.map(lambda case: run_case(case, version), cases):
            yield from checks
