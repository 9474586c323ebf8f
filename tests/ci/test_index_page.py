"""The index's page as a person meets it, in a real browser."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import Page, browse
from file_server import serve
from releases import TAG, stage_release

from ci.index.page import commands
from ci.index.releases import read_folder
from ci.paths import WORK

pytestmark = pytest.mark.browser
cli = importlib.import_module("ci.index.__main__")
SHOTS = WORK / "screenshots"
SYSTEMS = {
    "Linux x86_64": "manylinux_2_28_x86_64",
    "Linux aarch64": "manylinux_2_28_aarch64",
    "Win32": "win_amd64",
    "MacIntel": "source",
}

# Elements that a person sees, as [what, left, top, right, bottom].
BOXES = """
(() => {
  const seen = [];
  const words = "h1, h2, legend, label span, code, button, summary, li a, p";
  for (const e of document.querySelectorAll(words)) {
    const { left, top, right, bottom } = e.getBoundingClientRect();
    const inside = e.parentElement.closest("p, summary");
    if (e.checkVisibility() && right > left && bottom > top && !inside)
      seen.push([e.textContent.trim().slice(0, 30), left, top, right, bottom]);
  }
  return seen;
})()
"""
SHOWN = "[...document.querySelectorAll('.command code')].filter(e => e.checkVisibility())"


class Site:
    """The served index, and a tab of a browser."""

    def __init__(self, address: str, folder: Path, page: Page) -> None:
        self.address, self.page = address, page
        self.release = read_folder(folder / TAG)

    def open(self, width: int = 1000, **options: bool) -> None:
        self.page.open(self.address, width=width, **options)

    def shown(self) -> list[str]:
        """Return the commands that can be seen."""
        texts: list[str] = self.page.run(f"{SHOWN}.map(e => e.textContent)")
        return texts

    def command(self, platform: str, tool: str) -> str:
        """Return the command that should stand there."""
        kind = "" if platform == "source" else platform
        (file,) = (file for file in self.release.files if file.platform == kind)
        return commands(file, self.release, self.address)[tool]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    top = tmp_path_factory.mktemp("page")
    for tag in (TAG, "v1.3.0-rc.1"):
        (top / f"making-{tag}").mkdir()
        stage_release(top / f"making-{tag}", tag).folder.rename(top / tag)
    (top / "site").mkdir()
    with serve(top / "site") as (address, _), browse(top / "profile") as page:
        cli.main(["--releases", str(top), "--to", str(top / "site"), "--url", address])
        yield Site(address, top, page)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1100, 390])
def test_nothing_overlaps_or_sticks_out(site: Site, width: int, dark: bool) -> None:  # noqa: FBT001
    site.open(width, dark=dark)
    SHOTS.mkdir(parents=True, exist_ok=True)
    site.page.picture(SHOTS / f"index-{width}-{'dark' if dark else 'light'}.png")
    assert site.page.run("document.documentElement.scrollWidth") == width
    boxes: list[Any] = site.page.run(BOXES)
    assert len(boxes) > 20
    for name, left, _, right, _ in boxes:
        assert 0 <= left < right <= width, name
    for number, (name, *one) in enumerate(boxes):
        for other, *two in boxes[number + 1 :]:
            apart = one[2] <= two[0] or two[2] <= one[0] or one[3] <= two[1] or two[3] <= one[1]
            assert apart, (name, other)


def test_colours_can_be_read(site: Site) -> None:
    """The contrast of each text with what is behind it is at least 4.5, as WCAG AA asks."""
    script = (Path(__file__).parent / "contrast.js").read_text(encoding="utf-8")
    for dark in (False, True):
        site.open(dark=dark)
        ratios = site.page.run(script)
        assert len(ratios) > 20
        assert [pair for pair in ratios if pair[1] < 4.5] == []


@pytest.mark.parametrize(("system", "platform"), SYSTEMS.items())
def test_machine_is_guessed(site: Site, system: str, platform: str) -> None:
    site.page.pretend(system)
    site.open()
    assert site.shown() == [site.command(platform, "pip")]
    says = site.page.run("document.getElementById('said').textContent")
    assert says.startswith("There is no wheel" if platform == "source" else "")
    assert site.page.run("document.querySelectorAll('.here').length") == (platform != "source")


@pytest.mark.parametrize("platform", SYSTEMS.values())
@pytest.mark.parametrize("tool", ["pip", "uv"])
def test_choice_shows_its_command(site: Site, platform: str, tool: str) -> None:
    site.open()
    for id_ in (f"for-{platform}", f"with-{tool}"):
        site.page.run(f"document.getElementById('{id_}').closest('label').click()")
    assert site.shown() == [site.command(platform, tool)]


def test_button_copies_the_command(site: Site) -> None:
    site.page.allow_clipboard(site.address.rstrip("/"))
    site.open()
    button = f"{SHOWN}[0].nextElementSibling"
    site.page.run(f"{button}.click()")
    assert site.page.run("navigator.clipboard.readText()") == site.shown()[0]
    assert site.page.run(f"{button}.textContent") == "Copied"
    assert "copied" in site.page.run("document.getElementById('said').textContent")


def test_keyboard_reaches_everything(site: Site) -> None:
    site.open()
    focusable = "input, button:not([hidden]), summary, a[href]"
    reached = site.page.run(
        f"""[...document.querySelectorAll("{focusable}")].filter(e => e.checkVisibility())
        .map(e => {{ e.focus(); return document.activeElement === e }})"""
    )
    assert len(reached) > 8
    assert all(reached)


def test_without_scripts_every_command_is_there(site: Site) -> None:
    site.open(scripts=False)
    wanted = {site.command(platform, "pip") for platform in SYSTEMS.values()}
    assert {*site.shown()} == wanted
    assert site.page.run(f"{SHOWN}.map(e => e.nextElementSibling.hidden)") == [True] * len(wanted)
