"""What a build leaves for the page about it: a lane, with one check that failed."""

from pathlib import Path

from wheels import good_files, write_wheel

from ci.checks import FAILED, NOT_RUN, PASSED, Check
from ci.lanes import load_lanes
from ci.report.ninja import PREFIX
from ci.results import LaneResult, write_result
from ci.timeline import Span

LANE = load_lanes()["linux-x86_64"]
NINJA_LOG = """\
# ninja log v6
1500\t4000\t0\tCMakeFiles/mlc_core.dir/cpp/cpu/linear.cc.o\tb
0\t1500\t0\tCMakeFiles/mlc_core.dir/cpp/cpu/isa.cc.o\ta
0\t2000\t0\tCMakeFiles/mlc_llm.dir/cpp/ffi/model.cc.o\tc
4000\t4500\t0\tlibmlc_llm.so\td
4000\t4500\t0\tlibmlc_llm.so.map\td
"""


def write_build(work: Path) -> Path:
    """Write the build into the folder `work`, and return it."""
    folder = work / LANE.id
    folder.mkdir(parents=True)
    result = LaneResult(
        *(LANE.id, "host", "0123456789abcdef", "", "1.2.3"),
        wheel=write_wheel(folder, good_files()),
        checks=[
            Check("stack", PASSED, "not executable"),
            Check("size", FAILED, "<5 bytes too many>"),
            Check("smoke: import, python 3.10", NOT_RUN, "no such Python"),
        ],
        spans=[Span("compile", 0, 4.5), Span("smoke", 4.5, 6)],
        failure="1 of 3 checks failed",
    )
    write_result(result, folder)
    lines = [PREFIX + line for line in NINJA_LOG.splitlines()]
    (folder / "build.log").write_text("\n".join(lines))
    return work
