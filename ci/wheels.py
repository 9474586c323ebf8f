"""`nox -s wheels`: make, verify and test the wheel of each lane.

sdist -> build -> repair -> smoke -> verify -> wheelhouse/ + manifest.json
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path

from ci import images
from ci.checks import FAILED, NOT_RUN, PASSED, Check
from ci.engines import (
    Job,
    build_in_container,
    build_natively,
    build_on_host,
    can_run,
    check_host,
    runs_here,
    test_on_host,
)
from ci.errors import FactoryError, UsageError
from ci.images import ENGINES
from ci.lanes import Lane, find_lane, load_lanes
from ci.manifest import Manifest, WheelRecord, hash_file, record_sdist
from ci.paths import ROOT, WHEELHOUSE, WORK, cache_dir
from ci.report.__main__ import write_page
from ci.report.tables import show
from ci.results import LaneResult, kept
from ci.sdist import Checkout
from ci.session import run_session
from ci.smoke import PREFIX
from ci.timeline import Timeline
from ci.toolchain import ensure_toolchain, ensure_tvm_ffi
from ci.verify import verify_wheel
from ci.version import read_source
from ci.wheelhouse import check_wheelhouse, publish

FREE_BYTES = 2_000_000_000  # what a first build writes, rounded up


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """Read the words behind `nox -s wheels --`."""
    parser = argparse.ArgumentParser(
        prog="nox -s wheels --",
        description="Make the wheel of each lane, verify and test it, and put it into wheelhouse/ "
        "with its manifest. Without options: every lane that can be built here, in a container "
        "where podman or docker answers, else on the host with the same steps and the same bytes.",
    )
    parser.add_argument("--lane", metavar="ID", help="only this row of ci/lanes.toml")
    parser.add_argument(
        "--engine",
        choices=["auto", *ENGINES, "host"],
        default="auto",
        help="where the steps of the container lanes run (default: %(default)s)",
    )
    parser.add_argument(
        "--image",
        default="",
        metavar="REPOSITORY@sha256:DIGEST",
        help="the image of the container lanes, from a registry (default: made here)",
    )
    parser.add_argument(
        "--toolchain",
        choices=["hermetic", "system"],
        default="hermetic",
        help="system: the compiler that CMake finds, on the host; for porting work, the wheel "
        "stays in build/ (default: %(default)s)",
    )
    parser.add_argument(
        "--every-check",
        action="store_true",
        help="fail where a check was not run, unless nothing but a machine of the lane's own can",
    )
    parser.add_argument(
        "--wheelhouse",
        type=Path,
        default=WHEELHOUSE,
        metavar="DIR",
        help="where finished wheels go (default: wheelhouse/)",
    )
    return parser.parse_args(arguments)


def choose_engine(lane: Lane, wanted: str, *, system_compiler: bool = False) -> str:
    """Return the engine for `lane`: for a container's what was asked for, or the best that answers.

    A cross lane has no choice: cibuildwheel on its own kind of machine, else this host.
    """
    if system_compiler:
        if wanted not in {"auto", "host"}:
            raise UsageError(
                "--toolchain system uses this machine's compiler, which no container has.",
                hint="Leave out --engine.",
            )
        return "host"
    if lane.build == "cross":
        if not runs_here(lane):
            return "cross"
        return "host" if lane.system == "linux" else "native"
    if wanted == "host":
        return wanted
    problems = {name: engine_problem(name) for name in ENGINES if wanted in {name, "auto"}}
    for name, problem in problems.items():
        if not problem:
            return name
    if wanted != "auto":
        raise FactoryError(
            f"{wanted} cannot be used: {problems[wanted]}.",
            hint="Mend that, or build on the host with `-- --engine host`: the bytes are the same.",
        )
    print(f"Building on the host, same steps and same bytes: {'; '.join(problems.values())}.")
    return "host"


def prepare_image(
    engine: str, options: argparse.Namespace, log: Path
) -> tuple[str, images.ImageRef | None]:
    """Return the engine and its image, started once: the one in a registry, or this machine's.

    Where neither engine nor image was asked for, a host without a usable one builds by itself.
    """
    address = options.image
    try:
        image = images.pull_image(engine, address, log) if address else images.ensure_image(engine)
        images.check_start(engine, image)
    except FactoryError as error:
        if options.engine != "auto" or address:
            raise
        print(f"Building on the host, same steps and same bytes. No container, since: {error}")
        return "host", None
    return engine, image


def engine_problem(name: str) -> str:
    """Return why cibuildwheel cannot work with docker or podman here; empty when it can."""
    if sys.version_info < (3, 11):
        return f"cibuildwheel needs Python 3.11 or newer to drive {name}"
    return images.engine_problem(name)


def check_space(directory: Path, hint: str) -> None:
    """Refuse to start a build that the disk of `directory` cannot hold."""
    directory.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(directory).free
    if free < FREE_BYTES:
        raise FactoryError(
            f"the disk of {directory} has {free / 1e9:.1f} GB free, and a build needs up to "
            f"{FREE_BYTES / 1e9:.0f} GB.",
            hint=hint,
        )


class SmokeReader:
    """Collects the outcomes of smoke tests from the lines that an engine prints."""

    def __init__(self, timeline: Timeline) -> None:
        self.timeline = timeline
        self.checks: dict[str, Check] = {}

    def read(self, line: str) -> bool:
        """Note the phase or the outcome that `line` tells of. Return whether that is an outcome."""
        self.timeline.read(line)
        if PREFIX not in line:
            return False
        check = Check(**json.loads(line[line.index(PREFIX) + len(PREFIX) :]))
        print(f"  {check.name}: {check.status}", flush=True)
        # What could not run in one place may have run in the other; a failure stays.
        before = self.checks.get(check.name, check)
        keep = before.status == FAILED or check.status == NOT_RUN
        self.checks[check.name] = before if keep else check
        return True


def work_folder(lane: Lane, options: argparse.Namespace) -> Path:
    """Return where the lane's steps work and leave their logs."""
    return WORK / (f"{lane.id}-system" if options.toolchain == "system" else lane.id)


