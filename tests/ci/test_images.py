import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from ci import images
from ci.errors import FactoryError
from ci.lanes import load_lanes

LANE = load_lanes()["linux-x86_64"]
MakeEngine = Callable[..., str]


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeEngine:
    """Put a stand-in for podman on PATH that runs the given shell lines."""

    def make(*lines: str) -> str:
        program = tmp_path / "podman"
        program.write_text("\n".join(["#!/bin/sh", *lines]))
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
        return "podman"

    return make


def test_default_base_is_pinned_by_digest() -> None:
    name, _, digest = images.default_base().partition("@sha256:")
    assert name == "quay.io/pypa/manylinux_2_28_x86_64"
    assert len(digest) == 64


def test_base_without_its_line_is_refused(tmp_path: Path) -> None:
    dockerfile = tmp_path / "Dockerfile"
    dockerfile.write_text("FROM scratch\n")
    with pytest.raises(FactoryError, match="no line ARG BASE"):
        images.default_base(dockerfile)


def test_every_copied_file_is_an_input_of_the_tag() -> None:
    copied = {
        path
        for line in images.DOCKERFILE.read_text().splitlines()
        if line.startswith("COPY ")
        for found in images.CONTEXT.glob(line.split()[1])
        for path in (found.iterdir() if found.is_dir() else [found])
    }
    assert copied | {images.DOCKERFILE} == set(images.INPUTS)


def test_tag_changes_with_each_input(tmp_path: Path) -> None:
    changed = tmp_path / "toolchain.txt"
    changed.write_text("ziglang==0\n")
    tags = {
        images.image_tag("base", LANE),
        images.image_tag("other", LANE),
        images.image_tag("base", load_lanes()["linux-aarch64"]),
        images.image_tag("base", LANE, [changed]),
    }
    assert len(tags) == 4


def test_engine_that_is_not_installed_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert images.engine_problem("podman") == "podman is not installed"


def test_engine_that_fails_gives_its_last_line(engine: MakeEngine) -> None:
    name = engine("echo warning >&2", "echo no daemon >&2", "exit 125")
    assert images.engine_problem(name) == "no daemon"


def test_engine_that_answers_has_no_problem(engine: MakeEngine) -> None:
    assert images.engine_problem(engine("exit 0")) == ""


@pytest.mark.parametrize("printed", ["sha256:12ab", "12ab"], ids=["docker", "podman"])
def test_digest_reads_alike_from_both_engines(engine: MakeEngine, printed: str) -> None:
    image = images.find_image(engine(f"echo {printed}"), "tag")
    assert image == images.ImageRef("tag", "sha256:12ab")


def test_unreachable_base_names_the_way_out(engine: MakeEngine, tmp_path: Path) -> None:
    name = engine("exit 125")
    with pytest.raises(FactoryError, match="--base debian") as caught:
        images.ensure_image(name, "registry.invalid/base", tmp_path / "log")
    assert caught.value.phase == "pulling the base image"


def test_engine_that_cannot_start_says_why_and_what_to_do(engine: MakeEngine) -> None:
    name = engine("echo setting rlimits: not permitted. >&2", "exit 126")
    with pytest.raises(FactoryError, match=r"start a container: setting rlimits: not permitted\. "):
        images.check_start(name, images.ImageRef("tag", "sha256:1"))


def test_container_is_started_from_the_image_itself(engine: MakeEngine) -> None:
    name = engine('[ "$*" = "run --rm sha256:1 true" ]')
    images.check_start(name, images.ImageRef("tag", "sha256:1"))


def test_ca_bundle_goes_in_as_a_secret_only_where_there_is_one() -> None:
    behind_proxy = images.build_command("podman", "t", {}, {"SSL_CERT_FILE": "/ca.pem"})
    assert "--secret=id=ca,src=/ca.pem" in behind_proxy
    assert not any("secret" in word for word in images.build_command("podman", "t", {}, {}))


def test_debian_base_without_root_says_so(
    engine: MakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(FactoryError, match="needs root"):
        images.ensure_debian_base(engine("exit 1"), tmp_path / "log")


def test_wanted_pythons_are_the_ends_and_the_builder() -> None:
    assert images.wanted_pythons() == ["3.10", "3.11", "3.13"]


@pytest.mark.container
def test_image_compiles_for_the_lane() -> None:
    name = next((e for e in images.ENGINES if not images.engine_problem(e)), None)
    if name is None:
        pytest.skip("no container engine answers")
    image = images.ensure_image(name)
    script = (
        'cd /tmp && echo "int f() { return 1; }" > t.cc && '
        # The flags of zig.cmake, for which the image holds a compiled libc++.
        f'"$MLC_LLM_TOOLCHAIN/ziglang/zig" c++ -target {LANE.zig_target} -mcpu={LANE.cpu} -s '
        "-shared t.cc -o t.so"
    )
    subprocess.run([name, "run", "--rm", image.digest, "sh", "-c", script], check=True)
