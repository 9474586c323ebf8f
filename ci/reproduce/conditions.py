"""How to run a recorded session here as it ran there, and what differs all the same."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ci import machine
from ci.images import ENGINES, engine_problem, find_image
from ci.machine import Machine, pretend, this_machine
from ci.paths import LOCKS, ROOT
from ci.pythons import find_python
from ci.record import ENVIRONMENT, QUIET, SESSION, Record, lock_digests
from ci.release.github.place import TOKENS

# What nox has set for the session that reproduces; and tokens: nothing is published from here.
OURS = ("VIRTUAL_ENV", "NOX_CURRENT_SESSION", SESSION, *TOKENS)
PUSH = "--push"
HOST = "host"  # the other engines are a lane's only way and no choice


@dataclass(frozen=True)
class Conditions:
    """With what the session is run; `differences` are for people to read."""

    python: Path
    arguments: tuple[str, ...]
    environment: dict[str, str]
    differences: tuple[str, ...]


def prepare(record: Record, checkout: Path) -> Conditions:
    """Return the nearest that this machine has to the record's conditions."""
    python = (
        find_python(record.machine.python.rpartition(".")[0]) or Path(sys.executable)
    ).resolve()
    here = replace(this_machine(), python=full_version(python))
    pretended = pretend(record.machine, here)
    pretended = {name: pretended[name] for name in pretended.keys() - record.environment.keys()}
    differences = [
        *machine.differences(record.machine, here, pretended),
        *lock_differences(record, checkout / LOCKS.relative_to(ROOT)),
        *engine_differences(record, here),
    ]
    if PUSH in record.arguments:
        differences.append("nothing is pushed from here")
    if record.diff is None:
        differences.append("the changes to the commit were too large for the record")
    return Conditions(
        python=python,
        arguments=arguments(record, here),
        environment=clean_environment(os.environ) | record.environment | pretended | {QUIET: "1"},
        differences=tuple(differences),
    )


def full_version(python: Path) -> str:
    """Return the version of an interpreter, "3.11.2"."""
    code = "import platform; print(platform.python_version())"
    return subprocess.check_output([python, "-I", "-c", code], text=True).strip()


def clean_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return `environ` without what nox has set, and what a record may set."""
    inside = os.fspath(ROOT / ".nox")
    kept = {name: environ[name] for name in environ if name not in {*ENVIRONMENT, *OURS}}
    folders = environ.get("PATH", "").split(os.pathsep)
    return kept | {"PATH": os.pathsep.join(f for f in folders if not f.startswith(inside))}


def arguments(record: Record, here: Machine) -> tuple[str, ...]:
    """Return the session's words, with what it had found out by itself: the lane, the engine.

    An image is made and not pushed.
    """
    words = [*record.arguments]
    if PUSH in words:
        at = words.index(PUSH)
        del words[at : at + 2]
    if record.session == "wheels" and record.lane and "--lane" not in words:
        words += ["--lane", record.lane]
    chosen = record.engine in {*ENGINES, HOST} and here.system == record.machine.system
    if chosen and "--engine" not in words:
        words += ["--engine", usable(record.engine)]
    return tuple(words)


def usable(engine: str) -> str:
    """Return `engine`, or for a container engine that is not here the other one if that is."""
    others = [other for other in ENGINES if other != engine]
    if engine in ENGINES and engine_problem(engine):
        return next((other for other in others if not engine_problem(other)), engine)
    return engine


def lock_differences(record: Record, locks: Path) -> Iterator[str]:
    """Say which locks of the checkout are not those of the record."""
    here = lock_digests(locks)
    for name in sorted(here.keys() | record.locks.keys()):
        there = record.locks.get(name)
        if there != here.get(name):
            yield f"ci/locks/{name}: {_short(there)} there, {_short(here.get(name))} here"


def engine_differences(record: Record, here: Machine) -> Iterator[str]:
    """Say how the place where the lane is built differs: another engine, another image."""
    if not record.engine:
        return
    if here.system != record.machine.system:
        yield f"engine: {record.engine} there, this machine's own way here"
        return
    engine = usable(record.engine)
    if engine != record.engine:
        yield f"engine: {record.engine} there, {engine} here"
    if record.image:
        name, _, digest = record.image.partition(" ")
        image = None if engine_problem(engine) else find_image(engine, name)
        if image is None:
            yield f"image {name} is not here yet: it is made, or pulled, first"
        elif image.digest != digest:
            yield f"image {name}: {_short(digest)} there, {_short(image.digest)} here"


def _short(digest: str | None) -> str:
    return digest.removeprefix("sha256:")[:12] if digest else "none"
