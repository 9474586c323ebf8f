"""``mlc_llm selftest``: the operators against NumPy."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlc_llm.selftest import Result


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "selftest",
        help="check the operators on each device against NumPy",
        description="Run the operators on each device over edge shapes and compare with NumPy.",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--device", metavar="ID", help="only this device: auto, cpu or vulkan[:i]")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the cases and print them; 1 when one failed."""
    from mlc_llm import selftest  # noqa: PLC0415 - imports NumPy
    from mlc_llm.devices import discover  # noqa: PLC0415
    from mlc_llm.placement import choose  # noqa: PLC0415

    found = discover()
    ids = [device.id for device in found.devices]
    if args.device:
        ids = [choose(args.device, found)[0].device]
    results = [result for device in ids for result in selftest.run(device)]
    failed = sum(not result.passed for result in results)
    if args.json:
        cases = [{**asdict(result), "passed": result.passed} for result in results]
        report = {"passed": failed == 0, "vulkan_reason": found.vulkan_reason, "results": cases}
        print(json.dumps(report, indent=2))
    else:
        print("device     weight         result  largest error against NumPy")
        print("\n".join(map(_format_result, results)))
        if found.vulkan_reason and not args.device:
            print(f"{'vulkan':<10} not tested: {found.vulkan_reason}")
        print(f"{len(results)} cases, {failed} failed")
    return 1 if failed else 0


def _format_result(result: Result) -> str:
    rows, in_features = result.shape
    verdict = "ok" if result.passed else "FAILED"
    detail = result.message or f"{result.error:.2f} of the allowed error"
    return f"{result.device:<10} {f'{rows} x {in_features}':<14} {verdict:<7} {detail}"
