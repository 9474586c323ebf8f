"""The package index: what installers take from it, and what it refuses to be made of."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
import uv
from file_server import serve
from github_double import Double, Fault, Repository
from github_runs import run as run_publish
from releases import RELEASED, TAG, VERSION, stage_release
from wheels import METADATA

from ci.errors import FactoryError
from ci.index import download
from ci.index.page import commands, describe, in_order
from ci.index.releases import find_folders, newest, read_folder
from ci.manifest import hash_file
from ci.paths import ROOT

cli = importlib.import_module("ci.index.__main__")
TAGS = ("v1.2.2", "v1.2.3", "v1.3.0-rc.1")
LINUX = f"mlc_llm-{VERSION}-py3-none-manylinux_2_28_x86_64.whl"


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three releases."""
    top = tmp_path_factory.mktemp("releases")
    for tag in TAGS:
        (top / f"making-{tag}").mkdir()
        stage_release(top / f"making-{tag}", tag).folder.rename(top / tag)
    return top


@pytest.fixture(scope="module")
def site(releases: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Their index."""
    site = tmp_path_factory.mktemp("site") / "index"
    assert cli.main(["--releases", str(releases), "--to", str(site)]) == 0
    return site


class Links(HTMLParser):
    """The links of a page: attributes by text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: dict[str, dict[str, str]] = {}
        self.open: dict[str, str] | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open = {name: value or "" for name, value in attrs} if tag == "a" else None

    def handle_data(self, data: str) -> None:
        if self.open is not None:
            self.found[data] = self.open
            self.open = None


def test_page_links_to_every_file_with_its_hash(site: Path) -> None:
    project = site / "simple" / "mlc-llm"
    links = Links((project / "index.html").read_text()).found
    assert len(links) == len(TAGS) * (len(RELEASED) + 1)
    for name, attributes in links.items():
        url, _, digest = attributes["href"].partition("#sha256=")
        file = project / url
        assert (file.name, hash_file(file)) == (name, digest)
        assert attributes["data-requires-python"] == ">=3.10"
        if name.endswith(".whl"):
            metadata = file.with_name(f"{name}.metadata")
            assert metadata.read_text() == METADATA
            assert attributes["data-core-metadata"] == f"sha256={hash_file(metadata)}"


def test_json_says_what_the_page_says(site: Path) -> None:
    project = site / "simple" / "mlc-llm"
    links = Links((project / "index.html").read_text()).found
    document = json.loads((project / "index.json").read_text())
    assert document["meta"] == {"api-version": "1.1"}
    assert document["versions"] == ["1.3.0rc1", "1.2.3", "1.2.2"]
    assert {file["filename"] for file in document["files"]} == set(links)
    for file in document["files"]:
        attributes = links[file["filename"]]
        assert attributes["href"] == f"{file['url']}#sha256={file['hashes']['sha256']}"
        assert (project / file["url"]).stat().st_size == file["size"]
        metadata = file["core-metadata"]
        shown = f"sha256={metadata['sha256']}" if metadata else ""
        assert attributes.get("data-core-metadata", "") == shown


def test_projects_are_listed(site: Path) -> None:
    assert Links((site / "simple/index.html").read_text()).found == {
        "mlc-llm": {"href": "mlc-llm/"}
    }
    assert json.loads((site / "simple/index.json").read_text())["projects"] == [{"name": "mlc-llm"}]


def test_person_is_offered_the_newest_final_release(releases: Path) -> None:
    found = [read_folder(folder) for folder in find_folders(releases)]
    assert [release.tag for release in found] == list(TAGS)
    assert newest(found).tag == "v1.2.3"
    assert newest(found[-1:]).tag == "v1.3.0-rc.1"


@pytest.mark.parametrize(
    ("platform", "words"),
    [
        ("manylinux_2_28_x86_64", ("Linux x86-64", "glibc 2.28 or newer")),
        ("manylinux_2_28_aarch64", ("Linux Arm64", "glibc 2.28 or newer")),
        ("win_amd64", ("Windows x86-64", "Windows 10 or newer")),
        ("macosx_11_0_arm64", ("macOS Arm64", "macOS 11 or newer")),
        ("", ("Another machine", "built from source")),
        ("any", ("any", "")),
    ],
)
def test_platform_is_told_in_words(platform: str, words: tuple[str, str]) -> None:
    assert describe(platform) == words


def test_files_are_shown_in_the_order_of_the_lanes(releases: Path) -> None:
    files = in_order(read_folder(releases / TAG).files)
    assert [file.platform for file in files] == [*(lane.platform for lane in RELEASED.values()), ""]


def test_every_released_lane_has_words() -> None:
    for lane in RELEASED.values():
        assert describe(lane.platform)[0] != lane.platform


def test_index_is_made_anew_in_one_step(releases: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    for _ in range(2):
        assert cli.main(["--releases", str(releases), "--to", str(site)]) == 0
        (site / "simple" / "old").mkdir()
    assert cli.main(["--releases", str(releases), "--to", str(site)]) == 0
    assert not (site / "simple" / "old").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["site"]


def test_other_folder_is_not_replaced(releases: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(FactoryError, match="is no package index"):
        cli.main(["--releases", str(releases), "--to", str(tmp_path)])
    assert (tmp_path / "thesis.txt").exists()


@pytest.fixture
def on_github(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Double, list[str]]]:
    """Two releases and a draft on GitHub, and the arguments that make their index."""
    for variable in ("GH_TOKEN", "GITHUB_TOKEN"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(download, "WORK", tmp_path / "work")
    with Double.run() as double:
        monkeypatch.setenv("GITHUB_API_URL", double.bases["api"])
        commit = {"type": "commit", "sha": "a" * 40}
        double.begin(Repository(tags={"v1.2.2": commit, TAG: commit}))
        for tag in double.repository.tags:
            (tmp_path / tag).mkdir()
            run_publish(double, stage_release(tmp_path / tag, tag))
        double.repository.create({"tag_name": "v1.2.4", "draft": True, "body": ""})
        yield double, ["--releases", "o/r", "--to", str(tmp_path / "site")]


def test_releases_on_github_stay_where_they_are(
    on_github: tuple[Double, list[str]], tmp_path: Path
) -> None:
    double, arguments = on_github
    assert cli.main(arguments) == 0
    site = tmp_path / "site"
    assert {path.name for path in site.iterdir()} == {"index.html", "simple"}
    links = Links((site / "simple/mlc-llm/index.html").read_text()).found
    assert len(links) == 2 * (len(RELEASED) + 1)
    url, _, digest = links[LINUX]["href"].partition("#sha256=")
    assert url == f"https://github.com/o/r/releases/download/{TAG}/{LINUX}"
    assets = {a.name: a for release in double.repository.published for a in release.assets.values()}
    assert assets[LINUX].digest == f"sha256:{digest}"
    metadata = links[LINUX]["data-core-metadata"].replace("=", ":")
    assert assets[f"{LINUX}.metadata"].digest == metadata
    assert "https://o.github.io/r/simple/" in (site / "index.html").read_text()


def test_release_on_github_is_downloaded_once(on_github: tuple[Double, list[str]]) -> None:
    double, arguments = on_github
    assert cli.main(arguments) == 0
    before = len(double.calls)
    assert cli.main(arguments) == 0
    assert [call.path for call in double.calls[before:]] == ["/repos/o/r/releases"]


def test_download_that_is_cut_leaves_no_half_of_a_release(
    on_github: tuple[Double, list[str]], tmp_path: Path
) -> None:
    double, arguments = on_github
    at = len(double.calls) + 5  # after the lists of releases and of assets, and some of these
    double.faults[at] = Fault(at, cut="before")
    with pytest.raises(FactoryError, match="could not be downloaded"):
        cli.main(arguments)
    assert cli.main(arguments) == 0
    page = (tmp_path / "site/simple/mlc-llm/index.html").read_text()
    assert len(Links(page).found) == 2 * (len(RELEASED) + 1)


def test_repository_that_is_not_there_is_refused(
    on_github: tuple[Double, list[str]], tmp_path: Path
) -> None:
    assert on_github
    with pytest.raises(FactoryError, match="o/other"):
        cli.main(["--releases", "o/other", "--to", str(tmp_path / "site")])


def test_folder_without_releases_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FactoryError, match="holds no release"):
        cli.main(["--releases", str(tmp_path), "--to", str(tmp_path / "site")])


def test_folder_of_another_tag_is_refused(releases: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "v9.9.9"
    wrong.symlink_to(releases / TAG)
    with pytest.raises(FactoryError, match=r"holds version 1\.2\.3, and its name says v9\.9\.9"):
        read_folder(wrong)


def test_changed_wheel_is_refused_and_the_index_stays(tmp_path: Path) -> None:
    release = stage_release(tmp_path).folder.rename(tmp_path / TAG)
    site = tmp_path / "site"
    assert cli.main(["--releases", str(tmp_path), "--to", str(site)]) == 0
    before = (site / "index.html").read_bytes()
    with (release / LINUX).open("ab") as wheel:
        wheel.write(b"\0")
    with pytest.raises(FactoryError, match=LINUX):
        cli.main(["--releases", str(tmp_path), "--to", str(site)])
    assert (site / "index.html").read_bytes() == before


@pytest.fixture
def server(site: Path) -> Iterator[tuple[str, list[str]]]:
    """The index on loopback: its address, and what is asked for there."""
    with serve(site) as (address, asked):
        yield address, asked


(PIP,) = (ROOT / "ci" / "bootstrap").glob("pip-*.whl")
INSTALLERS = {
    "pip": [sys.executable, f"{PIP}/pip", "--disable-pip-version-check", "install"],
    "uv": [uv.find_uv_bin(), "pip", "install", "--no-cache"],
}


def install(tool: str, target: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Install into the folder `target`, with nothing known but what `arguments` say."""
    unset = re.compile(r"(PIP|UV)_(?!CERT)")
    env = {name: value for name, value in os.environ.items() if not unset.match(name)}
    command = [*INSTALLERS[tool], "--no-deps", f"--target={target}", *arguments]
    return subprocess.run(
        command,
        env=env | {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_CACHE_DIR": "1", "UV_NO_CONFIG": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("tool", INSTALLERS)
def test_installer_takes_the_newest_release(
    tool: str, server: tuple[str, list[str]], tmp_path: Path
) -> None:
    address, asked = server
    done = install(tool, tmp_path, f"--index-url={address}simple/", "mlc_llm")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / f"mlc_llm-{VERSION}.dist-info" / "METADATA").read_text() == METADATA
    assert f"/files/{TAG}/{LINUX}" in asked
    if tool == "pip":  # uv needs no metadata without dependencies
        assert f"/files/{TAG}/{LINUX}.metadata" in asked


@pytest.mark.parametrize("tool", INSTALLERS)
def test_installer_refuses_another_file(
    tool: str, server: tuple[str, list[str]], site: Path, tmp_path: Path
) -> None:
    wheel = site / "files" / TAG / LINUX
    good = wheel.read_bytes()
    try:
        wheel.write_bytes(good + b"\0")
        done = install(tool, tmp_path, f"--index-url={server[0]}simple/", "mlc_llm")
    finally:
        wheel.write_bytes(good)
    assert done.returncode != 0
    assert "hash" in done.stderr.lower()


@pytest.mark.parametrize("tool", INSTALLERS)
def test_command_on_the_page_installs(
    tool: str, server: tuple[str, list[str]], releases: Path, tmp_path: Path
) -> None:
    release = read_folder(releases / TAG)
    (file,) = (file for file in release.files if file.name == LINUX)
    start, _, rest = commands(file, release, server[0])[tool].partition("install ")
    assert start == {"pip": "pip ", "uv": "uv pip "}[tool]
    done = install(tool, tmp_path, *(word.strip('"') for word in re.findall(r'"[^"]+"|\S+', rest)))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "mlc_llm" / "cli.py").exists()
