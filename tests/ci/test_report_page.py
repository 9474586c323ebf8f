"""The report as a person meets it, in a real browser."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import Page, browse
from builds import write_build

from ci.paths import WORK
from ci.report.__main__ import write_page

pytestmark = pytest.mark.browser
SHOTS = WORK / "screenshots"
CONTRAST = Path(__file__).with_name("contrast.js").read_text(encoding="utf-8")
MAPS = "[...document.querySelectorAll('.map')].filter(e => e.checkVisibility())"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browse(tmp_path_factory.mktemp("profile")) as tab:
        yield tab


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = write_page(write_build(tmp_path_factory.mktemp("report") / "build"))
    assert path is not None
    return path.as_uri()


@pytest.mark.parametrize(("width", "shape"), [(1200, "wide"), (360, "tall")])
def test_page_fits_its_window_and_has_the_map_for_it(
    width: int, shape: str, page: Page, url: str
) -> None:
    page.open(url, width=width)
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.picture(SHOTS / f"report-{shape}.png")
    assert page.run("document.documentElement.scrollWidth") <= width
    assert page.run(f"{MAPS}.map(e => e.className)") == [f"map {shape}"]


@pytest.mark.parametrize("dark", [False, True])
def test_every_text_can_be_read(dark: bool, page: Page, url: str) -> None:  # noqa: FBT001
    page.open(url, width=1200, dark=dark)
    page.picture(SHOTS / f"report-{'dark' if dark else 'light'}.png")
    texts = page.run(CONTRAST)
    assert len(texts) > 20
    assert [text for text in texts if text[1] < 4.5] == []


def test_page_loads_nothing_else(page: Page, url: str) -> None:
    page.open(url, width=1200)
    assert page.run("performance.getEntriesByType('resource').map(e => e.name)") == []


def test_words_appear_where_the_pointer_is(page: Page, url: str) -> None:
    page.open(url, width=1200)
    page.run(
        "document.querySelector('.chip.bad').dispatchEvent("
        "new PointerEvent('pointermove', {bubbles: true, clientX: 50, clientY: 50}))"
    )
    assert "<5 bytes too many>" in page.run("document.getElementById('tip').textContent")
    assert page.run("document.getElementById('tip').checkVisibility()")
