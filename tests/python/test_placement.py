from __future__ import annotations

import pytest

from mlc_llm import Device
from mlc_llm.devices import Devices
from mlc_llm.placement import Placement, choose, find_placements, measure

GIB = 1 << 30


def make(device: str, kind: str, gib: int = 8) -> Device:
    return Device(device, f"The {kind}", kind, "", gib * GIB, 32, (), ())


def find(*kinds: str, reason: str = "") -> Devices:
    vulkan = (make(f"vulkan:{i}", kind, 8 + i) for i, kind in enumerate(kinds))
    return Devices((make("cpu", "cpu"), *vulkan), reason)


@pytest.mark.parametrize(
    ("kinds", "ids"),
    [
        ((), ["cpu"]),
        (("software",), ["cpu"]),
        (("discrete",), ["vulkan:0", "cpu"]),
        (("discrete", "discrete"), ["vulkan:1", "vulkan:0", "cpu"]),  # the larger one
        (
            ("software", "virtual", "integrated", "discrete"),
            ["vulkan:3", "vulkan:2", "vulkan:1", "cpu"],
        ),
    ],
)
def test_auto_takes_the_best(kinds: tuple[str, ...], ids: list[str]) -> None:
    assert [one.device for one in choose("auto", find(*kinds))] == ids


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (find("discrete"), "The discrete, the only discrete device"),
        (find("integrated", "discrete"), "The discrete, the discrete device with the most memory"),
        (find(reason="The loader is gone."), "no Vulkan device: The loader is gone"),
        (find("software"), "the only Vulkan devices are CPUs played by a driver"),
    ],
)
def test_auto_says_why(found: Devices, why: str) -> None:
    assert choose("auto", found)[0].why == why


def test_vulkan_is_the_best_of_its_devices() -> None:
    (placement,) = choose("vulkan", find("software", "integrated"))
    assert placement.device == "vulkan:1"
    (placement,) = choose("vulkan", find("software"))
    assert placement.why == "The software, the only software device"


def test_a_device_can_be_named() -> None:
    assert choose("vulkan:0", find("software")) == [Placement("vulkan:0", "as asked for")]
    assert find_placements("cpu") == [Placement("cpu", "as asked for")]


@pytest.mark.parametrize("device", ["vulkan", "vulkan:1", "gpu", ""])
def test_an_unknown_device_is_refused(device: str) -> None:
    with pytest.raises(ValueError, match=f'no device "{device}".*mlc_llm devices'):
        choose(device, find())


def test_no_vulkan_device_has_a_reason() -> None:
    with pytest.raises(ValueError, match=r'no device "vulkan"\. No loader\.'):
        choose("vulkan", find(reason="No loader."))


def test_memory_of_the_cpu_has_no_largest_buffer() -> None:
    memory = measure("cpu")
    assert 0 < memory.available <= memory.total
    assert memory.buffer is None
