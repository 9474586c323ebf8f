"""`nox -s bench -- core`: what is asked of each side, and what is made of the answers."""

import re
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from numpy.typing import NDArray
from releases import LANES, write_wheelhouse

from ci.bench import core, peers, worker
from ci.bench.__main__ import parse_arguments
from ci.bench.chart import draw
from ci.bench.core import OURS, PEER, Worker, share
from ci.errors import FactoryError
from ci.lanes import DEFAULT_LANE
from ci.paths import ROOT
from ci.toml import read_toml


class Recorder:
    """An engine that notes how it is used."""

    def __init__(self) -> None:
        self.lengths: dict[int, int] = {}
        self.steps: list[dict[int, int]] = []
        self.longest = 0

    def describe(self) -> dict[str, Any]:
        return {}

    def reset(self) -> None:
        self.lengths = {}

    def extend(self, tokens: dict[int, list[int]]) -> NDArray[np.float32]:
        self.steps.append({sequence: len(new) for sequence, new in tokens.items()})
        for sequence, new in tokens.items():
            assert new == worker.tokens(sequence, self.lengths.get(sequence, 0), len(new))
            self.lengths[sequence] = self.lengths.get(sequence, 0) + len(new)
            self.longest = max(self.longest, self.lengths[sequence])
        return np.zeros((len(tokens), 3), np.float32)


def test_prefill_is_one_step_from_nothing() -> None:
    engine = Recorder()
    cases = worker.Cases(engine)
    assert cases.prefill() > 0
    assert cases.prefill() > 0
    assert engine.steps == [{0: 512}, {0: 512}]
    assert engine.lengths == {0: 512}


@pytest.mark.parametrize(
    ("case", "sequences", "steps"), [("decode", 1, 32), ("stream", 1, 127), ("together", 8, 8)]
)
def test_decoding_begins_behind_the_same_context(case: str, sequences: int, steps: int) -> None:
    engine = Recorder()
    cases = worker.Cases(engine)
    assert getattr(cases, case)() > 0
    assert engine.steps[-steps:] == [dict.fromkeys(range(sequences), 1)] * steps
    assert engine.lengths == dict.fromkeys(range(sequences), worker.CONTEXT + 1 + steps)


@pytest.mark.parametrize("case", ["decode", "stream", "together"])
def test_decoding_stays_in_the_cache(case: str) -> None:
    engine = Recorder()
    cases = worker.Cases(engine)
    for _ in range(20):
        getattr(cases, case)()
    assert engine.longest <= worker.CONTEXT_LIMIT
    assert worker.CACHE_TOKENS >= worker.SEQUENCES * worker.CONTEXT_LIMIT


def test_cases_do_not_disturb_one_another() -> None:
    engine = Recorder()
    cases = worker.Cases(engine)
    for case in (cases.decode, cases.prefill, cases.decode, cases.together, cases.decode):
        case()
    cases.first()
    assert engine.lengths == {0: worker.FIRST_PROMPT}


def start_worker(code: str) -> Worker:
    return Worker([sys.executable, "-c", code], threads=3)


def test_worker_answers_with_its_threads_set() -> None:
    code = (
        "import json, os, sys\n"
        "print(json.dumps({'threads': os.environ['MLC_LLM_NUM_THREADS']}), flush=True)\n"
        "for line in sys.stdin: print(json.dumps(line.strip()), flush=True)"
    )
    with start_worker(code) as started:
        assert started.description == {"threads": "3"}
        assert [started.ask("decode"), started.ask("prefill")] == ["decode", "prefill"]
    assert started.process.returncode is not None


def test_worker_that_ends_is_named_with_its_status() -> None:
    with pytest.raises(FactoryError, match=r"ended with status 7"):
        start_worker("raise SystemExit(7)")


class Saying:
    """A worker with given logits."""

    def __init__(self, logits: list[float]) -> None:
        self.logits = logits

    def ask(self, _case: str) -> list[float]:
        return self.logits


def compare(*logits: list[float]) -> float | None:
    workers: Any = {str(i): Saying(values) for i, values in enumerate(logits)}
    return core.compare_logits(workers)


def test_sides_that_compute_the_same_are_compared() -> None:
    assert compare([1.0, 2.0], [1.0, 2.0]) == 0
    assert compare([1.0, 2.0]) is None


