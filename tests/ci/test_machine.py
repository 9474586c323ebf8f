"""What is known of a machine, and how a stronger one pretends to be it."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from records import MACHINE

from ci import machine
from ci.machine import ISAS, VULKAN, differences, pretend, this_machine
from ci.paths import ROOT


def test_this_machine_is_described() -> None:
    here = this_machine()
    assert here.vulkan in VULKAN
    assert here.isa in {"", *ISAS.get(here.machine, {})}
    assert re.fullmatch(r"3\.\d+\.\d+\S*", here.python)


AVX512 = "avx2 fma f16c avx512f avx512bw avx512vl"


@pytest.mark.parametrize(
    ("processor", "flags", "isa"),
    [
        ("x86_64", "flags : fpu sse2", "portable"),
        ("x86_64", "flags : fpu avx2 fma f16c", "avx2"),
        ("x86_64", "flags : fpu avx2 avx512f avx512bw avx512vl", "portable"),
        ("x86_64", f"flags : {AVX512}", "avx2"),
        ("x86_64", f"flags : {AVX512} avx512_vnni", "avx512"),
        ("aarch64", "Features : fp asimd", "neon"),
        ("aarch64", "Features : fp asimd asimddp", "neon_dotprod"),
        ("riscv64", "isa : rv64gc", ""),
    ],
)
def test_instruction_set_is_read_off_the_flags(
    processor: str, flags: str, isa: str, tmp_path: Path
) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor : 0\n{flags}\n")
    assert machine._isa(tmp_path / "cpuinfo", processor) == isa


def test_instruction_sets_are_those_of_the_core() -> None:
    source = (ROOT / "cpp" / "cpu" / "isa.cc").read_text(encoding="utf-8")
    assert {isa for isas in ISAS.values() for isa in isas} <= set(
        re.findall(r'return "(\w+)";', source)
    )


@pytest.mark.parametrize(
    ("changes", "variables"),
    [
        ({}, {}),
        ({"isa": "avx2"}, {"MLC_LLM_CPU_ISA": "avx2"}),
        ({"isa": ""}, {}),
        ({"vulkan": "no driver"}, {"VK_DRIVER_FILES": "/nonexistent"}),
        ({"vulkan": "no loader"}, {"MLC_LLM_VULKAN_LOADER": "/nonexistent"}),
    ],
)
def test_stronger_machine_pretends(changes: dict[str, str], variables: dict[str, str]) -> None:
    settings = pretend(replace(MACHINE, **changes), MACHINE)
    assert settings.items() >= variables.items()
    assert bool(settings) == bool(variables)


def test_weaker_machine_cannot_pretend() -> None:
    assert pretend(MACHINE, replace(MACHINE, isa="portable", vulkan="no loader")) == {}


def test_differences_are_said() -> None:
    here = replace(MACHINE, python="3.12.1", isa="")
    assert differences(MACHINE, here, {"A": "b"}) == [
        "python: 3.11.2 there, 3.12.1 here",
        "isa: avx512 there, unknown here",
        "less than this machine has is seen with A=b",
    ]
    assert differences(MACHINE, MACHINE, {}) == []
