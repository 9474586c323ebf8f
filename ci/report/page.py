"""The page of a build: template.html with the lanes, times, contents and sizes in it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from xml.etree import ElementTree as ET

from ci.checks import FAILED, NOT_RUN, PASSED, Check
from ci.lanes import Lane
from ci.report.contents import Node
from ci.report.last import NONE, LastRelease
from ci.report.markup import Child, element, html, table
from ci.report.ninja import Step, rows
from ci.report.treemap import Box, squarify
from ci.results import LaneResult

TEMPLATE = Path(__file__).with_name("template.html")
MARKS = {PASSED: ("✓", "good"), FAILED: ("✕", "bad"), NOT_RUN: ("○", "off")}
PHASES = (
    *("set-up", "sdist", "container", "configure", "compile"),
    *("package", "repair", "smoke", "verify"),
)
SMOKE = "smoke: "
COLOURS = 9  # k0 to k8 in the template
SLOWEST = LARGEST = 12
# Below these shares of the whole a label would not fit: of a row's width, of a map's sides.
LABEL_SPAN, LABEL_WIDTH, LABEL_HEIGHT = 0.07, 0.07, 0.05


@dataclass(frozen=True)
class Built:
    """One lane with all that the page shows of it; links are relative to the page."""

    lane: Lane
    result: LaneResult
    steps: Sequence[Step]
    contents: Node | None
    size: int
    log: str
    wheel: str


def render(built: Sequence[Built], others: Sequence[Lane], last: LastRelease, made: str) -> str:
    """Return the page; `others` were not built here, and `made` says when the page was made."""
    newest = built[0].result
    versions = sorted({each.result.version for each in built} - {""})
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        title=f"mlc_llm {', '.join(versions)}".strip(),
        subtitle=f"Built from {newest.commit[:12]}. This page is of {made}.",
        tiles=html(_tiles(built, others)),
        lanes=html(element("div", *map(_lane, built), class_="lanes"), *_not_built(others)),
        times=html(*map(_times, built)),
        contents=html(*(_contents(each) for each in built if each.contents)),
        sizes=html(_sizes(built, last)),
    )


def _tiles(built: Sequence[Built], others: Sequence[Lane]) -> ET.Element:
    checks = [check.status for each in built for check in each.result.checks]
    failed = sum(bool(each.result.failure) for each in built)
    spent = sum(sum(each.result.seconds.values()) for each in built)
    compiled = sum(len(each.steps) for each in built)
    tiles = [
        (f"{len(built) - failed} of {len(built) + len(others)}", "lanes built", "bad" * failed),
        (f"{checks.count(PASSED)}", "checks passed", "good"),
        (f"{checks.count(FAILED)}", "checks failed", "bad" if FAILED in checks else ""),
        (f"{checks.count(NOT_RUN)}", "checks not run", ""),
        (_size(sum(each.size for each in built)), "in wheels", ""),
        (f"{spent:.1f} s", f"in all, {compiled} build steps", ""),
    ]
    return element(
        "div",
        *(
            element(
                "div",
                element("b", figure, class_=tone[:4]),
                element("span", what),
                class_="card tile",
            )
            for figure, what, tone in tiles
        ),
        class_="tiles",
    )


def _lane(each: Built) -> ET.Element:
    result = each.result
    links = [element("a", "log", href=each.log)]
    if each.wheel:
        links += [element("a", result.wheel.name if result.wheel else "", href=each.wheel)]
    words: list[Child] = [element("strong", each.lane.id), f" · {each.lane.platform} · "]
    words += [f"{result.engine} · " if result.engine else ""]
    words += [child for link in links for child in (link, " · ")][:-1]
    card = element("div", element("p", *words), class_="card")
    if result.failure:
        card.append(element("p", result.failure, class_="bad"))
    if each.size:
        share = each.size / each.lane.size_budget
        text = f"{_size(each.size)}, {share:.0%} of the {_size(each.lane.size_budget)} it may have"
        card.append(element("div", text, class_="note"))
        card.append(_bar(share))
    card.extend(_checks(result.checks))
    return card


def _not_built(others: Sequence[Lane]) -> list[ET.Element]:
    names = ", ".join(f"{lane.id} ({lane.state})" for lane in others)
    return [element("p", f"Not built here: {names}.", class_="note")] if names else []


def _bar(share: float) -> ET.Element:
    fill = element("i", class_="bad" if share > 1 else "", style=f"width:{min(share, 1):.1%}")
    return element("div", fill, class_="bar")


def _checks(checks: Sequence[Check]) -> list[ET.Element]:
    """Return the grid of a lane's checks, a row for each place where they ran; then the notes."""
    groups: dict[str, list[ET.Element]] = {}
    for check in checks:
        smoke = check.name.startswith(SMOKE)
        name, _, place = check.name.removeprefix(SMOKE).partition(", ")
        row = place or ("run with" if smoke else "inspection")
        groups.setdefault(row, []).append(_chip(check, name))
    rows = (
        element("div", element("span", place, class_="place"), *chips, class_="chips")
        for place, chips in groups.items()
    )
    notes = (
        element("li", element("b", f"{check.name} {check.status}: "), check.detail)
        for check in checks
        if check.status != PASSED
    )
    return [element("div", *rows, class_="grid"), element("ul", *notes, class_="notes")]


