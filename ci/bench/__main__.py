"""`nox -s bench`: `factory` times each phase of a wheel, `core` a model against llama.cpp.

`vulkan` is `core` on a GPU. `nox -s bench -- core --help` lists the options of `core`, and so on.

The figures are printed and written to build/bench/.
"""

from __future__ import annotations

import argparse

from ci.bench import vulkan
from ci.bench.chart import draw
from ci.bench.core import OURS, PEER, bench_core, show, write_figures
from ci.bench.factory import run_factory
from ci.images import ENGINES
from ci.paths import ROOT
from ci.session import run_session

CHART = ROOT / "docs" / "bench.svg"


def run_core(*, alone: bool, chart: bool) -> dict[str, object]:
    """Measure the wheel in wheelhouse/ and llama.cpp; print the figures, perhaps draw them."""
    figures = bench_core(alone=alone)
    show(figures)
    if chart:
        CHART.write_text(draw(figures, OURS, PEER), encoding="utf-8")
        print(f"drawn in {CHART}")
    return figures


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """Read the words behind `nox -s bench --`, where each subject has options of its own."""
    parser = argparse.ArgumentParser(prog="nox -s bench --", description=__doc__)
    subjects = parser.add_subparsers(dest="subject", required=True)
    factory = subjects.add_parser("factory", help="each phase of a wheel")
    factory.add_argument(
        "--engine",
        choices=["auto", *ENGINES, "host"],
        default="auto",
        help="what is measured beside the host (default: %(default)s)",
    )
    core = subjects.add_parser("core", help="a model, against llama.cpp")
    core.add_argument("--alone", action="store_true", help="leave llama.cpp out")
    core.add_argument("--chart", action="store_true", help="draw docs/bench.svg")
    subjects.add_parser("vulkan", help="the same on a GPU")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Measure, print and write the figures."""
    if arguments[:1] == ["vulkan"]:
        return vulkan.main(arguments[1:])
    options = parse_arguments(arguments)
    figures = (
        run_core(alone=options.alone, chart=options.chart)
        if options.subject == "core"
        else run_factory(options.engine)
    )
    write_figures(options.subject, figures)
    return 0


if __name__ == "__main__":
    run_session(main)
