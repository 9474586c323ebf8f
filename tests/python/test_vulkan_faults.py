"""What goes wrong on a Vulkan device: told in one sentence, and survived."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from vulkan_device import first_gpu
from vulkan_faults import fault

LOST = """
import os
import sys
from mlc_llm import MLCEngine

def say(engine):
    result = engine.completions.create(prompt=sys.argv[2], temperature=0, max_tokens=20)
    return result.choices[0].text

with MLCEngine(sys.argv[1], "vulkan") as engine:
    os.environ["MLC_LLM_FAULT"] = sys.argv[3]
    for _ in range(2):
        try:
            print("said", say(engine))
        except RuntimeError as error:
            print("failed", error)
with MLCEngine(sys.argv[1], "vulkan") as engine:
    print("said", say(engine))
"""


@pytest.fixture(autouse=True)
def _needs() -> None:
    first_gpu()


def run(name: str, *arguments: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run Python outside the checkout, with a Vulkan loader that has the fault `name`."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=folder,
        env=os.environ | fault(name),
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("old", "The Vulkan loader is older than version 1.1: update it."),
        ("no-compute", "has no compute queue: use another one."),
        ("buffers=6", "shows a shader at most 6 buffers, and 7 are needed: use another one."),
    ],
)
def test_there_is_a_reason_for_no_device(name: str, reason: str, tmp_path: Path) -> None:
    done = run(name, "-m", "mlc_llm", "devices", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    last = done.stdout.splitlines()[-1]
    assert last.startswith("vulkan     none: ")
    assert reason in last


def test_without_a_fault_there_is_a_device(tmp_path: Path) -> None:
    done = run("", "-m", "mlc_llm", "devices", folder=tmp_path)
    assert "vulkan:0" in done.stdout, done.stderr


@pytest.mark.parametrize("submission", [1, 4, 9])
def test_a_lost_device_ends_the_request_alone(
    submission: int, tiny_model: Path, learnt: str, tmp_path: Path
) -> None:
    arguments = ("-c", LOST, tiny_model, learnt[:40], f"lost={submission}")
    done = run("lost=1000000", *arguments, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    *failed, said = done.stdout.splitlines()
    assert len(failed) == 2
    assert all(line.startswith("failed Vulkan cannot submit work: the device") for line in failed)
    assert learnt[40:].startswith(said.removeprefix("said "))


def test_a_device_that_is_lost_while_a_model_is_loaded(
    tiny_model: Path, learnt: str, tmp_path: Path
) -> None:
    done = run("lost=1", "-c", LOST, tiny_model, learnt[:40], "lost=1", folder=tmp_path)
    assert done.returncode == 1
    assert "the device was lost" in done.stderr


STOPPED = """
import sys
from pathlib import Path
from mlc_llm.model import Model, load_model_dir

def stop(_name, done, _total):
    if done > 0:
        raise ValueError("enough")

try:
    Model(load_model_dir(Path(sys.argv[1])), "vulkan", progress=stop)
except (RuntimeError, ValueError):
    print("stopped")
"""


def test_weights_are_not_freed_while_they_are_copied(tiny_model: Path, tmp_path: Path) -> None:
    done = run("staged", "-c", STOPPED, tiny_model, folder=tmp_path)
    assert (done.returncode, done.stdout) == (0, "stopped\n"), done.stderr


# The first three are of a prompt, where a product waits for the second; in decoding attention waits
# for the fourth.
@pytest.mark.parametrize("turn", [2, 4])
def test_a_dispatch_that_waits_in_vain_ends_the_request_alone(
    turn: int, tiny_model: Path, learnt: str, tmp_path: Path
) -> None:
    done = run(f"skip={turn}", "-c", LOST, tiny_model, learnt[:40], f"skip={turn}", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    failed, *said = done.stdout.splitlines()
    assert failed.startswith("failed The driver of ")
    assert "MLC_LLM_VULKAN_HIDE=overlapping-dispatches" in failed
    assert len(said) == 2
    assert all(learnt[40:].startswith(line.removeprefix("said ")) for line in said)


TWO = """
import os
import sys
from mlc_llm.model import Model
from mlc_llm.work import last_work
first, second = (Model.load(sys.argv[1], device="vulkan") for _ in range(2))
for turn in range(2):
    second.extend([(second.sequence(), [5])])
    print(last_work(second, 1).barriers)
    if turn == 0:
        os.environ["MLC_LLM_FAULT"] = "skip=2"
        try:
            first.extend([(first.sequence(), [5])])
        except RuntimeError:
            print("failed")
"""


def test_what_one_model_finds_of_the_order_holds_for_the_others_too(
    tiny_model: Path, tmp_path: Path
) -> None:
    done = run("skip=1000000", "-c", TWO, tiny_model, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    before, failed, after = done.stdout.split()
    assert failed == "failed"
    assert int(before) < int(after)


@pytest.mark.parametrize("megabytes", [0, 1])
def test_too_little_memory_is_told_with_numbers(
    megabytes: int, tiny_model: Path, learnt: str, tmp_path: Path
) -> None:
    arguments = ("generate", tiny_model, "--device", "vulkan", "--prompt", learnt[:40])
    name = f"memory={(megabytes << 20) + 1}"
    done = run(name, "-m", "mlc_llm", *arguments, folder=tmp_path)
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("mlc_llm: ")]
    assert "Vulkan cannot allocate " in line
    assert "are taken by this process, and about" in line
    assert "Use a model or a context that fits" in line


@pytest.mark.parametrize("name", ["buffers=7", "subgroups=4", "any-size", "own=1"])
def test_what_a_device_does_not_promise_is_not_used(
    name: str, tiny_model: Path, learnt: str, tmp_path: Path
) -> None:
    device = first_gpu()
    one_size = "subgroup-size-control" not in device.features
    if one_size and name in ("subgroups=4", "any-size"):
        pytest.skip("the device has one size of subgroups")
    if name == "own=1" and device.type == "discrete":
        pytest.skip("the device's memory is all its own")
    arguments = ("generate", tiny_model, "--device", "vulkan", "--prompt", learnt[:40])
    done = run(name, "-m", "mlc_llm", *arguments, "--temperature", "0", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert learnt[40:].startswith(done.stdout.rstrip("\n"))
