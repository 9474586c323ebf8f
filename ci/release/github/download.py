"""A published release, as files."""

from __future__ import annotations

from pathlib import Path

from ci.errors import FactoryError
from ci.manifest import hash_file
from ci.release.github.client import Client, TroubleError
from ci.release.plan import NOTES


def download(client: Client, tag: str, folder: Path) -> str:
    """Fill `folder` with the files of the release of `tag`, each as the server states its digest.

    Raises FactoryError when there is no such release, or when it cannot be had whole.
    """
    try:
        release = client.get(f"/releases/tags/{tag}")
        if release is None:
            raise FactoryError(
                f"{client.place.name} has no release {tag}, or you may not see it.",
                hint="Check the name; for a private repository, set GITHUB_TOKEN.",
            )
        assets = list(client.pages(f"/releases/{release['id']}/assets"))
        for asset in assets:
            path = folder / Path(asset["name"]).name
            client.download(f"/releases/assets/{asset['id']}", path)
            if asset["digest"] != f"sha256:{hash_file(path)}":
                raise FactoryError(
                    f"{path.name} did not arrive as the server states it.", hint="Try again."
                )
    except TroubleError as trouble:
        raise FactoryError(
            f"{tag} could not be downloaded: {trouble}.", hint="Try again later."
        ) from None
    (folder / NOTES).write_text(release["body"] or "", encoding="utf-8", newline="\n")
    return f"{tag}: {len(assets)} files from {release['html_url']}, as the server states them"
