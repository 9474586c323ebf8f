"""What a check of a wheel came to."""

from __future__ import annotations

from dataclasses import dataclass

PASSED = "passed"
FAILED = "failed"
NOT_RUN = "not run"


@dataclass(frozen=True)
class Check:
    """One check: `status` is passed, failed or not run; `detail` says what was seen."""

    name: str
    status: str
    detail: str
