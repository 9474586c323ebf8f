"""The build image in a registry: which tags, one digest, and never a tag before its image."""

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import loopback_registry
import pytest
from loopback_registry import LOGIN, PASSWORD

from ci import image, images
from ci.errors import FactoryError
from ci.paths import ROOT
from ci.registry import Repository
from ci.toolchain import lock_digest
from ci.version import Source

MAIN = "refs/heads/main"
FIRST = Source(commit="1" * 40, epoch=0, dirty=False, tag="")
COMMITS = ["git", "rev-parse", "HEAD~1", "HEAD"]
SECOND = replace(FIRST, commit="2" * 40)


@pytest.mark.parametrize(
    ("tag", "releases", "newest"),
    [
        ("v1.0.0", ["v1.0.0"], True),
        ("v1.0.0", ["v1.0.0", "v1.1.0-rc.1"], True),
        ("v1.0.1", ["v1.0.1", "v1.10.0"], False),
        ("v1.0.0-rc.1", ["v1.0.0-rc.1"], False),
        ("", ["v1.0.0"], False),
        ("", [], False),
    ],
)
def test_newest_release_is_final_and_highest(
    tag: str, releases: list[str], *, newest: bool
) -> None:
    assert image.is_newest(replace(FIRST, tag=tag), releases) is newest


def test_workflow_says_which_ref_it_builds() -> None:
    assert image.read_ref({"GITHUB_REF": "refs/pull/1/merge"}) == "refs/pull/1/merge"
    assert image.read_ref({}).startswith("refs/heads/") or image.read_ref({}) == ""


def test_source_is_the_repository_of_the_workflow() -> None:
    environ = {"GITHUB_SERVER_URL": "https://github.example", "GITHUB_REPOSITORY": "o/n"}
    assert image.read_address(environ) == "https://github.example/o/n"
    assert image.read_address({}) == ""


def test_dirty_tree_is_not_pushed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(image, "read_source", lambda _: replace(FIRST, dirty=True))
    with pytest.raises(FactoryError, match="the tree is dirty"):
        image.push("podman", Repository("ghcr.io/o/n", {}), None, {}, tmp_path / "log")


@pytest.mark.parametrize("address", ["ghcr.io/o/n:dev", "ghcr.io/o/n@sha256:12", "ghcr.io/o/n"])
def test_image_without_a_digest_is_not_pulled(address: str) -> None:
    with pytest.raises(FactoryError, match="does not name an image by its digest"):
        images.pull_image("no-engine", address)