def build_lane(lane: Lane, options: argparse.Namespace, checkout: Checkout) -> LaneResult:
    """Take one lane from the checkout to a finished wheel in the wheelhouse."""
    system_compiler = options.toolchain == "system"
    engine = choose_engine(lane, options.engine, system_compiler=system_compiler)
    if engine == "host":
        check_host(lane)
        if options.image and lane.build == "container":
            raise FactoryError(
                "--image names what a container is made of, and none is used here.",
                hint="Install podman or start docker, or leave out --image.",
                lane=lane.id,
            )
    work = work_folder(lane, options)
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    log = work / "build.log"
    check_space(work, "Free some space there.")
    check_space(cache_dir(), "Free some space there, or point MLC_LLM_CACHE at a larger disk.")
    print(f"{lane.id}: building with {engine}; the log is {log}", flush=True)

    timeline = Timeline()
    smoke = SmokeReader(timeline)
    result = LaneResult(lane.id, engine, checkout.source.commit)
    with kept(result, timeline, smoke.checks, work):
        make_wheel(lane, options, checkout, result, smoke)
    return result


def make_wheel(
    lane: Lane,
    options: argparse.Namespace,
    checkout: Checkout,
    result: LaneResult,
    smoke: SmokeReader,
) -> None:
    """Take every step from the toolchain to the wheelhouse; tell `result` what came of each."""
    source = checkout.source
    system_compiler = options.toolchain == "system"
    timeline = smoke.timeline
    work = work_folder(lane, options)
    log = work / "build.log"
    timeline.start("set-up")
    image = None
    if result.engine in ENGINES:
        result.engine, image = prepare_image(result.engine, options, log)
    engine = result.engine
    compiler = engine not in ENGINES and not system_compiler
    toolchain = ensure_toolchain(lane, log, compiler=compiler)
    tvm_ffi = ensure_tvm_ffi(lane, log) if engine == "cross" else None
    result.image = f"{image.name} {image.digest}" if image else ""
    timeline.start("sdist")
    version, sdist = checkout.sdist(work, toolchain, log=log, lane=lane)
    result.version = version
    job = Job(lane, sdist, work, log, source.epoch, smoke.read)
    timeline.start("container" if image else "configure")
    if image:
        build_in_container(job, image, engine)
        if "host" in lane.tested and runs_here(lane):
            test_on_host(job, toolchain)
    elif engine == "native":
        build_natively(job, toolchain)
    else:
        build_on_host(job, toolchain, tvm_ffi=tvm_ffi, system_compiler=system_compiler)
    (wheel,) = job.repaired.glob("*.whl")
    result.wheel = wheel
    timeline.start("verify")
    checks = [*smoke.checks.values()]
    if not system_compiler:
        tvm_ffi = tvm_ffi or toolchain.directory
        forbidden = [str(ROOT), str(work), str(toolchain.directory), str(tvm_ffi)]
        checks[:0] = verify_wheel(wheel, lane, version, tvm_ffi=tvm_ffi, forbidden=forbidden)
    result.checks = checks
    judge(wheel, checks, lane, log, every=options.every_check)
    if not system_compiler:
        record = WheelRecord(
            file=wheel.name,
            lane=lane.id,
            engine=engine,
            sha256=hash_file(wheel),
            size=wheel.stat().st_size,
            toolchain_lock=toolchain.digest,
            image=image.digest if image else None,
            checks=tuple(checks),
        )
        manifest = Manifest(
            *(version, source.commit, source.dirty, source.epoch),
            sdist=record_sdist(job.sdist),
            wheels=(),
        )
        published = publish(wheel, record, job.sdist, manifest, options.wheelhouse.resolve())
        result.wheel = published


