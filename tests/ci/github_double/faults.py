"""What can go wrong with one request."""

from __future__ import annotations

from dataclasses import dataclass, field

CUTS = ("before", "during", "after", "answer")
JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Fault:
    """What happens to request number `at` (from 0), alone.

    cut: the connection ends "before" the request is looked at, in its middle ("during": half of
    the body was read), "after" it was served, or in the "answer" (half of which was sent).
    status: the request is answered with this instead, and served all the same if `served`.
    """

    at: int
    cut: str = ""
    status: int = 0
    served: bool = False
    headers: dict[str, str] = field(default_factory=dict)
    message: str = "planted"
    page: bytes = b""  # sent instead of JSON
    name: str = ""

    @property
    def document(self) -> dict[str, str] | bytes:
        """What is answered instead."""
        return self.page or {"message": self.message}

    def __str__(self) -> str:
        what = self.name or (f"cut {self.cut}" if self.cut else f"{self.status}")
        return f"{self.at}: {what}{' though served' if self.served else ''}"


def every_fault(at: int) -> list[Fault]:
    """Return each kind of fault, for request `at`."""
    return [
        *(Fault(at, cut=cut) for cut in CUTS),
        *(
            Fault(at, status=status, served=served)
            for status in (500, 502)
            for served in (False, True)
        ),
        Fault(at, status=200, page=b"<html>Log in to this network</html>", name="200 and a page"),
        Fault(at, status=403, headers={"Retry-After": "30"}, name="403 secondary limit"),
        Fault(
            at,
            status=403,
            message="You have exceeded a secondary rate limit.",
            name="403 without a time",
        ),
        Fault(
            at,
            status=429,
            headers={"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1700000060"},
            name="429 until the reset",
        ),
    ]
