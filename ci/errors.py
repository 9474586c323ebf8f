"""The exceptions that the factory shows to people."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

USAGE = 2  # the status of wrong options


class FactoryError(Exception):
    """Something is wrong that a person can act on.

    `message` says what is wrong, `hint` what to do. `lane`, `phase` and `log` say where, and
    `failed` which tests or checks. `exit_status` is the session's; `engine` and `image`
    are what the lane was built in.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        lane: str = "",
        phase: str = "",
        log: Path | None = None,
        failed: Sequence[str] = (),
        exit_status: int = 1,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.lane = lane
        self.phase = phase
        self.log = log
        self.failed = failed
        self.exit_status = exit_status
        self.engine = ""
        self.image = ""

    def __str__(self) -> str:
        where = ", ".join(
            part
            for part in (
                f"lane {self.lane}" if self.lane else "",
                f"phase {self.phase}" if self.phase else "",
            )
            if part
        )
        text = f"{where}: {self.message}" if where else self.message
        if self.hint:
            text += f" {self.hint}"
        if self.log is not None:
            text += f" The whole log is {self.log}."
        return text


class UsageError(FactoryError):
    """The words of the command are wrong, which nobody needs to reproduce."""

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message, hint=hint, exit_status=USAGE)