@pytest.mark.parametrize("other", [[2.0, 1.0], [float("nan"), 2.0]])
def test_sides_that_compute_something_else_are_refused(other: list[float]) -> None:
    with pytest.raises(FactoryError, match="do not compute the same"):
        compare(other, [1.0, 2.0])


def row(case: str, ours: float, peer: float | None, encoding: str = "q4f16_1") -> dict[str, Any]:
    speeds = {OURS: ours} | ({} if peer is None else {PEER: peer})
    return {
        "encoding": encoding,
        "threads": 2,
        "case": case,
        "tokens_per_second": speeds,
        "read_bytes_per_second": 20e9,
        "bytes_per_step": 0.5e9,
        "peak_bytes": dict.fromkeys(speeds, 1e9),
        "sides": {name: {"threads": 2} for name in speeds},
    }


def figures(*rows: dict[str, Any]) -> dict[str, Any]:
    start = dict.fromkeys(rows[0]["tokens_per_second"], 0.5)
    machine = {"processor": "A <fast> one", "threads": 2}
    return {"machine": machine, "results": list(rows), "start": start}


def test_share_is_of_the_speed_of_memory() -> None:
    assert share(row("decode", 30, 20)) == "75% / 50%"
    assert share(row("prefill", 30, 20)) == ""


@pytest.mark.parametrize("peer", [20.0, None])
def test_table_has_the_ratio_where_there_is_a_peer(
    peer: float | None, capsys: pytest.CaptureFixture[str]
) -> None:
    core.show(figures(*(row(case, 30, peer) for case in core.CASES)))
    printed = capsys.readouterr().out
    assert ("1.50" in printed) == (peer is not None)
    assert "memory read 20.0 GB/s" in printed
    assert "mlc_llm 0.50 s" in printed


@pytest.mark.parametrize("peer", [20.0, None])
def test_chart_draws_a_bar_for_each_speed(peer: float | None) -> None:
    rows = [row("prefill", 40, peer), row("decode", 10, peer), row("decode", 10, peer, "q0f16")]
    svg = draw(figures(*rows), OURS, PEER)
    bars = ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}rect")  # noqa: S314 - our own
    kinds = {"ours": [], "peer": []}  # type: dict[str, list[float]]
    for bar in list(bars)[2:]:  # behind the legend
        kinds[bar.attrib["class"]].append(float(bar.attrib["width"]))
    prefill, decode, other = kinds["ours"]
    assert prefill == pytest.approx(4 * decode, abs=0.3)
    assert other > decode  # of another panel, with its own scale
    assert len(kinds["peer"]) == (0 if peer is None else 3)
    assert "A &lt;fast&gt; one" in svg


@pytest.mark.parametrize("there", [True, False])
def test_the_wheel_of_this_machine_is_measured(
    *, there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = {name: lane for name, lane in LANES.items() if name != DEFAULT_LANE}
    lanes = others | ({DEFAULT_LANE: LANES[DEFAULT_LANE]} if there else {})
    monkeypatch.setattr(peers, "WHEELHOUSE", write_wheelhouse(tmp_path / "wheelhouse", lanes))
    if there:
        assert LANES[DEFAULT_LANE].platform in peers.find_wheel().name
        return
    with pytest.raises(FactoryError, match=rf"no wheel.*{DEFAULT_LANE}.*--lane {DEFAULT_LANE}"):
        peers.find_wheel()


def test_missing_compiler_is_named_before_anything_is_fetched(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("MLC_LLM_CACHE", str(tmp_path))
    with pytest.raises(FactoryError, match=r"there is no cc here.*--alone"):
        peers.ensure_llama_cpp()
    assert list(tmp_path.iterdir()) == []


def test_peer_is_pinned_by_version_and_hash() -> None:
    pinned = re.search(
        r"^llama-cpp-python==(\S+) \\\n +--hash=", peers.LOCK.read_text(), re.MULTILINE
    )
    groups = read_toml(ROOT / "pyproject.toml")["dependency-groups"]
    assert pinned is not None
    assert f"llama-cpp-python=={pinned[1]}" in groups["peer"]


@pytest.mark.parametrize("words", ["core --engine host", "factory --alone", "factory --chart"])
def test_option_of_another_subject_is_refused(
    words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        parse_arguments(words.split())
    assert stopped.value.code == 2
    assert f"unrecognized arguments: {words.partition(' ')[2]}" in capsys.readouterr().err