def _chip(check: Check, name: str) -> ET.Element:
    mark, tone = MARKS[check.status]
    tip = f"{check.name}: {check.status}\n{check.detail}"
    return element("span", element("i", mark), name, class_=f"chip {tone}", data_tip=tip)


def _times(each: Built) -> ET.Element:
    spans = each.result.spans
    total = max((span.end for span in spans), default=0.0)
    track = element(
        "div",
        *(
            _span(span.phase, span.start, span.end, total, _phase_colour(span.phase))
            for span in spans
        ),
        class_="track",
    )
    legend = element(
        "div",
        *(
            element("span", element("i", class_=_phase_colour(phase)), f"{phase} {spent:.1f} s")
            for phase, spent in each.result.seconds.items()
        ),
        class_="legend",
    )
    card = element("div", element("h3", f"{each.lane.id}: {total:.1f} s by phase"), class_="card")
    card.extend([track, _axis(total), legend])
    if each.steps:
        card.extend(_steps(each.steps))
    return card


def _steps(steps: Sequence[Step]) -> list[ET.Element]:
    """Return a chart of all build steps, each in its time, and a table of the slowest."""
    total = max(step.end for step in steps)
    kinds = {kind: f"k{i % COLOURS}" for i, kind in enumerate(sorted(set(map(_kind, steps))))}
    tracks = [
        element(
            "div",
            *(_span(step.name, step.start, step.end, total, kinds[_kind(step)]) for step in row),
            class_="track",
        )
        for row in rows(steps)
    ]
    slow = sorted(steps, key=lambda step: step.start - step.end)[:SLOWEST]
    lines = [
        [
            element("td", element("code", step.output)),
            element("td", f"{step.end - step.start:.2f} s", class_="number"),
        ]
        for step in slow
    ]
    legend = [element("span", element("i", class_=key), kind) for kind, key in kinds.items()]
    return [
        element("h3", f"Ninja: {len(steps)} steps in {total:.1f} s, {len(tracks)} at a time"),
        element("div", *tracks, class_="thin"),
        _axis(total),
        element("div", *legend, class_="legend"),
        element(
            "details",
            element("summary", "The slowest steps"),
            table(["output", element("th", "time", class_="number")], lines),
        ),
    ]


def _kind(step: Step) -> str:
    """Return which part of the project a step compiles; "other" for what is no object file."""
    folder, object_file, rest = step.output.rpartition(".dir/")
    if not object_file:
        return "other"
    parts = rest.removeprefix("cpp/").split("/")
    return parts[0] if len(parts) > 1 else folder.rpartition("/")[2].removeprefix("mlc_")


def _phase_colour(phase: str) -> str:
    return f"k{PHASES.index(phase)}" if phase in PHASES else "k0"


def _span(name: str, start: float, end: float, total: float, colour: str) -> ET.Element:
    """Return a bar from `start` to `end` in a track that is `total` seconds long."""
    share = (end - start) / total if total else 0.0
    label = name if share >= LABEL_SPAN else ""
    style = f"left:{start / total if total else 0:.3%};width:{share:.3%}"
    tip = f"{name}: {end - start:.2f} s"
    return element("div", label, class_=f"span {colour}", style=style, data_tip=tip)


def _axis(total: float) -> ET.Element:
    marks = (f"{total * part / 4:.1f} s" for part in range(5))
    return element(
        "div",
        *(element("span", mark, style=f"left:{i * 25}%") for i, mark in enumerate(marks)),
        class_="axis",
    )


