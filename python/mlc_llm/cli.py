"""The ``mlc_llm`` command."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

import mlc_llm

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlc_llm.devices import Device, Devices
    from mlc_llm.selftest import Result


def _format_device(device: Device) -> str:
    facts = [device.type, f"{device.memory_bytes / 2**30:.1f} GiB"]
    if device.driver:
        facts.append(device.driver)
    if device.subgroup_size:
        facts.append(f"subgroups of {device.subgroup_size}")
    lines = [f"{device.id:<10} {device.name}", f"{'':<10} {', '.join(facts)}"]
    if device.features:
        lines.append(f"{'':<10} {', '.join(device.features)}")
    return "\n".join(lines)


def _format_devices(found: Devices) -> str:
    lines = [_format_device(device) for device in found.devices]
    if found.vulkan_reason:
        lines.append(f"{'vulkan':<10} none: {found.vulkan_reason}")
    return "\n".join(lines)


def _format_result(result: Result) -> str:
    rows, in_features = result.shape
    verdict = "ok" if result.passed else "FAILED"
    detail = result.message or f"{result.error:.2f} of the allowed error"
    return f"{result.device:<10} {f'{rows} x {in_features}':<14} {verdict:<7} {detail}"


def _run_devices(args: argparse.Namespace) -> int:
    from mlc_llm.devices import discover  # noqa: PLC0415 - keeps --help quick

    found = discover()
    print(json.dumps(asdict(found), indent=2) if args.json else _format_devices(found))
    return 0


def _run_selftest(args: argparse.Namespace) -> int:
    from mlc_llm import selftest  # noqa: PLC0415 - imports NumPy
    from mlc_llm.devices import discover  # noqa: PLC0415

    found = discover()
    ids = [args.device] if args.device else [device.id for device in found.devices]
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


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mlc_llm",
        description=mlc_llm.__doc__.partition("\n")[0] if mlc_llm.__doc__ else None,
        epilog="Exit codes: 0 success, 1 a failed test or a broken installation, 2 wrong usage.",
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    devices = commands.add_parser(
        "devices",
        help="list the devices that operators can run on",
        description="List the CPU and every Vulkan device, or say why there is no Vulkan device.",
    )
    devices.add_argument("--json", action="store_true", help="print JSON")
    devices.set_defaults(run=_run_devices)

    selftest = commands.add_parser(
        "selftest",
        help="check the operators on each device against NumPy",
        description="Run the operators on each device over edge shapes and compare with NumPy.",
    )
    selftest.add_argument("--json", action="store_true", help="print JSON")
    selftest.add_argument("--device", metavar="ID", help='only this device, such as "vulkan:0"')
    selftest.set_defaults(run=_run_selftest)
    return parser


def _print_version() -> int:
    from mlc_llm._library import load  # noqa: PLC0415

    load()  # refuses a library of another version
    print(f"mlc_llm {mlc_llm.__version__}")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = _make_parser()
    args = parser.parse_args(argv)
    try:
        if args.version:
            return _print_version()
        if not hasattr(args, "run"):
            parser.print_help(sys.stderr)
            return 2
        code: int = args.run(args)
    except ImportError as error:
        print(f"mlc_llm: {error}", file=sys.stderr)
        return 1
    return code
