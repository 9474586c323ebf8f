"""The page for people: template.html with the commands and the files in it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from string import Template
from xml.etree import ElementTree as ET

from ci.index.releases import File, Release, newest
from ci.lanes import load_lanes
from ci.report.markup import Child, element, html

TEMPLATE = Path(__file__).with_name("template.html")
TOOLS = ("pip", "uv")
SOURCE = "source"
MACHINES = {"x86_64": "x86-64", "amd64": "x86-64", "aarch64": "Arm64", "arm64": "Arm64"}


def render(releases: Sequence[Release], base: str) -> str:
    """Return the page of an index whose top is at the address `base`, which ends in a slash."""
    shown = newest(releases)
    choices = [(file.platform or SOURCE, file) for file in in_order(shown.files)]
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        version=str(shown.version),
        python=shown.requires_python.replace(">=", "") + " or newer",
        platforms=html(*(_choice(id_, *describe(file.platform)) for id_, file in choices)),
        tools=html(*(_tool(tool) for tool in TOOLS)),
        commands=html(
            *(_commands(id_, file, shown, base) for id_, file in choices),
        ),
        rules="\n".join(
            f"main:has(#for-{id_}:checked) [data-for={id_}] {{ display: block }}"
            for id_, _ in choices
        ),
        index=f"{base}simple/",
        releases=html(*(_release(release, shown) for release in releases)),
    )


def in_order(files: Iterable[File]) -> list[File]:
    """Return `files` in the order of the table of lanes, what is in no lane behind them."""
    platforms = [lane.platform for lane in load_lanes().values()]
    known = {platform: number for number, platform in enumerate(platforms)}
    return sorted(files, key=lambda file: known.get(file.platform, len(known)))


def describe(platform: str) -> tuple[str, str]:
    """Return a platform tag in a person's words: the name, and what it needs."""
    if not platform:
        return "Another machine", "built from source"
    if match := re.fullmatch(r"manylinux_(\d+)_(\d+)_(\w+)", platform):
        major, minor, machine = match.groups()
        return f"Linux {MACHINES.get(machine, machine)}", f"glibc {major}.{minor} or newer"
    if match := re.fullmatch(r"win_(\w+)", platform):
        return f"Windows {MACHINES.get(match[1], match[1])}", "Windows 10 or newer"
    if match := re.fullmatch(r"macosx_(\d+)_(\d+)_(\w+)", platform):
        return f"macOS {MACHINES.get(match[3], match[3])}", f"macOS {match[1]} or newer"
    return platform, ""


def commands(file: File, release: Release, base: str) -> dict[str, str]:
    """Return the command that installs `file`, for each tool.

    pip is given the file itself, with its hash: it takes a name from whichever index has the
    highest version, and this one does not have the dependencies. uv takes a name from the first
    index that has it.
    """
    url = file.url if "://" in file.url else f"{base}{file.url}"
    only_source = "" if file.platform else " --no-binary mlc_llm"
    return {
        "pip": f'pip install "mlc_llm @ {url}#sha256={file.sha256}"',
        "uv": f"uv pip install mlc_llm=={release.version} --index {base}simple/{only_source}",
    }


def _choice(id_: str, name: str, needs: str) -> ET.Element:
    return element(
        "label",
        element("input", type="radio", name="platform", id=f"for-{id_}", value=id_),
        element("span", element("b", name), element("small", needs)),
    )


def _tool(tool: str) -> ET.Element:
    checked = {"checked": "checked"} if tool == TOOLS[0] else {}
    return element(
        "label",
        element("input", type="radio", name="tool", id=f"with-{tool}", value=tool, **checked),
        element("span", tool),
    )


def _commands(id_: str, file: File, release: Release, base: str) -> ET.Element:
    boxes = [
        element(
            "div",
            element("code", command),
            element("button", "Copy", type="button", class_="copy", hidden="hidden"),
            class_="command",
            data_with=tool,
        )
        for tool, command in commands(file, release, base).items()
    ]
    name, _ = describe(file.platform)
    return element("div", element("h3", name, class_="fallback"), *boxes, data_for=id_)


def _release(release: Release, shown: Release) -> ET.Element:
    kind = "pre-release" if release.version.is_prerelease else "newest" if release == shown else ""
    marks: list[Child] = [element("span", kind, class_="mark")] if kind else []
    summary = element(
        "summary",
        element("b", str(release.version)),
        *marks,
        element("time", f"{release.date:%-d %B %Y}", datetime=release.date.isoformat()),
    )
    rows = [
        element(
            "li",
            element("a", describe(file.platform)[0] if file.platform else "Source", href=file.url),
            element("span", f"{file.size / 1e6:.2f} MB", class_="size"),
            element("code", f"sha256 {file.sha256}"),
        )
        for file in in_order(release.files)
    ]
    opened = {"open": "open"} if release == shown else {}
    return element("details", summary, element("ul", *rows), **opened)
