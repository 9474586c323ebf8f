"""`nox -s bench -- core`: mlc_llm against llama.cpp, same model, same threads, same rounds.

A model of random weights is computed by both, in processes of their own that take turns, so that a
slow moment of the machine hits both. Every figure is the best of its rounds.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from rich.table import Table

from ci.bench.models import ENCODINGS, GGUF_NAME, Encoding, Shape, ensure_models, step_bytes
from ci.errors import FactoryError
from ci.paths import ROOT, WORK, cache_dir
from ci.report.tables import console

OURS, PEER, READ = "mlc_llm", "llama.cpp", "read"
CASES = {"prefill": 2, "decode": 4, "together": 4}  # rounds of each
GOALS = {"prefill": 1.0, "decode": 1.1, "together": 1.2}  # times llama.cpp
STARTS = 3
# Both round activations to 8 bits, each in its own way; a wrong layout or rotation gives 1.
LOGITS_TOLERANCE = 0.1


@dataclass(frozen=True)
class Side:
    """How to start one engine's worker."""

    name: str
    python: Path
    module: str
    packages: Path | None = None  # a folder of packages, where it is not the Python's own

    def start(self, threads: int, *arguments: str | Path) -> Worker:
        """Start it with `threads` threads."""
        command = [self.python, "-m", f"ci.bench.{self.module}", *arguments]
        return Worker(command, threads, self.packages)


class Worker:
    """A process that runs cases, one at a time, when it is asked to."""

    def __init__(
        self, command: list[str | Path], threads: int, packages: Path | None = None
    ) -> None:
        pools = {"MLC_LLM_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": "1"}
        if packages is not None:
            pools["PYTHONPATH"] = os.fspath(packages)
        start = time.perf_counter()
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **pools},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.description: dict[str, Any] = self._answer()
        self.start_seconds = time.perf_counter() - start  # until the first token

    def ask(self, case: str) -> Any:
        """Run one round of `case`. Raises FactoryError when the worker has ended."""
        assert self.process.stdin is not None  # noqa: S101 - we asked for a pipe
        self.process.stdin.write(case + "\n")
        self.process.stdin.flush()
        return self._answer()

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _: TracebackType | None,
    ) -> None:
        self.process.kill()
        self.process.communicate()

    def _answer(self) -> Any:
        assert self.process.stdout is not None  # noqa: S101 - we asked for a pipe
        line = self.process.stdout.readline()
        if not line:
            raise FactoryError(
                f"`{' '.join(map(str, self.process.args))}` ended with status "  # type: ignore[arg-type]
                f"{self.process.wait()}; what it said is above.",
                phase="bench",
            )
        return json.loads(line)


def bench_core(*, alone: bool = False) -> dict[str, Any]:
    """Measure everything. Returns the figures as `nox -s bench -- core` writes them.

    `alone` leaves llama.cpp out. Raises FactoryError when one side fails.
    """
    from ci.bench.peers import (  # noqa: PLC0415 - measuring alone must not need uv
        ensure_llama_cpp,
        install_wheel,
    )

    sides = [Side(OURS, install_wheel(), "mlc_llm")]
    if not alone:
        sides.append(Side(PEER, ensure_llama_cpp(), "llama_cpp"))
    return measure(sides)


def measure(sides: list[Side]) -> dict[str, Any]:
    """Measure `sides` with all threads and with one, in each encoding."""
    shape = Shape()
    results: list[dict[str, Any]] = []
    start: dict[str, Any] = {}
    for encoding in ENCODINGS:
        models = ensure_models(cache_dir() / "bench", shape, encoding)
        paths = {OURS: models, PEER: models / GGUF_NAME}
        for threads in sorted({1, count_processors()}, reverse=True):
            print(f"measuring {encoding.mlc}, threads: {threads} ...", flush=True)
            results += _measure_rounds(sides, paths, shape, encoding, threads)
        if encoding == ENCODINGS[0]:
            start = _measure_start(sides, paths)
    return {"machine": machine(), "results": results, "start": start}


def count_processors() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def machine() -> dict[str, Any]:
    """Return what the figures were measured on."""
    names: Iterable[str] = ()
    if (information := Path("/proc/cpuinfo")).exists():
        lines = information.read_text(encoding="utf-8").splitlines()
        names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return {"processor": next(iter(names), platform.processor()), "threads": count_processors()}


