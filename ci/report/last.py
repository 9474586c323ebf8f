"""The release before this build: what its wheels weighed. Kept, so that every later page has it."""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from packaging.version import Version

from ci.errors import FactoryError, UsageError
from ci.manifest import NAME, read_manifest
from ci.release.github.client import Client, TroubleError
from ci.release.github.place import Place
from ci.version import tag_to_version

KEPT = "last-release.json"


@dataclass(frozen=True)
class LastRelease:
    """A version, and the bytes of each lane's wheel; none of them where there is no release."""

    version: str
    sizes: dict[str, int]


NONE = LastRelease("", {})


def from_folder(folder: Path) -> LastRelease:
    """Return what the release in `folder` weighs; raises FactoryError if it is not as it says."""
    if not (folder / NAME).is_file():
        raise UsageError(
            f"{folder} holds no release: it has no {NAME}.",
            hint="Name the folder of one, as `nox -s release -- --to DIR` makes it, or `latest`.",
        )
    manifest = read_manifest(folder)
    return LastRelease(manifest.version, {wheel.lane: wheel.size for wheel in manifest.wheels})


def from_github(place: Place) -> LastRelease:
    """Return what the newest release weighs, by its manifest; pre-releases do not count.

    Raises FactoryError where there is none.
    """
    with Client(place) as client, tempfile.TemporaryDirectory(prefix="mlc_llm-") as scratch:
        try:
            listed = client.pages("/releases")
            final = [each for each in listed if not each["draft"] and not each["prerelease"]]
            if not final:
                raise FactoryError(f"{place.name} has no release yet.")
            newest = max(final, key=lambda each: Version(tag_to_version(each["tag_name"])))
            assets = client.pages(f"/releases/{newest['id']}/assets")
            (manifest,) = (asset["id"] for asset in assets if asset["name"] == NAME)
            path = Path(scratch) / NAME
            client.download(f"/releases/assets/{manifest}", path)
        except TroubleError as trouble:
            raise FactoryError(f"{trouble}.", hint="Try again later.") from None
        document = json.loads(path.read_text(encoding="utf-8"))
        wheels = {wheel["lane"]: int(wheel["size"]) for wheel in document["wheels"]}
        return LastRelease(document["version"], wheels)


def keep(last: LastRelease, work: Path) -> None:
    """Remember `last` for the pages to come."""
    work.mkdir(parents=True, exist_ok=True)
    (work / KEPT).write_text(json.dumps(asdict(last)), encoding="utf-8")


def recall(work: Path) -> LastRelease:
    """Return what was kept in `work`, or NONE."""
    path = work / KEPT
    return LastRelease(**json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else NONE
