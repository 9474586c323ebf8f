"""`nox -s bench -- vulkan`: what is asked of each side, and what is made of the answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ci.bench import vulkan
from ci.bench.core import OURS, PEER, Side
from ci.bench.models import ENCODINGS

SPEEDS = {OURS: [1.0, 3.0, 2.0], PEER: [9.0, 2.0, 1.0]}


class Answering:
    """A worker whose first round is an outlier."""

    def __init__(self, name: str, arguments: tuple[object, ...]) -> None:
        self.name = name
        self.description = {"arguments": arguments}
        self.asked: list[str] = []

    def __enter__(self) -> Answering:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def ask(self, case: str) -> Any:
        self.asked.append(case)
        if case == "first":
            return [1.0, 2.0]
        if case == "work":
            assert self.name == OURS
            return {"dispatches": 112}
        return SPEEDS[self.name][min(self.asked.count(case) - 1, 2)]


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    def start(side: Side, _threads: int, *arguments: object) -> Answering:
        return Answering(side.name, arguments)

    monkeypatch.setattr(Side, "start", start)
    sides = [Side(OURS, Path("python"), "mlc_llm"), Side(PEER, Path("python"), "llama_cpp")]
    return vulkan.measure_model(sides, "tiny", ENCODINGS[0], Path("models"))


def test_first_round_only_warms_up(rows: list[dict[str, Any]]) -> None:
    assert [row["tokens_per_second"] for row in rows] == [{OURS: 3.0, PEER: 2.0}] * 3
    assert [len(row["rounds"][PEER]) for row in rows] == [n + 1 for n in vulkan.CASES.values()]


def test_both_sides_are_given_the_device(rows: list[dict[str, Any]]) -> None:
    arguments = {name: side["arguments"] for name, side in rows[0]["sides"].items()}
    assert arguments[OURS][::2] == (Path("models"), "vulkan:0")
    assert arguments[PEER][::2] == (Path("models/model.gguf"), "vulkan")


def test_work_is_that_of_decoding(rows: list[dict[str, Any]]) -> None:
    assert [row["work"] for row in rows] == [None, {"dispatches": 112}, None]


def test_figures_are_shown(rows: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    vulkan.show({"results": rows, "copy_bytes_per_second": 1e9})
    shown = capsys.readouterr().out
    assert "1.50" in shown
    assert "a token of tiny q4f16_1: dispatches 112" in shown


@pytest.mark.parametrize(
    ("case", "bandwidth", "expected"),
    [("stream", 4e9, "75% / 50%"), ("stream", None, ""), ("prefill", 4e9, "")],
)
def test_share_is_of_the_copy_bandwidth(case: str, bandwidth: float | None, expected: str) -> None:
    row = {"case": case, "bytes_per_step": 1e9, "tokens_per_second": {OURS: 3.0, PEER: 2.0}}
    assert vulkan.share(row, bandwidth) == expected