def _measure_rounds(
    sides: list[Side], paths: dict[str, Path], shape: Shape, encoding: Encoding, threads: int
) -> list[dict[str, Any]]:
    memory = Side(READ, Path(sys.executable), "memory")
    with ExitStack() as stack:
        workers = {
            side.name: stack.enter_context(side.start(threads, paths[side.name], str(threads)))
            for side in sides
        }
        difference = compare_logits(workers)
        reader = stack.enter_context(memory.start(threads, str(threads)))
        bandwidth: list[float] = []
        rounds: dict[str, dict[str, list[float]]] = {}
        for case, count in CASES.items():
            rounds[case] = {name: [] for name in workers}
            for i in range(count):
                take_turn(workers, case, i, rounds[case])
                bandwidth.append(reader.ask(READ))
        shared = {
            "encoding": encoding.mlc,
            "threads": threads,
            "read_bytes_per_second": max(bandwidth),
            "bytes_per_step": step_bytes(shape, encoding),
            "logits_difference": difference,
            "peak_bytes": {name: worker.ask("memory") for name, worker in workers.items()},
            "sides": {name: worker.description for name, worker in workers.items()},
        }
    return [
        {**shared, "case": case, "tokens_per_second": {n: max(r) for n, r in found.items()}}
        | {"rounds": found}
        for case, found in rounds.items()
    ]


def take_turn(workers: dict[str, Worker], case: str, turn: int, found: dict[str, Any]) -> None:
    """Ask each side for one round, the other one first each time, and add it to `found`."""
    for name in list(workers) if turn % 2 == 0 else list(workers)[::-1]:
        found[name].append(workers[name].ask(case))


def compare_logits(workers: dict[str, Worker]) -> float | None:
    """Return how far the sides' logits are apart, relative to their size; None for one side."""
    logits = [np.array(worker.ask("first")) for worker in workers.values()]
    if len(logits) == 1:
        return None
    difference = float(np.linalg.norm(logits[0] - logits[1]) / np.linalg.norm(logits[1]))
    if not difference < LOGITS_TOLERANCE:
        raise FactoryError(
            f"the two sides do not compute the same: their logits are {difference:.0%} apart.",
            phase="bench",
            hint="No speed is comparable before that is mended.",
        )
    return difference


def _measure_start(sides: list[Side], paths: dict[str, Path]) -> dict[str, Any]:
    """Return {side: seconds from the start of its process to the first token}, best of a few."""
    best: dict[str, Any] = {}
    for side in sides * STARTS:
        with side.start(count_processors(), paths[side.name], str(count_processors())) as worker:
            best[side.name] = min(worker.start_seconds, best.get(side.name, float("inf")))
    return best


def write_figures(subject: str, figures: dict[str, Any]) -> None:
    """Write them where all of them are."""
    path = WORK / "bench" / f"{subject}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    print(f"written to {path}")


def show(figures: dict[str, Any], print_line: Callable[[str], None] = print) -> None:
    """Print a row per case, with the ratio to llama.cpp and the share of the memory's speed."""
    columns = ("model", "threads", "case", "tokens/s", PEER, "ratio", "goal", "of read speed")
    table = Table(*columns)
    for row in figures["results"]:
        speed = row["tokens_per_second"]
        ratio = f"{speed[OURS] / speed[PEER]:.2f}" if PEER in speed else ""
        table.add_row(
            *(row["encoding"], str(row["threads"]), row["case"], f"{speed[OURS]:.1f}"),
            f"{speed[PEER]:.1f}" if PEER in speed else "",
            *(ratio, f"{GOALS[row['case']]:.1f}", share(row)),
        )
    console().print(table)
    for row in figures["results"][:: len(CASES)]:
        peaks = ", ".join(f"{n} {b / 1e9:.2f} GB" for n, b in row["peak_bytes"].items())
        label = f"{row['encoding']}, threads: {row['threads']}"
        read = f"memory read {row['read_bytes_per_second'] / 1e9:.1f} GB/s"
        print_line(f"{label}: {read}; peak {peaks}")
    starts = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in figures["start"].items())
    print_line(f"process start to first token, {figures['results'][0]['encoding']}: {starts}")
    for name, side in figures["results"][0]["sides"].items():
        print_line(f"{name}: " + "; ".join(f"{key}: {value}" for key, value in side.items()))


def share(row: dict[str, Any]) -> str:
    """Return which part of the memory's speed decoding one sequence reads weights with."""
    if row["case"] != "decode":
        return ""
    speeds = row["tokens_per_second"].items()
    parts = (row["bytes_per_step"] * speed / row["read_bytes_per_second"] for _, speed in speeds)
    return " / ".join(f"{part:.0%}" for part in parts)
