"""`nox -s bench -- factory`: how long each phase of a wheel takes.

The builds run in a clone, so that the checkout is left alone. "cold" has the toolchain but no
compiled object; "warm" repeats it with nothing changed; "changed" follows an edit of one .cc file.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
import time
import venv
from pathlib import Path

import uv
from rich.table import Table

from ci.clones import Built, build_in, clone
from ci.lanes import DEFAULT_LANE, load_lanes
from ci.paths import LOCKS
from ci.report.tables import console
from ci.wheels import choose_engine

CHANGED_FILE = "cpp/runtime/thread_pool.cc"
IMPORT_RUNS = 9


def bench_engine(checkout: Path, engine: str, objects: Path) -> dict[str, Built]:
    """Build three times with `engine`; `objects` is an empty place for compiled objects."""
    objects.mkdir(parents=True)
    variables = {"MLC_LLM_OBJECTS": os.fspath(objects)}
    builds = {
        state: build_in(checkout, DEFAULT_LANE, engine, **variables) for state in ("cold", "warm")
    }
    with (checkout / CHANGED_FILE).open("a", encoding="utf-8") as source:
        source.write(f"// changed for a measurement with {engine}\n")
    return builds | {"changed": build_in(checkout, DEFAULT_LANE, engine, **variables)}


def import_seconds(wheel: Path, directory: Path) -> float:
    """Return the median wall time of `import mlc_llm` in a new process, its start-up taken off."""
    venv.create(directory, with_pip=False, symlinks=os.name == "posix")
    python = directory / "bin" / "python"
    install = [uv.find_uv_bin(), "pip", "install", "--quiet", "--python", os.fspath(python)]
    subprocess.run([*install, "-r", LOCKS / "smoke-newest.txt"], check=True)
    subprocess.run([*install, "--no-deps", wheel], check=True)

    def median(code: str) -> float:
        times = []
        for _ in range(IMPORT_RUNS):
            start = time.perf_counter()
            subprocess.run([python, "-I", "-c", code], check=True)
            times.append(time.perf_counter() - start)
        return statistics.median(times)

    return median("import mlc_llm") - median("pass")


def bench_factory(engines: list[str]) -> dict[str, object]:
    """Measure every engine in turn, in one run."""
    with tempfile.TemporaryDirectory(prefix="mlc_llm-bench-") as name:
        root = Path(name)
        builds = {
            engine: bench_engine(clone(root / engine), engine, root / "objects" / engine)
            for engine in engines
        }
        last = builds[engines[-1]]["changed"].wheel
        return {
            "seconds": {
                engine: {state: built.seconds for state, built in states.items()}
                for engine, states in builds.items()
            },
            "wheel_bytes": last.stat().st_size,
            "import_seconds": import_seconds(last, root / "import"),
        }


def show(figures: dict[str, object]) -> None:
    """Print a row per build, a column per phase."""
    seconds: dict[str, dict[str, dict[str, float]]] = figures["seconds"]  # type: ignore[assignment]
    rows = {(e, s): phases for e, states in seconds.items() for s, phases in states.items()}
    phases = list(dict.fromkeys(phase for row in rows.values() for phase in row))
    table = Table("engine", "state", *phases, "total", title="seconds by phase")
    for (engine, state), row in rows.items():
        cells = [f"{row[phase]:.1f}" if phase in row else "" for phase in phases]
        table.add_row(engine, state, *cells, f"{sum(row.values()):.1f}")
    console().print(table)
    print(f"wheel: {figures['wheel_bytes']} bytes; import: {figures['import_seconds']:.3f} s")
    if len(seconds) == 2:  # noqa: PLR2004 - the host against one container engine
        host, container = (seconds[e] for e in sorted(seconds, key=lambda e: e != "host"))
        for state, row in host.items():
            ratio = sum(row.values()) / sum(container[state].values())
            print(f"host / container, {state}: {ratio:.2f}")


def run_factory(engine: str) -> dict[str, object]:
    """Measure the host and, where it is another, `engine`; print the figures."""
    engines = dict.fromkeys([choose_engine(load_lanes()[DEFAULT_LANE], engine), "host"])
    figures = bench_factory(list(engines))
    show(figures)
    return figures