def judge(wheel: Path, checks: list[Check], lane: Lane, log: Path, *, every: bool = False) -> None:
    """Raise FactoryError unless smoke tests ran and no check failed.

    With `every`, nor may one be "not run" that a machine like this one could run.
    """
    bad = {FAILED, NOT_RUN} if every and can_run(lane) else {FAILED}
    if failed := [check for check in checks if check.status in bad]:
        lines = "\n".join(f"    {check.name}: {check.status}, {check.detail}" for check in failed)
        raise FactoryError(
            f"{len(failed)} of {len(checks)} checks did not pass on {wheel.name}:\n{lines}\n",
            lane=lane.id,
            phase="verify",
            hint=f"The wheel is kept in {wheel.parent} for a look; wheelhouse/ is unchanged.",
            log=log,
            failed=[check.name for check in failed],
        )
    smoke = {check.status for check in checks if check.name.startswith("smoke")}
    # Another platform's wheel need not run here; the table says so, and no release takes it.
    if PASSED not in smoke and (runs_here(lane) or not smoke):
        raise FactoryError("no smoke test ran.", lane=lane.id, phase="smoke", log=log)


def choose_lanes(wanted: str | None, *, system_compiler: bool = False) -> list[Lane]:
    """Return the lanes to look at: all that this machine can try, or the one that was named."""
    lanes = load_lanes()
    if wanted is None:
        return [lane for lane in lanes.values() if can_build(lane, system_compiler=system_compiler)]
    lane = find_lane(wanted, lanes)
    if not lane.built:
        raise UsageError(
            f"lane {wanted} is declared in ci/lanes.toml but not built here yet.",
            hint=f"Built here: {', '.join(lane.id for lane in lanes.values() if lane.built)}.",
        )
    return [lane]


def can_build(lane: Lane, *, system_compiler: bool) -> bool:
    """Whether a machine like this one may be asked for the lane: the compiler decides, or Linux."""
    return runs_here(lane) or (sys.platform == "linux" and not system_compiler)


def main(arguments: list[str]) -> int:
    """Build every chosen lane and print the table."""
    options = parse_arguments(arguments)
    lanes = choose_lanes(options.lane, system_compiler=options.toolchain == "system")
    check_wheelhouse(options.wheelhouse)
    checkout = Checkout(ROOT, read_source(ROOT))
    if checkout.source.dirty:
        print("The tree is dirty: the version says so, and no release takes this wheel.")
    try:
        results = [build_lane(lane, options, checkout) for lane in lanes if lane.built]
        show(results, [lane for lane in lanes if not lane.built])
    finally:
        if page := write_page(WORK):
            print(f"report: {page}")
    return 0


if __name__ == "__main__":
    run_session(main)
