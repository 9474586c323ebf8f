"""The worker that reads memory: `python -m ci.bench.memory THREADS`.

Decoding reads every weight once per step, so the speed of memory is the best that it can do. What
that is on this machine, and now, is measured in the same rounds.
"""

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

BYTES = 1 << 29  # past any cache
PASSES = 4  # over a thread's share, so that starting it does not count
CALLS = 3


def read_speed(threads: int) -> float:
    """Return the bytes per second, best of a few, that `threads` read in float32 dot products.

    Each thread reads from two places: from one alone it gets some percent less.
    """
    shares = [np.ones(BYTES // 4 // threads, np.float32) for _ in range(threads)]

    def read(share: Any) -> None:
        for _ in range(PASSES):
            half = share.size // 2
            share[:half].dot(share[half:])  # without the GIL; OPENBLAS_NUM_THREADS is 1

    with ThreadPoolExecutor(threads) as pool:
        best = 0.0
        for _ in range(CALLS):
            start = time.perf_counter()
            list(pool.map(read, shares))
            best = max(best, BYTES * PASSES / (time.perf_counter() - start))
    return best


if __name__ == "__main__":
    threads = int(sys.argv[1])
    print(json.dumps({"threads": threads}), flush=True)
    for _line in sys.stdin:
        print(json.dumps(read_speed(threads)), flush=True)
