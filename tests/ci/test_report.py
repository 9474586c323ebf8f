"""The page of a build: what its parts compute, and what stands on it."""

import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from builds import LANE, NINJA_LOG, write_build
from dlls import Dll
from github_double import Double, Repository
from github_runs import run as publish
from hypothesis import given
from hypothesis import strategies as st
from releases import stage_release
from wheels import LIBRARY, Elf, good_files, write_wheel

from ci.checks import FAILED, Check
from ci.errors import FactoryError, UsageError
from ci.lanes import load_lanes
from ci.manifest import read_manifest
from ci.release.github.place import Place
from ci.report import __main__ as report
from ci.report.contents import read_contents, read_sections
from ci.report.last import LastRelease, from_github, keep, recall
from ci.report.ninja import Step, print_log, read_steps, rows
from ci.report.treemap import Box, squarify
from ci.results import LaneResult, kept, read_result, write_result
from ci.timeline import Timeline


class Page(HTMLParser):
    """The page's elements, each as its tag, its attributes and the text behind its start."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str], str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}, ""))

    def handle_data(self, data: str) -> None:
        if self.elements:
            tag, attributes, text = self.elements[-1]
            self.elements[-1] = (tag, attributes, (text + data).strip())

    def having(self, class_: str) -> list[tuple[str, dict[str, str], str]]:
        return [e for e in self.elements if class_ in e[1].get("class", "").split()]


@pytest.fixture
def work(tmp_path: Path) -> Path:
    return write_build(tmp_path / "build")


Render = Callable[[], Page]


@pytest.fixture
def render(work: Path) -> Render:
    """Writes the page and reads it."""

    def write() -> Page:
        path = report.write_page(work)
        assert path is not None
        return Page(path.read_text(encoding="utf-8"))

    return write


@given(st.lists(st.floats(1, 1e6), min_size=1, max_size=40))
def test_treemap_has_the_areas_it_was_given(sizes: list[float]) -> None:
    sizes.sort(reverse=True)
    boxes = squarify(sizes, Box(0, 0, 2, 1))
    for size, box in zip(sizes, boxes, strict=True):
        assert box.width * box.height == pytest.approx(2 * size / sum(sizes))
        assert box.x >= -1e-9
        assert box.y >= -1e-9
        assert box.x + box.width <= 2 + 1e-6
        assert box.y + box.height <= 1 + 1e-6


def test_treemap_of_equal_sizes_is_of_squares() -> None:
    boxes = squarify([1.0] * 8, Box(0, 0, 2, 1))
    assert {(round(box.width, 6), round(box.height, 6)) for box in boxes} == {(0.5, 0.5)}


def test_printed_ninja_log_is_read_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "log").write_text(NINJA_LOG)
    print_log(tmp_path / "log")
    steps = read_steps(["$ some command", *capsys.readouterr().out.splitlines()])
    assert [(step.name, step.start, step.end) for step in steps] == [
        ("isa.cc", 0, 1.5),
        ("model.cc", 0, 2),
        ("linear.cc", 1.5, 4),
        ("libmlc_llm.so", 4, 4.5),
    ]


def test_steps_that_overlap_are_on_different_rows() -> None:
    steps = [Step("a", 0, 1.5), Step("b", 0, 2), Step("c", 1.5, 4)]
    assert rows(steps) == [[steps[0], steps[2]], [steps[1]]]


@pytest.mark.parametrize(
    ("library", "section"), [(Elf().build(), ".dynsym"), (Dll().build(), ".rdata"), (b"text", "")]
)
def test_sections_of_a_library_are_read(library: bytes, section: str) -> None:
    sections = read_sections(library)
    assert section in sections or not sections
    assert bool(sections) == bool(section)


def test_contents_add_up_and_show_a_librarys_sections(tmp_path: Path) -> None:
    files = good_files()
    whole = read_contents(write_wheel(tmp_path, files))
    leaves = whole.leaves()
    assert whole.packed == pytest.approx(sum(leaf.packed for leaf in leaves))
    paths = [leaf.path for leaf in leaves]
    assert f"{LIBRARY}/.dynsym" in paths
    assert LIBRARY not in paths
    assert "mlc_llm/cli.py" in paths
    sizes = [child.packed for child in whole.children]
    assert sizes == sorted(sizes, reverse=True)


def test_page_asks_the_network_for_nothing(render: Render) -> None:
    for _, attributes, _ in render().elements:
        links = [attributes[name] for name in ("src", "href") if name in attributes]
        assert not [link for link in links if "//" in link]
    template = (Path(report.__file__).with_name("template.html")).read_text(encoding="utf-8")
    assert not re.findall(r"https?:|@import|url\(|fetch\(", template)


def test_page_links_to_the_log_and_the_wheel(render: Render, work: Path) -> None:
    links = [a["href"] for tag, a, _ in render().elements if tag == "a"]
    assert len(links) == 2
    assert all((work / link).is_file() for link in links)


def test_page_shows_each_check_and_why_one_failed(render: Render) -> None:
    page = render()
    chips = page.having("chip")
    assert [chip[1]["class"] for chip in chips] == ["chip good", "chip bad", "chip off"]
    assert "<5 bytes too many>" in chips[1][1]["data-tip"]
    assert [text for _, _, text in page.having("place")] == ["inspection", "python 3.10"]
    assert any("1 of 3 checks failed" in text for _, _, text in page.having("bad"))


def test_page_shows_phases_and_build_steps_in_their_time(render: Render) -> None:
    spans = {text: attributes["style"] for _, attributes, text in render().having("span")}
    assert spans["compile"] == "left:0.000%;width:75.000%"
    assert spans["smoke"] == "left:75.000%;width:25.000%"
    assert spans["linear.cc"] == "left:33.333%;width:55.556%"


def test_maps_show_every_file(render: Render, work: Path) -> None:
    result = read_result(work / LANE.id)
    assert result.wheel
    paths = {leaf.path for leaf in read_contents(result.wheel).leaves()}
    tips = [
        attributes["data-tip"].partition("\n")[0] for _, attributes, _ in render().having("cell")
    ]
    assert sorted(tips) == sorted([*paths] * 2)  # for wide and for tall screens


def test_size_is_compared_with_the_last_release(render: Render, work: Path) -> None:
    result = read_result(work / LANE.id)
    assert result.wheel
    keep(LastRelease("1.2.2", {LANE.id: result.wheel.stat().st_size - 1234}), work)
    numbers = [text for _, _, text in render().having("number")]
    assert numbers[-1] == "+1,234 bytes"
    assert "release 1.2.2" in numbers


def test_last_release_is_read_from_its_folder(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "WORK", work)
    staged = stage_release(tmp_path).folder
    assert report.main(["--against", str(staged)]) == 0
    wheels = read_manifest(staged).wheels
    assert recall(work) == LastRelease("1.2.3", {wheel.lane: wheel.size for wheel in wheels})


def test_folder_without_a_release_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"holds no release: .* Name the folder of one"):
        report.main(["--against", str(tmp_path)])


def test_last_release_is_the_newest_final_one_on_github(tmp_path: Path) -> None:
    commit = {"type": "commit", "sha": "a" * 40}
    tags = ("v1.2.9", "v1.2.10", "v1.3.0-rc.1")
    with Double.run() as double:
        double.begin(Repository(tags=dict.fromkeys(tags, commit)))
        for tag in tags:
            (tmp_path / tag).mkdir()
            publish(double, stage_release(tmp_path / tag, tag))
        last = from_github(Place("o/r", "https://github.com", double.bases["api"], ""))
    assert last.version == "1.2.10"
    assert last.sizes.keys() == {lane.id for lane in load_lanes().values() if lane.released}


def test_repository_without_a_release_is_told() -> None:
    with Double.run() as double:
        double.begin(Repository())
        place = Place("o/r", "https://github.com", double.bases["api"], "")
        with pytest.raises(FactoryError, match="o/r has no release yet"):
            from_github(place)


def test_lost_wheel_leaves_the_rest_of_the_page(render: Render, work: Path) -> None:
    result = read_result(work / LANE.id)
    write_result(replace(result, wheel=work / "gone.whl"), work / LANE.id)
    page = render()
    assert not page.having("cell")
    assert page.having("chip")


def test_wheel_that_left_the_wheelhouse_is_shown_from_the_lanes_folder(
    render: Render, work: Path
) -> None:
    result = read_result(work / LANE.id)
    assert result.wheel
    (work / LANE.id / "repaired").mkdir()
    result.wheel.rename(work / LANE.id / "repaired" / result.wheel.name)
    assert render().having("cell")


def test_report_without_a_build_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(report, "WORK", tmp_path)
    with pytest.raises(FactoryError, match=r"no lane has been built here. Run `nox -s wheels`"):
        report.main([])
    assert capsys.readouterr().out == ""


def test_result_of_a_failed_build_is_kept(tmp_path: Path) -> None:
    timeline = Timeline()
    check = Check("smoke: a", FAILED, "")

    def fail() -> None:
        with kept(LaneResult(LANE.id, "host", "c0ffee"), timeline, {"smoke: a": check}, tmp_path):
            timeline.start("smoke")
            raise FactoryError("it broke")

    with pytest.raises(FactoryError, match="phase smoke: it broke"):
        fail()
    result = read_result(tmp_path)
    assert result.failure == "phase smoke: it broke"
    assert result.checks == [check]
    assert [span.phase for span in result.spans] == ["smoke"]
