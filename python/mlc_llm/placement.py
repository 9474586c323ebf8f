"""Where a model runs: on the device that was asked for, or on the best one, and why there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mlc_llm._library import load
from mlc_llm.devices import discover
from mlc_llm.memory import available_memory

if TYPE_CHECKING:
    from mlc_llm.devices import Device, Devices

# Best first. A software device is the CPU, played by a driver: never better than the CPU itself.
_GPUS = ("discrete", "integrated", "virtual")
_LIST = "`mlc_llm devices` lists those that there are."


@dataclass(frozen=True)
class Placement:
    """A device to run on: its id, and why that one, in a few words."""

    device: str
    why: str


@dataclass(frozen=True)
class Memory:
    """Memory of a device in bytes: all of it, what is free, and the most in one buffer, if any."""

    total: int
    available: int
    buffer: int | None = None


def find_placements(device: str) -> list[Placement]:
    """Return the placements for `device`, best first: "auto", "cpu", "vulkan" or "vulkan:i".

    Only "auto" gives more than one: a model that does not fit on a GPU may fit on the next, or on
    the CPU. Raises ValueError when there is no such device.
    """
    if device == "cpu":
        return [Placement("cpu", "as asked for")]
    return choose(device, discover())


def choose(device: str, found: Devices) -> list[Placement]:
    """Return the placements for `device` among those that were `found`; see find_placements."""
    vulkan = [one for one in found.devices if one.id != "cpu"]
    ranked = sorted(vulkan, key=lambda one: (_rank(one), -one.memory_bytes))
    gpus = [one for one in ranked if one.type in _GPUS]
    if device == "auto":
        why = "after the GPUs" if gpus else _no_gpu(found)
        return [*(Placement(one.id, _praise(one, gpus)) for one in gpus), Placement("cpu", why)]
    if device == "vulkan" and ranked:
        return [Placement(ranked[0].id, _praise(ranked[0], ranked))]
    if any(one.id == device for one in found.devices):
        return [Placement(device, "as asked for")]
    reason = f" {found.vulkan_reason}" if device.startswith("vulkan") and not vulkan else ""
    raise ValueError(f'There is no device "{device}".{reason} {_LIST}')


def measure(device: str) -> Memory:
    """Return the memory of the device with the id `device`, as it is now."""
    if device == "cpu":
        total, available = available_memory()
        return Memory(total, available)
    total = next(one.memory_bytes for one in discover().devices if one.id == device)
    available, buffer = np.from_dlpack(load()("vulkan_memory")(device)).tolist()
    return Memory(total, available, buffer)


def _rank(device: Device) -> int:
    return _GPUS.index(device.type) if device.type in _GPUS else len(_GPUS)


def _praise(device: Device, among: list[Device]) -> str:
    """Say why `device` is taken: it is the only one, or of the best type, with the most memory."""
    kind = f"{device.type} device"
    if len(among) == 1:
        return f"{device.name}, the only {kind}"
    return f"{device.name}, the {kind} with the most memory"


def _no_gpu(found: Devices) -> str:
    if found.vulkan_reason:
        return f"no Vulkan device: {found.vulkan_reason.rstrip('.')}"
    return "the only Vulkan devices are CPUs played by a driver"