def _contents(each: Built) -> ET.Element:
    """Return the treemap of a wheel, for wide and for tall screens, and its largest files."""
    whole = each.contents
    assert whole is not None  # noqa: S101 - the caller asked
    leaves = sorted(whole.leaves(), key=lambda leaf: -leaf.packed)
    groups: dict[str, list[Node]] = {}
    for leaf in leaves:
        groups.setdefault(_group(leaf.path), []).append(leaf)
    members = sorted(groups.values(), key=lambda group: -_packed(group))
    maps = [
        element(
            "div",
            *_cells(members, ratio),
            class_=f"map {name}",
            role="img",
            aria_label=f"What takes how much of the {each.lane.id} wheel; the table has the same.",
        )
        for name, ratio in (("wide", 2.0), ("tall", 0.8))
    ]
    legend = [
        element("span", element("i", class_=f"k{i % COLOURS}"), _group(group[0].path))
        for i, group in enumerate(members)
    ]
    lines = [
        [
            element("td", element("code", leaf.path)),
            element("td", _size(leaf.packed), class_="number"),
            element("td", _size(leaf.size), class_="number"),
        ]
        for leaf in leaves[:LARGEST]
    ]
    numbers = [element("th", word, class_="number") for word in ("in the wheel", "unpacked")]
    return element(
        "div",
        element(
            "h3", f"{each.lane.id}: {_size(whole.packed)} packed, {_size(whole.size)} unpacked"
        ),
        *maps,
        element("div", *legend, class_="legend"),
        element(
            "div", "Areas are compressed sizes. Of a library, sections are shown.", class_="note"
        ),
        element("details", element("summary", "The largest"), table(["path", *numbers], lines)),
        class_="card",
    )


def _group(path: str) -> str:
    """Return what a file is coloured and placed with: its folder, at most two levels down."""
    top, *folders = path.split("/")[:-1]
    return ".dist-info" if top.endswith(".dist-info") else "/".join([top, *folders[:1]])


def _packed(leaves: Iterable[Node]) -> float:
    return sum(leaf.packed for leaf in leaves)


def _cells(groups: Sequence[Sequence[Node]], ratio: float) -> list[ET.Element]:
    """Return the boxes of a map, `ratio` times as wide as high: each group's stay together."""
    total = sum(map(_packed, groups))
    outer = squarify([_packed(group) for group in groups], Box(0, 0, ratio, 1))
    cells = []
    for index, (group, place) in enumerate(zip(groups, outer, strict=True)):
        boxes = squarify([leaf.packed for leaf in group], place)
        for leaf, box in zip(group, boxes, strict=True):
            width, height = box.width / ratio, box.height
            fits = width >= LABEL_WIDTH and height >= LABEL_HEIGHT
            label: tuple[Child, ...] = (element("b", leaf.name), _size(leaf.packed))
            share = f"{leaf.packed / total:.1%}"
            cells.append(
                element(
                    "div",
                    *(label if fits else ()),
                    class_=f"cell k{index % COLOURS}",
                    style=f"left:{box.x / ratio:.3%};top:{box.y:.3%};"
                    f"width:{width:.3%};height:{height:.3%}",
                    data_tip=f"{leaf.path}\n{_size(leaf.packed)} in the wheel ({share}), "
                    f"{_size(leaf.size)} unpacked",
                )
            )
    return cells


def _sizes(built: Sequence[Built], last: LastRelease) -> ET.Element:
    lines = []
    for each in built:
        before = last.sizes.get(each.lane.id)
        change = each.size - before if before and each.size else None
        cells: list[tuple[Child, str]] = [
            (each.lane.id, ""),
            (_size(each.size) if each.size else "no wheel", "number"),
            (_size(each.lane.size_budget), "number"),
            (_size(before) if before else "", "number"),
            (f"{change:+,} bytes" if change is not None else "", _tone(change)),
        ]
        lines.append([element("td", text, class_=kind) for text, kind in cells])
    words = ("wheel", "budget", f"release {last.version}".strip(), "change")
    numbers = [element("th", word, class_="number") for word in words]
    card = element("div", table(["lane", *numbers], lines), class_="card")
    if last == NONE:
        text = "There is no release to compare with here: "
        command = element("code", "nox -s report -- --against latest")
        card.append(element("div", text, command, " fetches it.", class_="note"))
    return card


def _tone(change: int | None) -> str:
    if not change:
        return "number"
    return "number bad" if change > 0 else "number good"


def _size(count: float) -> str:
    """Return bytes for people, in units of thousands."""
    if count < 1000:  # noqa: PLR2004
        return f"{count:.0f} B"
    return f"{count / 1e3:.0f} kB" if count < 1e6 else f"{count / 1e6:.2f} MB"  # noqa: PLR2004
