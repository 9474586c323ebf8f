"""`nox -s image`: make the build image, and put it into a registry under its tags.

sha-COMMIT is pushed first; dev follows once the registry was seen to hold it. latest is moved by a
run of its own, once the release is public.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from packaging.version import Version

from ci import images
from ci.errors import FactoryError
from ci.github import set_output
from ci.paths import ROOT
from ci.registry import RemoteImage, Repository
from ci.session import run_session
from ci.version import VERSION_TAGS, Source, read_source, tag_to_version

DEFAULT_BRANCH = "refs/heads/main"
INPUTS = "mlc_llm.inputs"  # label: the part of the local tag that is computed from the files
REVISION = "org.opencontainers.image.revision"
SOURCE = "org.opencontainers.image.source"


def own_tag(source: Source) -> str:
    """Return the tag of the image of `source` that never moves."""
    return f"sha-{source.commit}"


def is_newest(source: Source, releases: Iterable[str]) -> bool:
    """Whether `source` is the newest release (not a pre-release) of all tags of `releases`."""
    versions = [Version(tag_to_version(tag)) for tag in releases]
    final = [version for version in versions if not version.is_prerelease]
    return bool(source.tag and final and Version(tag_to_version(source.tag)) == max(final))


def push(
    engine: str, repository: Repository, base: str | None, environ: Mapping[str, str], log: Path
) -> str:
    """Build the image if need be, push it, and return its address by digest."""
    source = read_source(ROOT)
    if source.dirty:
        raise FactoryError(
            "the tree is dirty, and the image's tag would name a commit that it is not of.",
            hint="Commit or stash what `git status` lists.",
        )
    base = images.choose_base(engine, base, log)
    inputs = images.image_tag(base).rpartition(":")[2]
    first = own_tag(source)
    remote = repository.find(first)
    if remote is None:
        labels = {INPUTS: inputs, REVISION: source.commit, SOURCE: read_address(environ)}
        image = images.ensure_image(engine, base, log)
        remote = push_first(engine, repository, image, first, labels=labels, log=log)
        print(f"{repository.name}:{first} is pushed", flush=True)
    elif remote.labels.get(INPUTS) == inputs:
        print(f"{repository.name}:{first} is already there", flush=True)
    else:
        raise FactoryError(
            f"{repository.name}:{first} is there, and was made on another base.",
            hint="The tag of a commit never moves: use the same --base, or delete the image in "
            "the registry.",
        )
    if read_ref(environ) == DEFAULT_BRANCH:
        move(repository, "dev", remote)
    return f"{repository.name}@{remote.digest}"


def move_latest(repository: Repository) -> None:
    """Let latest name the image of the release at HEAD, if none is newer."""
    source = read_source(ROOT)
    if not is_newest(source, read_releases()):
        print(f"{repository.name}:latest stays: {source.tag or 'HEAD'} is not the newest release")
        return
    remote = repository.find(own_tag(source))
    if remote is None:
        raise FactoryError(
            f"{repository.name} has no image of {source.tag}.",
            hint=f"Push it first: `nox -s image -- --push {repository.name}`.",
        )
    move(repository, "latest", remote)


def push_first(
    engine: str,
    repository: Repository,
    image: images.ImageRef,
    tag: str,
    *,
    labels: Mapping[str, str],
    log: Path,
) -> RemoteImage:
    """Push `image` with `labels` under `tag`, and return it as the registry has it."""
    target = f"{repository.name}:{tag}"
    with tempfile.TemporaryDirectory(prefix="mlc_llm-labels-") as context:
        # A layer of its own: the image itself serves many commits.
        (Path(context) / "Dockerfile").write_text(f"FROM {image.name}\n", encoding="utf-8")
        words = [f"--label={key}={value}" for key, value in labels.items()]
        images.run_engine(
            [engine, "build", f"--tag={target}", *words, context], log, "labelling the image"
        )
    pushed = images.find_image(engine, target)
    try:
        images.run_engine(
            [engine, "push", target],
            log,
            "pushing the image",
            hint=f"Who is not logged in: `{engine} login {repository.host}`. "
            "No tag was moved; run the same command again.",
        )
    finally:
        subprocess.run([engine, "rmi", target], capture_output=True, check=False)
    remote = repository.find(tag)
    if remote is None or pushed is None or pushed.digest not in {remote.config, remote.digest}:
        raise FactoryError(
            f"{engine} pushed {target}, and {repository.host} has "
            f"{'nothing' if remote is None else 'another image'} there.",
            hint="No other tag was moved. Is somebody else pushing the same commit?",
        )
    return remote


def move(repository: Repository, tag: str, image: RemoteImage) -> None:
    """Let `tag` name `image`, and read it back; an old commit, pushed again, takes no tag back."""
    before = repository.find(tag)
    if before and before.digest == image.digest:
        print(f"{repository.name}:{tag} is already there", flush=True)
        return
    if before and is_ancestor(image.labels.get(REVISION, ""), before.labels.get(REVISION, "")):
        print(f"{repository.name}:{tag} stays at a later commit", flush=True)
        return
    repository.tag(image, tag)
    after = repository.find(tag)
    if after is None or after.digest != image.digest:
        raise FactoryError(
            f"{repository.name}:{tag} should be {image.digest} and is "
            f"{after.digest if after else 'absent'}.",
            hint="Is somebody else pushing? Run the same command again.",
        )
    print(f"{repository.name}:{tag} was {before.digest if before else 'absent'}", flush=True)


def is_ancestor(commit: str, other: str) -> bool:
    """Whether `commit` is before `other` in the history that this clone knows."""
    command = ["git", "merge-base", "--is-ancestor", commit, other]
    return subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode == 0


def find_same(engine: str, repository: Repository, log: Path) -> str:
    """Return the address of `dev` if it is made from this checkout's files; empty if not."""
    inputs = images.image_tag(images.choose_base(engine, None, log)).rpartition(":")[2]
    try:
        remote = repository.find("dev")
    except FactoryError as error:  # a fork may have no such repository, or no right to look
        print(f"No image is taken from there: {error}")
        return ""
    if remote is None or remote.labels.get(INPUTS) != inputs:
        print(f"{repository.name}:dev is {'of other files' if remote else 'not there'}.")
        return ""
    return f"{repository.name}@{remote.digest}"


