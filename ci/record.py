"""The record of a failed session: all that `nox -s reproduce` needs to run it again elsewhere.

Written with the standard library alone, since a session may have nothing else.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ci.errors import FactoryError
from ci.machine import Machine, this_machine
from ci.paths import LOCKS, ROOT, WORK

FOLDER = WORK.relative_to(ROOT) / "records"  # in a checkout
SCHEMA = Path(__file__).with_name("record.schema.json")
SESSION = "MLC_LLM_SESSION"  # noxfile.py sets it; what is run without nox leaves no record
SEED = "MLC_LLM_SEED"
QUIET = "MLC_LLM_REPRODUCING"  # set where a failure is no news
UNRECORDED = {"", "reproduce", "report"}
MAX_DIFF = 1_000_000  # bytes

# All of the environment that a record may hold. Nothing that can be a secret is ever added.
ENVIRONMENT = (
    *("MLC_LLM_CPU_ISA", "MLC_LLM_FUZZ_EXAMPLES", "MLC_LLM_NUM_THREADS", "MLC_LLM_REQUIRE_VULKAN"),
    *("MLC_LLM_VULKAN_HIDE", "MLC_LLM_VULKAN_LOADER", "VK_DRIVER_FILES", "VK_ICD_FILENAMES", SEED),
    *("PYTHONHASHSEED", "PYTHONUTF8", "LANG", "LC_ALL", "TZ", "CI"),
)
# Where the failure is to be looked up: shown to people, not used.
JOB = ("GITHUB_REPOSITORY", "GITHUB_WORKFLOW", "GITHUB_JOB", "GITHUB_RUN_ID", "GITHUB_RUN_ATTEMPT")


@dataclass(frozen=True)
class Failure:
    """How a session ended: in which phase, with which tests or checks failing, and its status."""

    phase: str
    failed: tuple[str, ...]
    status: int
    message: str


@dataclass(frozen=True)
class Record:
    """A failed session; docs/reproduce.md explains each field."""

    session: str
    arguments: tuple[str, ...]
    lane: str
    commit: str
    diff: str | None  # None: too large to be kept
    engine: str
    image: str
    locks: dict[str, str]
    machine: Machine
    environment: dict[str, str]
    job: dict[str, str]
    failure: Failure
    schema: int = 1


def keep_record(error: FactoryError, arguments: Sequence[str], root: Path = ROOT) -> Path | None:
    """Write the record of the session that ends with `error`, and return where it is.

    None for what is not a session of nox, and where there is no git to ask for the commit.
    """
    session = os.environ.get(SESSION, "")
    if session in UNRECORDED:
        return None
    try:
        record = Record(
            session=session,
            arguments=tuple(arguments),
            lane=error.lane,
            commit=_git("rev-parse", "HEAD", root=root).strip(),
            diff=read_diff(root),
            engine=error.engine,
            image=error.image,
            locks=lock_digests(),
            machine=this_machine(),
            environment=_chosen(ENVIRONMENT, os.environ),
            job=_chosen(JOB, os.environ),
            failure=Failure(error.phase, tuple(error.failed), error.exit_status, error.message),
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    path = root / FOLDER / f"{session}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(record), indent=2) + "\n", encoding="utf-8")
    return path


def read_record(path: Path) -> Record:
    """Return the record in `path`; raises FactoryError for a file that is none."""
    # Here, since writing must do without.
    from jsonschema import Draft202012Validator  # noqa: PLC0415
    from jsonschema.exceptions import best_match  # noqa: PLC0415

    hint = "A record is what a failed session leaves in build/records/ (docs/reproduce.md)."
    try:
        document: Any = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FactoryError(f"{path} cannot be read: {error.strerror}.", hint=hint) from error
    except ValueError as error:
        raise FactoryError(f"{path} is not JSON: {error}.", hint=hint) from error
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    if fault := best_match(Draft202012Validator(schema).iter_errors(document)):
        where = fault.json_path.removeprefix("$").lstrip(".") or "the document"
        raise FactoryError(f"{path} is no record, at {where}: {fault.message}.", hint=hint)
    failure = document["failure"]
    return Record(
        **document
        | {
            "arguments": tuple(document["arguments"]),
            "machine": Machine(**document["machine"]),
            "failure": Failure(**failure | {"failed": tuple(failure["failed"])}),
        }
    )


def lock_digests(locks: Path = LOCKS) -> dict[str, str]:
    """Return the sha256 of each lock by its file name."""
    paths = sorted(locks.glob("*.txt"))
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def read_diff(root: Path = ROOT) -> str | None:
    """Return what differs from the last commit, new files too; None if it is too large."""
    with tempfile.TemporaryDirectory(prefix="mlc_llm-record-") as scratch:
        # An index of its own: the user's keeps what is staged and what is not.
        index = {"GIT_INDEX_FILE": os.fspath(Path(scratch) / "index")}
        _git("read-tree", "HEAD", root=root, **index)
        _git("add", "--all", root=root, **index)
        # Whatever the user's own settings make of a diff, this one can be applied.
        plain = ("--binary", "--no-color", "--no-ext-diff", "--src-prefix=a/", "--dst-prefix=b/")
        diff = _git("diff", "--cached", *plain, "HEAD", root=root, **index)
    return diff if len(diff) <= MAX_DIFF else None


def _git(*arguments: str, root: Path, **variables: str) -> str:
    return subprocess.run(
        ["git", *arguments],
        cwd=root,
        env=os.environ | variables,
        check=True,
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="surrogateescape",
    ).stdout


def _chosen(names: Sequence[str], environ: Mapping[str, str]) -> dict[str, str]:
    return {name: environ[name] for name in names if name in environ}