class Registry:
    """A real registry, a stand-in for the build image, and a log of all that is printed."""

    def __init__(
        self, server: loopback_registry.Server, log: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.server, self.log, self.patch = server, log, monkeypatch
        self.name = f"{server.host}/owner/build"
        self.repository = Repository(self.name)

    def push(self, source: Source, ref: str = MAIN, engine: str = "podman") -> str:
        self.patch.setattr(image, "read_source", lambda _: source)
        environ = {"GITHUB_REF": ref, "GITHUB_REPOSITORY": "owner/name"}
        return image.push(engine, self.repository, "some-base", environ, self.log)

    def digest(self, tag: str) -> str:
        """Return the digest of `tag` as a client of others' making reads it."""
        target = f"docker://{self.name}:{tag}"
        command = ["skopeo", "inspect", "--format", "{{.Digest}}", target]
        return subprocess.check_output(command, text=True).strip()


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    (tmp_path / "Dockerfile").write_text(
        f"FROM scratch\nCOPY Dockerfile /\nLABEL mlc_llm.lock-digest={lock_digest()}\n"
    )
    name = "localhost/mlc_llm-test:small"
    subprocess.run(["podman", "build", "--quiet", f"--tag={name}", tmp_path], check=True)
    small = images.find_image("podman", name)
    monkeypatch.setattr(images, "ensure_image", lambda *_: small)
    with loopback_registry.serve(tmp_path) as server:
        for variable, value in server.environ.items():
            monkeypatch.setenv(variable, value)
        yield Registry(server, tmp_path / "log", monkeypatch)
    subprocess.run(["podman", "rmi", "--force", name], check=False)


@pytest.mark.container
def test_every_tag_is_one_digest_that_another_client_reads(registry: Registry) -> None:
    registry.patch.setattr(image, "read_releases", lambda: ["v1.0.0"])
    address = registry.push(replace(FIRST, tag="v1.0.0"))
    assert registry.repository.find("latest") is None  # nothing is released yet
    image.move_latest(registry.repository)
    tags = [f"sha-{FIRST.commit}", "dev", "latest"]
    assert {f"{registry.name}@{registry.digest(tag)}" for tag in tags} == {address}
    remote = registry.repository.find("dev")
    assert remote
    assert remote.labels == {
        "io.buildah.version": remote.labels["io.buildah.version"],
        "mlc_llm.inputs": images.image_tag("some-base").rpartition(":")[2],
        "mlc_llm.lock-digest": lock_digest(),
        "org.opencontainers.image.revision": FIRST.commit,
        "org.opencontainers.image.source": "https://github.com/owner/name",
    }


@pytest.mark.container
@pytest.mark.parametrize(("tag", "said"), [("", "HEAD is not"), ("v0.9.0", "v0.9.0 is not")])
def test_latest_stays_where_there_is_a_newer_release(
    registry: Registry, capsys: pytest.CaptureFixture[str], tag: str, said: str
) -> None:
    registry.patch.setattr(image, "read_releases", lambda: ["v0.9.0", "v1.0.0"])
    registry.push(replace(FIRST, tag=tag))
    image.move_latest(registry.repository)
    assert f"latest stays: {said} the newest release" in capsys.readouterr().out
    assert registry.repository.find("latest") is None


@pytest.mark.container
def test_latest_of_an_image_that_was_not_pushed_says_what_to_do(registry: Registry) -> None:
    registry.patch.setattr(image, "read_releases", lambda: ["v1.0.0"])
    registry.patch.setattr(image, "read_source", lambda _: replace(FIRST, tag="v1.0.0"))
    with pytest.raises(FactoryError, match=r"has no image of v1\.0\.0.*nox -s image -- --push"):
        image.move_latest(registry.repository)


@pytest.mark.container
def test_second_push_says_that_it_is_there(
    registry: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    first = registry.push(FIRST)
    registry.patch.setattr(image, "push_first", None)
    capsys.readouterr()
    assert registry.push(FIRST) == first
    assert capsys.readouterr().out.count("is already there") == 2


@pytest.mark.container
def test_next_commit_moves_dev_and_no_branch_does(registry: Registry) -> None:
    first = registry.push(FIRST)
    for ref in ("refs/pull/1/merge", "refs/heads/main2", "refs/tags/v1.0.0"):
        registry.push(SECOND, ref=ref)
        assert first.endswith(registry.digest("dev"))
    second = registry.push(SECOND)
    assert second.endswith(registry.digest("dev"))
    assert first.endswith(registry.digest(f"sha-{FIRST.commit}"))


@pytest.mark.container
def test_old_commit_that_is_pushed_again_does_not_take_dev_back(registry: Registry) -> None:
    old, new = subprocess.check_output(COMMITS, cwd=ROOT, text=True).split()
    newest = registry.push(replace(FIRST, commit=new))
    registry.push(replace(FIRST, commit=old))
    assert newest.endswith(registry.digest("dev"))


@pytest.mark.container
def test_tag_of_a_commit_never_moves(registry: Registry) -> None:
    registry.push(FIRST)
    registry.patch.setattr(images, "image_tag", lambda _: "localhost/mlc_llm-build:other")
    with pytest.raises(FactoryError, match="was made on another base"):
        registry.push(FIRST)


@pytest.mark.container
@pytest.mark.parametrize("dies", ["the engine, while it pushes", "we, before a tag moves"])
def test_push_that_dies_leaves_the_tags_as_they_were(
    registry: Registry, dies: str, tmp_path: Path
) -> None:
    first = registry.push(FIRST)
    with registry.patch.context() as patch:
        engine = "podman"
        if dies.startswith("we"):
            patch.setattr(Repository, "tag", interrupt)
        else:
            real = shutil.which("podman")
            script = tmp_path / "dying-podman"
            script.write_text(f'#!/bin/sh\n[ "$1" != push ] || kill -9 $$\nexec {real} "$@"\n')
            script.chmod(0o755)
            engine = str(script)
        with pytest.raises((FactoryError, KeyboardInterrupt)):
            registry.push(SECOND, engine=engine)
    assert first.endswith(registry.digest("dev"))
    assert registry.push(SECOND).endswith(registry.digest("dev"))


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.container
def test_password_is_in_no_log(registry: Registry, capfd: pytest.CaptureFixture[str]) -> None:
    registry.push(FIRST)
    written = registry.log.read_text() + "".join(capfd.readouterr())
    assert "push" in written
    assert PASSWORD not in written
    assert LOGIN not in written


@pytest.mark.container
def test_wrong_password_is_one_sentence(registry: Registry) -> None:
    registry.server.auth_file.write_text("{}")
    with pytest.raises(FactoryError, match=r"refuses GET.*nobody is logged in.*podman login 127"):
        Repository(registry.name).find("dev")


@pytest.mark.container
def test_pushed_image_is_pulled_by_its_digest(registry: Registry) -> None:
    address = registry.push(FIRST)
    pulled = images.pull_image("podman", address, registry.log)
    assert pulled.address == address
    registry.patch.setattr(images, "lock_digest", lambda: "f" * 64)
    with pytest.raises(FactoryError, match="was made with another toolchain lock"):
        images.pull_image("podman", address, registry.log)
    subprocess.run(["podman", "rmi", address], check=True)


@pytest.mark.container
def test_image_of_these_files_is_found(registry: Registry) -> None:
    registry.patch.setattr(images, "choose_base", lambda *_: "some-base")
    assert image.find_same("podman", registry.repository, registry.log) == ""
    address = registry.push(FIRST)
    assert image.find_same("podman", registry.repository, registry.log) == address
    registry.patch.setattr(images, "choose_base", lambda *_: "another-base")
    assert image.find_same("podman", registry.repository, registry.log) == ""
