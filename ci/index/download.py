"""The releases of a repository on GitHub, as folders here."""

from __future__ import annotations

import shutil
from pathlib import Path

from ci.errors import FactoryError
from ci.paths import WORK, made_whole
from ci.release.github.client import Client, TroubleError
from ci.release.github.download import download
from ci.release.github.place import Place


def download_all(place: Place) -> Path:
    """Return a folder with one folder per published release, each file as the server states it.

    A release that is here already is not downloaded again: a published one never changes.
    """
    top = WORK / "releases" / place.name
    top.mkdir(parents=True, exist_ok=True)
    with Client(place) as client:
        try:
            releases = list(client.pages("/releases"))
        except TroubleError as trouble:
            raise FactoryError(
                f"the releases of {place.name} cannot be listed: {trouble}.", hint="Try again."
            ) from None
        tags = {release["tag_name"] for release in releases if not release["draft"]}
        for folder in top.iterdir():
            if folder.name not in tags:
                shutil.rmtree(folder)
        for tag in sorted(tags - {folder.name for folder in top.iterdir()}):
            with made_whole(top / tag) as partial:
                print(download(client, tag, partial), flush=True)
    return top
