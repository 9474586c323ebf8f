"""What the build of one lane came to: `build/LANE/result.json`, written however it ends."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ci.checks import FAILED, Check
from ci.errors import FactoryError
from ci.timeline import Span, Timeline, seconds

NAME = "result.json"


@dataclass
class LaneResult:
    """Filled in as the build goes on; `failure` is its error message, empty if there was none."""

    lane: str
    engine: str
    commit: str
    image: str = ""  # its name and its id, where a container is the engine
    version: str = ""
    wheel: Path | None = None
    checks: list[Check] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    failure: str = ""

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds by phase."""
        return seconds(self.spans)


@contextlib.contextmanager
def kept(
    result: LaneResult, timeline: Timeline, smoke: Mapping[str, Check], work: Path
) -> Iterator[None]:
    """Write `result` into `work` at the end; an error learns where it was raised.

    `smoke` has the smoke tests' outcomes, which are all there is if that phase failed.
    """
    try:
        yield
    except FactoryError as error:
        error.phase = timeline.current or error.phase
        error.engine, error.image = result.engine, result.image
        error.failed = error.failed or _failed(smoke.values())
        result.failure = str(error)
        raise
    finally:
        timeline.stop()
        result.checks = result.checks or [*smoke.values()]
        result.spans = timeline.spans
        write_result(result, work)


def _failed(checks: Iterable[Check]) -> list[str]:
    return [check.name for check in checks if check.status == FAILED]


def write_result(result: LaneResult, work: Path) -> None:
    """Write `result` into the lane's folder."""
    text = json.dumps(asdict(result), indent=2, default=str)
    (work / NAME).write_text(text + "\n", encoding="utf-8")


def read_result(work: Path) -> LaneResult:
    """Return the result that lies in the lane's folder."""
    document = json.loads((work / NAME).read_text(encoding="utf-8"))
    return LaneResult(
        **document
        | {
            "wheel": Path(document["wheel"]) if document["wheel"] else None,
            "checks": [Check(**check) for check in document["checks"]],
            "spans": [Span(**span) for span in document["spans"]],
        }
    )
