"""The manifest is refused unless it is whole and matches its wheels."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ci.checks import NOT_RUN, PASSED, Check
from ci.errors import FactoryError
from ci.manifest import (
    NAME,
    Manifest,
    WheelRecord,
    hash_file,
    read_manifest,
    record_sdist,
    write_manifest,
)

FILE = "mlc_llm-1.2.3-py3-none-manylinux_2_28_x86_64.whl"
SDIST = "mlc_llm-1.2.3.tar.gz"
Document = dict[str, Any]


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    wheel = tmp_path / FILE
    wheel.write_bytes(b"wheel")
    record = WheelRecord(
        file=FILE,
        lane="linux-x86_64",
        engine="host",
        sha256=hash_file(wheel),
        size=5,
        toolchain_lock="a" * 64,
        image=None,
        checks=(Check("size", PASSED, "5 bytes"), Check("vulkan", NOT_RUN, "")),
    )
    sdist = tmp_path / SDIST
    sdist.write_bytes(b"sdist")
    return Manifest(
        version="1.2.3",
        commit="b" * 40,
        dirty=False,
        source_date_epoch=1_700_000_000,
        sdist=record_sdist(sdist),
        wheels=(record,),
    )


def edit(folder: Path, change: Callable[[Document], object]) -> None:
    path = folder / NAME
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def test_reads_what_it_wrote(tmp_path: Path, manifest: Manifest) -> None:
    write_manifest(tmp_path, manifest)
    assert read_manifest(tmp_path) == manifest


def test_writes_the_same_bytes_twice(tmp_path: Path, manifest: Manifest) -> None:
    write_manifest(tmp_path, manifest)
    first = (tmp_path / NAME).read_bytes()
    write_manifest(tmp_path, read_manifest(tmp_path))
    assert (tmp_path / NAME).read_bytes() == first


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("commit"), "'commit' is a required property"),
        (lambda d: d.update(commit="abc"), "at commit"),
        (lambda d: d.update(schema=2), "at schema"),
        (lambda d: d.update(duration=3), "'duration' was unexpected"),
        (lambda d: d.update(dirty=0), "at dirty"),
        (lambda d: d.update(version="1.2.4"), "is not of version 1.2.4"),
        (lambda d: d.update(wheels=[]), "at wheels"),
        (lambda d: d["wheels"][0].update(file=f"../{FILE}"), r"at wheels\[0\].file"),
        (lambda d: d["wheels"][0].update(file="..whl"), r"at wheels\[0\].file"),
        (lambda d: d["wheels"][0].update(engine="lxc"), r"at wheels\[0\].engine"),
        (lambda d: d["wheels"][0].update(image="latest"), r"at wheels\[0\].image"),
        (lambda d: d["wheels"][0].update(sha256="c" * 64), "has the sha256"),
        (lambda d: d["wheels"][0].update(size=6), "has the size 5"),
        (lambda d: d.pop("sdist"), "'sdist' is a required property"),
        (lambda d: d["sdist"].update(file="mlc_llm-1.2.4.tar.gz"), f"{SDIST} lies in"),
        (lambda d: d["sdist"].update(sha256="c" * 64), f"{SDIST} has the sha256"),
        (lambda d: d["wheels"][0]["checks"][0].update(status="ok"), r"checks\[0\].status"),
        (lambda d: d["wheels"].append(d["wheels"][0]), "lists the lane linux-x86_64 twice"),
        (lambda d: d["wheels"].append(d["wheels"][0] | {"lane": "x"}), f"the file {FILE} twice"),
    ],
)
def test_refuses_a_wrong_document(
    tmp_path: Path, manifest: Manifest, change: Callable[[Document], object], message: str
) -> None:
    write_manifest(tmp_path, manifest)
    edit(tmp_path, change)
    with pytest.raises(FactoryError, match=message):
        read_manifest(tmp_path)


@pytest.mark.parametrize("name", [FILE, SDIST])
def test_refuses_an_absent_file(tmp_path: Path, manifest: Manifest, name: str) -> None:
    write_manifest(tmp_path, manifest)
    (tmp_path / name).unlink()
    with pytest.raises(FactoryError, match="which is absent"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("name", ["other-1.0-py3-none-any.whl", "mlc_llm-1.2.2.tar.gz"])
def test_refuses_an_unlisted_file(tmp_path: Path, manifest: Manifest, name: str) -> None:
    write_manifest(tmp_path, manifest)
    (tmp_path / name).touch()
    with pytest.raises(FactoryError, match="does not list it"):
        read_manifest(tmp_path)


def test_refuses_a_changed_wheel_of_the_same_size(tmp_path: Path, manifest: Manifest) -> None:
    write_manifest(tmp_path, manifest)
    (tmp_path / FILE).write_bytes(b"WHEEL")
    with pytest.raises(FactoryError, match="has the sha256"):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "holds no manifest"),
        ("{", "not JSON"),
        pytest.param("[" * 100_000, "not JSON", id="deep"),
        ("[]", "the document"),
    ],
)
def test_refuses_what_is_no_manifest(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / NAME).write_text(text)
    with pytest.raises(FactoryError, match=message):
        read_manifest(tmp_path)


def test_a_refused_write_leaves_the_older_manifest(tmp_path: Path, manifest: Manifest) -> None:
    write_manifest(tmp_path, manifest)
    before = (tmp_path / NAME).read_bytes()
    with pytest.raises(FactoryError, match="at commit"):
        write_manifest(tmp_path, replace(manifest, commit="short"))
    assert (tmp_path / NAME).read_bytes() == before


def test_a_write_that_is_cut_off_leaves_the_older_manifest(
    tmp_path: Path, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_manifest(tmp_path, manifest)
    before = sorted((p.name, p.read_bytes()) for p in tmp_path.iterdir())

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_manifest(tmp_path, replace(manifest, dirty=True))
    assert sorted((p.name, p.read_bytes()) for p in tmp_path.iterdir()) == before
