"""`nox -s bench -- core`: the q4f16_1 kernels against plain memory reads and NumPy.

A quantized matrix is read once per product, so the best that a kernel can do is the speed of
memory. What that is on this machine, and now, is measured in the same rounds: one thread or all
of them read as many bytes in float32 dot products. The other peer is NumPy's product with the
matrix in float32. Every figure is the best of many calls.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import Any

from rich.table import Table

from ci.errors import FactoryError
from ci.paths import ROOT
from ci.report import console

SHAPES = ((32000, 8192), (4096, 4096))  # rows, columns: past any cache, and one layer
BYTES_PER_VALUE = 18 / 32  # 16 bytes of nibbles and a float16 scale for 32 values
READ, NUMPY = "plain read", "NumPy float32"
ROUNDS = 12
CALLS = 3  # in a row: the first wakes the workers
PASSES = 20  # over a thread's share, so that starting it does not count


def bench_core() -> dict[str, Any]:
    """Return {threads: {"ROWSxCOLUMNS": {name: seconds}}}, for one thread and for all.

    A name is READ, NUMPY or an instruction set. Raises FactoryError when a measurement fails.
    """
    return {str(threads): _measure_apart(threads) for threads in sorted({1, count_processors()})}


def count_processors() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _measure_apart(threads: int) -> dict[str, dict[str, float]]:
    """Measure in a new process: thread pools are as large as their first use makes them."""
    code = f"from ci.bench_core import measure; measure({threads})"
    pools = {"MLC_LLM_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, **pools},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise FactoryError(
            f"measuring the kernels with {threads} threads failed:\n{done.stderr.strip()}",
            phase="bench",
            hint="`nox -s bench -- core` installs the wheel of wheelhouse/ and measures it.",
        )
    figures: dict[str, dict[str, float]] = json.loads(done.stdout)
    return figures


def measure(threads: int) -> None:
    """Print, as JSON, what `bench_core` returns for one number of threads."""
    print(json.dumps({f"{r}x{c}": _measure_shape(r, c, threads) for r, c in SHAPES}))


def _measure_shape(rows: int, columns: int, threads: int) -> dict[str, float]:
    subjects = {
        **_kernels(rows, columns),
        READ: _plain_read(int(rows * columns * BYTES_PER_VALUE), threads),
        NUMPY: _numpy_product(rows, columns),
    }
    best = dict.fromkeys(subjects, float("inf"))
    for _ in range(ROUNDS):  # in turn, so that a slow moment of the machine hits them all
        for name, run in subjects.items():
            best[name] = min([best[name], *(run() for _ in range(CALLS))])
    return best


def _seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def _kernels(rows: int, columns: int) -> dict[str, Callable[[], float]]:
    # By name, here alone, in a process of its own: the factory does not import what it builds.
    mlc_llm, np = import_module("mlc_llm"), import_module("numpy")
    random = np.random.default_rng(1)
    words = random.integers(0, 2**32, (rows, columns // 8), np.uint32)
    scales = random.uniform(0.001, 0.02, (rows, columns // 32)).astype(np.float16)
    x = random.standard_normal(columns).astype(np.float16)
    out = np.empty(rows, np.float16)
    kernels: dict[str, Callable[[], float]] = {}
    for isa in mlc_llm.list_devices()[0].features:
        os.environ["MLC_LLM_CPU_ISA"] = isa
        linear = mlc_llm.Q4F16Linear(words, scales)
        kernels[isa] = lambda linear=linear: _seconds(lambda: linear(x, out))  # type: ignore[misc]
    return kernels


def _plain_read(size: int, threads: int) -> Callable[[], float]:
    np = import_module("numpy")
    shares = [np.ones(size // 4 // threads, np.float32) for _ in range(threads)]
    pool = ThreadPoolExecutor(threads)

    def read(share: Any) -> None:
        for _ in range(PASSES):
            share.dot(share)  # without the GIL

    return lambda: _seconds(lambda: list(pool.map(read, shares))) / PASSES


def _numpy_product(rows: int, columns: int) -> Callable[[], float]:
    np = import_module("numpy")
    matrix, x = np.ones((rows, columns), np.float32), np.ones(columns, np.float32)
    return lambda: _seconds(lambda: matrix @ x)


def show(figures: dict[str, Any]) -> None:
    """Print a row per kernel, with its ratios to both peers."""
    table = Table("threads", "matrix", "kernel", "GB/s", f"of {READ}", f"times {NUMPY}")
    for threads, shapes in figures.items():
        for shape, seconds in shapes.items():
            rows, columns = map(int, shape.split("x"))
            for name, best in seconds.items():
                speed = rows * columns * BYTES_PER_VALUE / best / 1e9
                ratios = f"{seconds[READ] / best:.0%}", f"{seconds[NUMPY] / best:.1f}"
                table.add_row(threads, shape, name, f"{speed:.1f}", *ratios)
    console().print(table)


if __name__ == "__main__":
    show(bench_core())
