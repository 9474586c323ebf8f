"""The devices that this machine offers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from mlc_llm._library import load


@dataclass(frozen=True)
class Device:
    """One device that operators can run on.

    ``type`` is "cpu", "discrete", "integrated", "virtual" or "software"; ``features`` names the
    fast paths, ``missing`` those that the device lacks; ``subgroup_size`` is 0 and ``driver`` empty
    for the CPU.
    """

    id: str
    name: str
    type: str
    driver: str
    memory_bytes: int
    subgroup_size: int
    features: tuple[str, ...]
    missing: tuple[str, ...]


@dataclass(frozen=True)
class Devices:
    """All devices, the CPU first; ``vulkan_reason`` says why there is no Vulkan device, if so."""

    devices: tuple[Device, ...]
    vulkan_reason: str


def discover() -> Devices:
    """Look for devices now. Raises ImportError when the native library cannot be loaded."""
    found = json.loads(load()("devices")())
    return Devices(tuple(map(_to_device, found["devices"])), found["vulkan_reason"])


def _to_device(item: dict[str, Any]) -> Device:
    lists = {name: tuple(item[name]) for name in ("features", "missing")}
    return Device(**{**item, **lists})


def list_devices() -> tuple[Device, ...]:
    """Return the devices of this machine, the CPU first."""
    return discover().devices
