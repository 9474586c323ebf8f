"""The record of a wheelhouse: what it holds, how it was made and what was checked."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from ci.checks import Check
from ci.errors import FactoryError

NAME = "manifest.json"
SCHEMA = Path(__file__).with_name("manifest.schema.json")
REBUILD = "Build the wheels again with `nox -s wheels`."


@dataclass(frozen=True)
class WheelRecord:
    """One wheel; `size` in bytes, `toolchain_lock` a sha256, `image` null for a host build."""

    file: str
    lane: str
    engine: str  # docker, podman, host, cross or native
    sha256: str
    size: int
    toolchain_lock: str
    image: str | None
    checks: tuple[Check, ...]


@dataclass(frozen=True)
class SdistRecord:
    """The sdist that every wheel was built from; `size` in bytes."""

    file: str
    sha256: str
    size: int


@dataclass(frozen=True)
class Manifest:
    """A whole wheelhouse; docs/manifest.md explains each field."""

    version: str
    commit: str
    dirty: bool
    source_date_epoch: int
    sdist: SdistRecord
    wheels: tuple[WheelRecord, ...]
    schema: int = 1
    project: str = "mlc_llm"


def write_manifest(wheelhouse: Path, manifest: Manifest) -> None:
    """Write `manifest` into `wheelhouse`, atomically.

    Raises FactoryError, and leaves an older manifest as it was, when `read_manifest` would refuse
    the new one.
    """
    # Through JSON, so that what is validated is what a reader will see: lists, not tuples.
    text = json.dumps(asdict(manifest), indent=2, sort_keys=True) + "\n"
    _validate(json.loads(text), wheelhouse)
    path = wheelhouse / NAME
    partial = path.with_name(f".{NAME}.{os.getpid()}.partial")
    try:
        partial.write_text(text, encoding="utf-8", newline="\n")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def read_manifest(wheelhouse: Path) -> Manifest:
    """Return the manifest of `wheelhouse`, which its wheels match byte for byte.

    Raises FactoryError when it is absent, breaks the schema or disagrees with the wheels.
    """
    path = wheelhouse / NAME
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise FactoryError(f"{wheelhouse} holds no {NAME}.", hint=REBUILD) from error
    except (ValueError, RecursionError) as error:
        raise FactoryError(f"{NAME} is not JSON: {error}.", hint=REBUILD) from error
    _validate(document, wheelhouse)
    wheels = tuple(
        WheelRecord(**wheel | {"checks": tuple(Check(**c) for c in wheel["checks"])})
        for wheel in document["wheels"]
    )
    return Manifest(**document | {"sdist": SdistRecord(**document["sdist"]), "wheels": wheels})


def record_sdist(sdist: Path) -> SdistRecord:
    """Return the record of `sdist` as it lies there."""
    return SdistRecord(sdist.name, hash_file(sdist), sdist.stat().st_size)


def hash_file(path: Path) -> str:
    """Return the sha256 of `path` in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _validate(document: Any, wheelhouse: Path) -> None:
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    if error := best_match(Draft202012Validator(schema).iter_errors(document)):
        where = error.json_path.removeprefix("$").lstrip(".") or "the document"
        raise FactoryError(f"{NAME} breaks its schema at {where}: {error.message}.", hint=REBUILD)
    wheels = document["wheels"]
    for field in ("lane", "file"):
        for value, count in Counter(wheel[field] for wheel in wheels).items():
            if count > 1:
                raise FactoryError(f"{NAME} lists the {field} {value} twice.", hint=REBUILD)
    files = [document["sdist"], *wheels]
    found = {path.name for kind in ("*.whl", "*.tar.gz") for path in wheelhouse.glob(kind)}
    for extra in sorted(found - {file["file"] for file in files}):
        raise FactoryError(
            f"{extra} lies in {wheelhouse} and {NAME} does not list it.",
            hint="Remove it, or build into an empty folder.",
        )
    for file in files:
        _validate_file(file, document["version"], wheelhouse)


def _validate_file(file: dict[str, Any], version: str, wheelhouse: Path) -> None:
    name, lane = file["file"], file.get("lane", "")
    path = wheelhouse / name
    if not name.startswith((f"mlc_llm-{version}-", f"mlc_llm-{version}.tar.gz")):
        raise FactoryError(f"{name} is not of version {version}.", hint=REBUILD, lane=lane)
    if not path.is_file():
        raise FactoryError(f"{NAME} lists {name}, which is absent.", hint=REBUILD, lane=lane)
    for field, actual in (("size", path.stat().st_size), ("sha256", hash_file(path))):
        if file[field] != actual:
            raise FactoryError(
                f"{name} has the {field} {actual}; {NAME} says {file[field]}.",
                hint=f"One of them was changed after the build. {REBUILD}",
                lane=lane,
            )
