"""Whatever happens to any request: one complete release in the end, and never half of one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from github_double import Double, Fault, Repository
from github_double.faults import CUTS, every_fault
from github_runs import FILES, Killed, World, check_end, digests, make_release, run

from ci.release.plan import Release

# How many requests a run makes; the first test counts them. A messy run finds the draft of a
# killed one and has an upload of its own break: it deletes an asset and a draft as well.
CLEAN, MESSY = 12, 18


@pytest.fixture(scope="module")
def double() -> Iterator[Double]:
    with Double.run() as running:
        yield running


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    return make_release(tmp_path_factory.mktemp("release"), FILES)


def begin(double: Double, release: Release, *faults: Fault, messy: bool) -> None:
    """Give the double a memory for a clean or a messy run."""
    repository = Repository(digests())
    if messy:
        double.begin(repository, Fault(5, cut="during"))
        with pytest.raises(Killed):
            run(double, release, World(dying=True))
        faults = (Fault(4, cut="during"), *faults)
    double.begin(repository, *faults)


@pytest.mark.parametrize(("messy", "count"), [(False, CLEAN), (True, MESSY)])
def test_requests_of_a_run(double: Double, release: Release, count: int, *, messy: bool) -> None:
    begin(double, release, messy=messy)
    assert run(double, release).startswith("v1.2.3 is published: ")
    check_end(double)
    assert len(double.calls) == count
    kinds = {f"{call.host} {call.method}" for call in double.calls}
    assert kinds == {"api GET", "api POST", "api PATCH", "uploads POST"} | (
        {"api DELETE"} if messy else set()
    )


@pytest.mark.parametrize("fault", [f for at in range(CLEAN) for f in every_fault(at)], ids=str)
def test_fault_is_survived(double: Double, release: Release, fault: Fault) -> None:
    begin(double, release, fault, messy=False)
    world = World()
    assert "v1.2.3" in run(double, release, world)
    assert len(world.waits) == 1
    check_end(double)


@pytest.mark.parametrize("fault", [f for at in range(5, MESSY) for f in every_fault(at)], ids=str)
def test_fault_is_survived_in_a_mess(double: Double, release: Release, fault: Fault) -> None:
    begin(double, release, fault, messy=True)
    assert "v1.2.3" in run(double, release)
    check_end(double)


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("at", range(CLEAN))
def test_killed_run_is_finished_by_the_next(
    double: Double, release: Release, at: int, cut: str
) -> None:
    begin(double, release, Fault(at, cut=cut), messy=False)
    with pytest.raises(Killed):
        run(double, release, World(dying=True))
    assert len(double.calls) == at + 1
    run(double, release)
    check_end(double)
    double.calls.clear()
    assert "published already, the same in every byte" in run(double, release)
    assert double.writes == []
    check_end(double)
