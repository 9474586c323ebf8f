"""The part for installers: PEP 503 pages with hashes and metadata, and the same as JSON.

PEP 503 (pages), 592 and 629 (versions of the interface), 658 and 714 (metadata), 691 and 700
(JSON). A static server cannot negotiate between pages and JSON: installers read the pages, and
`index.json` is for whoever asks for it by name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from ci.index.releases import File, Release
from ci.report.markup import element, html

PROJECT = "mlc-llm"  # normalized
HTML_VERSION, JSON_VERSION = "1.0", "1.1"


def write_simple(top: Path, releases: Sequence[Release]) -> None:
    """Write `top`/simple/ for `releases`."""
    simple = top / "simple"
    project = simple / PROJECT
    project.mkdir(parents=True)
    link = element("a", PROJECT, href=f"{PROJECT}/")
    _write_page(simple / "index.html", "Simple index", [link])
    links = [link_to(file, release) for release in releases for file in release.files]
    _write_page(project / "index.html", f"Links for {PROJECT}", links)
    _write_json(simple / "index.json", {"projects": [{"name": PROJECT}]})
    _write_json(project / "index.json", describe(releases))


def link_to(file: File, release: Release) -> ET.Element:
    """Return the anchor that pip and uv read."""
    url = _from_project(file.url)
    return element(
        "a",
        file.name,
        href=f"{url}#sha256={file.sha256}",
        data_requires_python=release.requires_python,
        data_core_metadata=f"sha256={file.metadata_sha256}" if file.metadata_sha256 else "",
    )


def describe(releases: Sequence[Release]) -> Mapping[str, Any]:
    """Return what the project's JSON says."""
    return {
        "name": PROJECT,
        "versions": [str(release.version) for release in releases],
        "files": [
            {
                "filename": file.name,
                "url": _from_project(file.url),
                "hashes": {"sha256": file.sha256},
                "requires-python": release.requires_python,
                "size": file.size,
                "core-metadata": {"sha256": sha256} if (sha256 := file.metadata_sha256) else False,
            }
            for release in releases
            for file in release.files
        ],
    }


def _from_project(url: str) -> str:
    """Return `url` as seen from simple/PROJECT/."""
    return url if "://" in url else f"../../{url}"


def _write_page(path: Path, title: str, links: Sequence[ET.Element]) -> None:
    lines = [
        "<!DOCTYPE html>",
        '<html lang="en">',
        '<meta charset="utf-8">',
        f'<meta name="pypi:repository-version" content="{HTML_VERSION}">',
        f"<title>{title}</title>",
        *(f"{html(link)}<br>" for link in links),
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")


def _write_json(path: Path, document: Mapping[str, Any]) -> None:
    text = json.dumps({"meta": {"api-version": JSON_VERSION}, **document}, indent=1)
    path.write_text(text + "\n", encoding="utf-8", newline="\n")
