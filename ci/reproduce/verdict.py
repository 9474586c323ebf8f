"""Whether a failure is the one that was recorded."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ci.record import Failure

REPRODUCED, NOT_REPRODUCED, DIFFERENT = "reproduced", "not reproduced", "a different failure"
# 1 and 2 are of errors and wrong options, as in every session.
STATUS = {REPRODUCED: 0, NOT_REPRODUCED: 3, DIFFERENT: 4}

# Where a smoke test ran: the end of "smoke: import, python 3.12 under Wine, oldest apache-tvm-ffi".
PLACE = re.compile(r",? python \d+\.\d+(?: under \w+)?, \w+ apache-tvm-ffi$")


@dataclass(frozen=True)
class Verdict:
    """One of REPRODUCED, NOT_REPRODUCED and DIFFERENT, and what speaks for it."""

    word: str
    reasons: tuple[str, ...]


def judge(recorded: Failure | None, seen: Failure | None, *, elsewhere: bool = False) -> Verdict:
    """Compare phase, failed tests and exit status.

    `recorded` is None where no more is known than that it failed; `seen` where all went well.
    `elsewhere` is true for another kind of machine, whose smoke tests have other Pythons: then
    their names are compared without them.
    """
    if seen is None:
        return Verdict(NOT_REPRODUCED, ("the session passes here",))
    if recorded is None:
        return Verdict(REPRODUCED, (f"it fails here too: {describe(seen)}",))
    reasons = []
    if recorded.phase != seen.phase:
        reasons.append(f"phase: {recorded.phase or 'none'} there, {seen.phase or 'none'} here")
    there, here = (
        {PLACE.sub("", name) if elsewhere else name for name in failure.failed}
        for failure in (recorded, seen)
    )
    reasons += [f"failed there only: {name}" for name in sorted(there - here)]
    reasons += [f"failed here only: {name}" for name in sorted(here - there)]
    if recorded.status != seen.status:
        reasons.append(f"exit status: {recorded.status} there, {seen.status} here")
    if reasons:
        return Verdict(DIFFERENT, tuple(reasons))
    return Verdict(REPRODUCED, (f"the same: {describe(seen)}",))


def describe(failure: Failure) -> str:
    """Say in one line how a session failed."""
    phase = f"phase {failure.phase}, " if failure.phase else ""
    failed = f"{', '.join(failure.failed)}, " if failure.failed else ""
    return f"{phase}{failed}exit status {failure.status}"
