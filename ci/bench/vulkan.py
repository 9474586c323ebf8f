"""`nox -s bench -- vulkan`: mlc_llm against llama.cpp's Vulkan backend, same device, same models.

Where a GPU is, there may be nothing to build with and no network: there
`python -m ci.bench.vulkan --ours DIR --peer DIR` takes both sides out of folders of packages, and
needs NumPy and rich alone.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from ci.bench.core import (
    OURS,
    PEER,
    Side,
    Worker,
    compare_logits,
    count_processors,
    machine,
    take_turn,
    write_figures,
)
from ci.bench.models import (
    ENCODINGS,
    GGUF_NAME,
    LLAMA_8B,
    TINY,
    Encoding,
    Shape,
    ensure_models,
    step_bytes,
)
from ci.session import run_session

SHAPES = {"1.1B": Shape(), "8B": LLAMA_8B, "tiny": TINY}
MEASURED = ("1.1B", "8B")
CASES = {"prefill": 8, "stream": 8, "together": 8}  # rounds of each, after one that warms up
# Times llama.cpp; of 8B in 4 bits, decoding has a share of the device's bandwidth for a goal.
GOALS = {"prefill": "1.0", "together": "1.0"}
STREAM_GOALS = {
    ("1.1B", "q4f16_1"): "1.5",
    ("1.1B", "q0f16"): "1.5",
    ("8B", "q4f16_1"): "60%",
}
BANDWIDTH = """
import torch
a = torch.empty(1 << 30, dtype=torch.int32, device="cuda")
b = torch.empty_like(a)
best = 1e9
for _ in range(10):
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    b.copy_(a)
    end.record()
    torch.cuda.synchronize()
    best = min(best, start.elapsed_time(end) / 1e3)
print(2 * 4 * a.numel() / best)
"""


def bench_vulkan(
    *, ours: Path | None, peer: Path | None, alone: bool, shapes: Sequence[str]
) -> dict[str, Any]:
    """Measure `shapes` in each encoding. Returns the figures, every round of them.

    Without `ours`, the wheel of wheelhouse/ is installed; without `peer`, llama.cpp is built.
    Raises FactoryError when one side fails.
    """
    sides = [_side(OURS, "mlc_llm", ours)]
    if not alone:
        sides.append(_side(PEER, "llama_cpp", peer))
    results: list[dict[str, Any]] = []
    for name in shapes:
        for encoding in ENCODINGS:
            # One at a time: together they would fill a disk.
            with tempfile.TemporaryDirectory(prefix="mlc_llm-bench-") as scratch:
                models = ensure_models(Path(scratch), SHAPES[name], encoding)
                results += measure_model(sides, name, encoding, models)
    return {
        "machine": machine(),
        "copy_bytes_per_second": copy_speed(),
        "results": results,
    }


def _side(name: str, module: str, packages: Path | None) -> Side:
    if packages is not None:
        return Side(name, Path(sys.executable), module, packages.resolve())
    from ci.bench import peers  # noqa: PLC0415 - where a GPU is, uv may not be

    python = peers.install_wheel() if name == OURS else peers.ensure_llama_cpp(vulkan=True)
    return Side(name, python, module)


def measure_model(
    sides: list[Side], shape: str, encoding: Encoding, models: Path
) -> list[dict[str, Any]]:
    """Measure one model: a row of figures for each case."""
    paths = {OURS: (models, "vulkan:0"), PEER: (models / GGUF_NAME, "vulkan")}
    threads = count_processors()
    print(f"measuring {shape} {encoding.mlc} ...", flush=True)
    with ExitStack() as stack:
        workers: dict[str, Worker] = {}
        for side in sides:
            path, device = paths[side.name]
            worker = side.start(threads, path, str(threads), device)
            workers[side.name] = stack.enter_context(worker)
        shared = {
            "shape": shape,
            "encoding": encoding.mlc,
            "bytes_per_step": step_bytes(SHAPES[shape], encoding),
            "logits_difference": compare_logits(workers),
            "sides": {name: worker.description for name, worker in workers.items()},
        }
        rows = []
        for case, count in CASES.items():
            rounds: dict[str, list[float]] = {name: [] for name in workers}
            for turn in range(count + 1):
                take_turn(workers, case, turn, rounds)
            best = {name: max(found[1:]) for name, found in rounds.items()}
            speeds = ", ".join(f"{name} {speed:.0f}" for name, speed in best.items())
            print(f"  {case}: {speeds} tokens/s", flush=True)
            work = workers[OURS].ask("work") if case == "stream" else None
            figures = {"tokens_per_second": best, "rounds": rounds, "work": work}
            rows.append({**shared, "case": case, **figures})
    return rows


def copy_speed() -> float | None:
    """Return the device's speed of copying, bytes read and written, where PyTorch can tell it."""
    done = subprocess.run(
        [sys.executable, "-c", BANDWIDTH], capture_output=True, text=True, check=False
    )
    return float(done.stdout) if done.returncode == 0 else None


def show(figures: dict[str, Any]) -> None:
    """Print a row per case, with the ratio to llama.cpp and the share of the copy bandwidth."""
    bandwidth = figures["copy_bytes_per_second"]
    table = Table("model", "case", "tokens/s", PEER, "ratio", "goal", "of copy bandwidth")
    for row in figures["results"]:
        speed = row["tokens_per_second"]
        peer = speed.get(PEER)
        table.add_row(
            f"{row['shape']} {row['encoding']}",
            row["case"],
            f"{speed[OURS]:.0f}",
            f"{peer:.0f}" if peer else "",
            f"{speed[OURS] / peer:.2f}" if peer else "",
            GOALS.get(row["case"]) or STREAM_GOALS.get((row["shape"], row["encoding"]), ""),
            share(row, bandwidth),
        )
    Console(width=110).print(table)
    for row in figures["results"]:
        if row["work"]:
            counts = ", ".join(f"{name} {count}" for name, count in row["work"].items())
            print(f"a token of {row['shape']} {row['encoding']}: {counts}")
    print(f"copy bandwidth: {bandwidth / 1e9:.0f} GB/s" if bandwidth else "no copy bandwidth")
    for name, side in figures["results"][0]["sides"].items():
        print(f"{name}: " + "; ".join(f"{key}: {value}" for key, value in side.items()))


def share(row: dict[str, Any], bandwidth: float | None) -> str:
    """Return which part of `bandwidth` decoding one sequence reads weights with, of each side."""
    if row["case"] != "stream" or not bandwidth:
        return ""
    speeds = row["tokens_per_second"].values()
    return " / ".join(f"{row['bytes_per_step'] * speed / bandwidth:.0%}" for speed in speeds)


def main(arguments: list[str]) -> int:
    """Measure, print and write the figures."""
    parser = argparse.ArgumentParser(prog="nox -s bench -- vulkan", description=__doc__)
    parser.add_argument("--shape", action="append", choices=SHAPES, help="default: 1.1B and 8B")
    parser.add_argument("--alone", action="store_true", help="leave llama.cpp out")
    parser.add_argument("--ours", type=Path, metavar="DIR", help="mlc_llm and what it needs")
    parser.add_argument("--peer", type=Path, metavar="DIR", help="llama.cpp's binding, likewise")
    options = parser.parse_args(arguments)
    figures = bench_vulkan(
        ours=options.ours, peer=options.peer, alone=options.alone, shapes=options.shape or MEASURED
    )
    show(figures)
    write_figures("vulkan", figures)
    return 0


if __name__ == "__main__":
    run_session(main)