def read_ref(environ: Mapping[str, str]) -> str:
    """Return the ref that is built: the workflow's, or the branch that is checked out."""
    if ref := environ.get("GITHUB_REF"):
        return ref
    command = ["git", "symbolic-ref", "--quiet", "HEAD"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def read_releases() -> list[str]:
    """Return every release tag of this clone."""
    command = ["git", "tag", "--list", VERSION_TAGS]
    return subprocess.check_output(command, cwd=ROOT, text=True).split()


def read_address(environ: Mapping[str, str]) -> str:
    """Return the address of the repository where CI tells it; a remote's may hold a password."""
    if name := environ.get("GITHUB_REPOSITORY"):
        return f"{environ.get('GITHUB_SERVER_URL', 'https://github.com')}/{name}"
    return ""


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the words behind `nox -s image --`."""
    parser = argparse.ArgumentParser(
        prog="nox -s image --",
        description="Make the image that Linux wheels are built in, where it is not here yet, and "
        "print its name and digest.",
    )
    parser.add_argument(
        "--engine", choices=images.ENGINES, help="default: podman, or docker where it alone answers"
    )
    parser.add_argument("--base", metavar="debian|REF", help="default: the Dockerfile's base")
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--push",
        metavar="REPOSITORY",
        help="push to HOST/PATH as sha-COMMIT, from main also as dev; log in first with `podman "
        "login` or `docker login`",
    )
    where.add_argument(
        "--latest",
        metavar="REPOSITORY",
        help="make nothing: let latest in HOST/PATH name the pushed image of the release at HEAD, "
        "if none is newer",
    )
    where.add_argument(
        "--find",
        metavar="REPOSITORY",
        help="make nothing: print the address of dev in HOST/PATH if it is made of these files",
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    """Make the build image and print its name and digest; with --push, put it into a registry."""
    options = parse_arguments(arguments)
    named = options.push or options.latest or options.find
    repository = Repository(named) if named else None  # a wrong name is told before any work
    if repository and options.latest:
        move_latest(repository)
        return 0
    start = time.monotonic()
    engine = options.engine or next(
        (name for name in images.ENGINES if not images.engine_problem(name)), images.ENGINES[0]
    )
    if problem := images.engine_problem(engine):
        raise FactoryError(
            f"{engine} does not answer: {problem}.", hint="Install podman, or start docker."
        )
    if repository and options.find:
        address = find_same(engine, repository, images.LOG)
        print(address or "Whoever needs the image makes it.")
        set_output("image", address)
    elif repository:
        address = push(engine, repository, options.base, os.environ, images.LOG)
        print(f"{address} ({time.monotonic() - start:.0f} s)")
        set_output("image", address)
    else:
        image = images.ensure_image(engine, options.base)
        print(f"{image.name} is {image.digest} ({time.monotonic() - start:.0f} s)")
    return 0


if __name__ == "__main__":
    run_session(main)
