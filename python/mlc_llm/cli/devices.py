"""``mlc_llm devices``: what there is to run on."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlc_llm.devices import Device, Devices


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "devices",
        help="list the devices that operators can run on",
        description="List the CPU and every Vulkan device, or say why there is no Vulkan device.",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the devices."""
    from mlc_llm.devices import discover  # noqa: PLC0415 - keeps --help quick

    found = discover()
    print(json.dumps(asdict(found), indent=2) if args.json else _format_devices(found))
    return 0


def _format_device(device: Device) -> str:
    facts = [device.type, f"{device.memory_bytes / 2**30:.1f} GiB"]
    if device.driver:
        facts.append(device.driver)
    if device.subgroup_size:
        facts.append(f"subgroups of {device.subgroup_size}")
    lines = [f"{device.id:<10} {device.name}", f"{'':<10} {', '.join(facts)}"]
    if device.features:
        lines.append(f"{'':<10} in use: {', '.join(device.features)}")
    if device.missing:
        lines.append(f"{'':<10} missing: {', '.join(device.missing)}")
    return "\n".join(lines)


def _format_devices(found: Devices) -> str:
    lines = [_format_device(device) for device in found.devices]
    if found.vulkan_reason:
        lines.append(f"{'vulkan':<10} none: {found.vulkan_reason}")
    return "\n".join(lines)
