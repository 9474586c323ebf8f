"""The one exception that the factory shows to people."""

from __future__ import annotations

from pathlib import Path


class FactoryError(Exception):
    """Something is wrong that a person can act on.

    `message` says what is wrong, `hint` what to do. `lane`, `phase` and `log` say where.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        lane: str = "",
        phase: str = "",
        log: Path | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.lane = lane
        self.phase = phase
        self.log = log

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
