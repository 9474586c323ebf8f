"""Every workflow, job by job and step by step, for real: a registry and a GitHub stand in here.

The clone in build/walk/ is kept, with nox's environments in it. What cannot be had on this machine
is another runner: every lane is built here.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import loopback_registry
import pytest
from github_double import Double, Repository
from loopback_registry import PASSWORD, USER
from workflow_runner import Place, Runner

from ci.lanes import load_lanes
from ci.paths import ROOT, WORK

pytestmark = pytest.mark.workflow
CLONE = WORK / "walk" / "mlc_llm"
NAME = "Owner/mlc_llm"
TAG = "v999.0.0"
STEP = re.compile(r"^ +(?:- )?run: (python3 .*)$", re.MULTILINE)


class Quiet(Repository):
    """A repository that does not know beforehand what a complete release is."""

    def look(self) -> None:
        """Leave it to the end."""


@dataclass
class Stage:
    """All that a walk meets outside its clone."""

    top: Path
    registry: loopback_registry.Server
    github: Double

    @property
    def logins(self) -> Path:
        return self.top / "logins.json"

    def walk(self, workflow: str, ref: str) -> tuple[Runner, Path]:
        """Run one workflow for `ref`; return the runner, and the folder of its artifacts."""
        self.logins.unlink(missing_ok=True)
        name = Path(workflow).stem
        place = Place(CLONE, self.top / "artifacts" / name, self.logins, self.top / "pages")
        shutil.rmtree(place.artifacts, ignore_errors=True)
        context = {
            "actor": USER,
            "event_name": "push",
            "ref": ref,
            "ref_name": ref.split("/", 2)[2],
            "repository": NAME,
            "server_url": "https://github.com",
            "sha": git("rev-parse", "HEAD"),
            "token": PASSWORD,
        }
        variables = {
            **{f"GITHUB_{key.upper()}": value for key, value in context.items() if key != "token"},
            "CI": "true",
            "GITHUB_ACTIONS": "true",
            "GITHUB_API_URL": self.github.bases["api"],
            "REGISTRY": self.registry.host,
            "REGISTRY_AUTH_FILE": str(self.logins),
            "SSL_CERT_FILE": str(self.top / "ca.pem"),
        }
        runner = Runner(place, context, variables)
        runner.run(f".github/workflows/{workflow}")
        times = [f"{job.seconds:6.0f} s  {job.name}" for job in runner.jobs]
        print("\n".join([f"\n=== {workflow}", *times]), flush=True)
        return runner, place.artifacts

    def digest(self, tag: str) -> str:
        """Return the digest of an image in the registry, as another client reads it."""
        target = f"docker://{self.registry.host}/{NAME.lower()}:{tag}"
        variables = {
            "REGISTRY_AUTH_FILE": str(self.logins),
            "SSL_CERT_FILE": str(self.registry.certificate),
        }
        command = ["skopeo", "inspect", "--format", "{{.Digest}}", target]
        done = subprocess.check_output(command, env=os.environ | variables, text=True)
        return done.strip()


def git(*arguments: str) -> str:
    """Run git in the clone."""
    return subprocess.check_output(["git", "-C", CLONE, *arguments], text=True).strip()


def commands_in(workflow: str) -> set[str]:
    """Return every command that a workflow has."""
    return set(STEP.findall((CLONE / ".github" / "workflows" / workflow).read_text()))


@pytest.fixture(scope="module")
def clean_environment() -> Iterator[None]:
    """Leave nothing of nox's environment in which pytest runs: steps bring their own."""
    with pytest.MonkeyPatch.context() as patch:
        own = Path(os.environ.get("VIRTUAL_ENV", "/nonexistent"))
        path = [part for part in os.environ["PATH"].split(os.pathsep) if Path(part).parent != own]
        patch.setenv("PATH", os.pathsep.join(path))
        for name in ("VIRTUAL_ENV", "NOX_CURRENT_SESSION", "GH_TOKEN", "GITHUB_TOKEN"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, clean_environment: None) -> Iterator[Stage]:  # noqa: ARG001
    """A clone of HEAD on its default branch, and servers for what is elsewhere."""
    if not CLONE.exists():
        subprocess.run(["git", "clone", "--quiet", ROOT, CLONE], check=True)
    head = subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=ROOT, text=True).strip()
    git("fetch", "--quiet", "--tags", str(ROOT), "HEAD")
    git("checkout", "--quiet", "--force", "-B", "main", head)
    subprocess.run(["git", "-C", CLONE, "tag", "--delete", TAG], capture_output=True, check=False)
    top = tmp_path_factory.mktemp("walk")
    with loopback_registry.serve(top) as registry, Double.run() as github:
        trusted = os.environ.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().cafile
        bundle = [Path(path).read_text() for path in (trusted, registry.certificate) if path]
        (top / "ca.pem").write_text("\n".join(bundle))
        github.begin(Quiet(name=NAME, tokens={PASSWORD: "write"}))
        yield Stage(top, registry, github)


def test_images(stage: Stage) -> None:
    stage.walk("images.yml", "refs/heads/main")
    assert stage.digest("dev") == stage.digest(f"sha-{git('rev-parse', 'HEAD')}")


def test_ci(stage: Stage) -> None:
    runner, artifacts = stage.walk("ci.yml", "refs/heads/main")
    assert {command for job in runner.jobs for command in job.commands} == commands_in("ci.yml")
    manifest = read_manifest(artifacts / "wheel-linux-x86_64")
    (wheel,) = manifest["wheels"]
    assert wheel["image"] == stage.digest("dev")
    assert [check for check in wheel["checks"] if check["status"] != "passed"] == []


def test_release(stage: Stage) -> None:
    git("tag", TAG)
    repository = stage.github.repository
    repository.tags = {TAG: {"type": "commit", "sha": git("rev-parse", "HEAD")}}
    runner, artifacts = stage.walk("release.yml", f"refs/tags/{TAG}")
    ran = {command for job in runner.jobs for command in job.commands}
    parts = ("release.yml", "images.yml", "index.yml")
    assert ran == set().union(*map(commands_in, parts))
    assert stage.digest("latest") == stage.digest(f"sha-{git('rev-parse', 'HEAD')}")
    (release,) = repository.published
    published = {asset.name: asset.data for asset in release.assets.values()}
    wheels = {path.name: path.read_bytes() for path in artifacts.glob("wheel-*/*.whl")}
    assert len(wheels) == sum(lane.released for lane in load_lanes().values())
    assert wheels.items() <= published.items()
    assert repository.wrong == []
    index = (stage.top / "pages" / "simple" / "mlc-llm" / "index.html").read_text()
    assert all(f"/{NAME}/releases/download/{TAG}/{name}#sha256=" in index for name in wheels)


def read_manifest(folder: Path) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    return manifest
