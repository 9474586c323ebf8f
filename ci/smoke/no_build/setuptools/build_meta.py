"""The build back end: it says what pip already knows, the name and the version of the folder."""

from __future__ import annotations

import sys
from pathlib import Path

__legacy__ = sys.modules[__name__]


def prepare_metadata_for_build_wheel(
    metadata_directory: str,
    config_settings: object = None,  # noqa: ARG001 - the interface of PEP 517
) -> str:
    """Write what pip must see; its own file name is all that is read of the sdist."""
    lines = Path("PKG-INFO").read_text(encoding="utf-8").splitlines()
    fields = [line for line in lines if line.startswith(("Name: ", "Version: "))]
    name, version = (line.split(": ")[1] for line in sorted(fields))
    info = Path(metadata_directory, f"{name.replace('-', '_')}-{version}.dist-info")
    info.mkdir()
    text = "\n".join(("Metadata-Version: 2.1", *fields, ""))
    (info / "METADATA").write_text(text, encoding="utf-8")
    return info.name
