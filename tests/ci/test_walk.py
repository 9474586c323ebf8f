"""Every workflow, job by job and step by step, for real: a registry and a GitHub stand in here.

The clone in build/walk/ is kept, with nox's environments in it. What cannot be had on this machine
is another runner: every lane is built here.
"""

from __future__ import annotations

import json
import os
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import loopback_registry
import pytest
from github_double import Double, Repository
from loopback_registry import PASSWORD, USER
from workflow_runner import Place, Runner, in_order, read

from ci.engines import can_run, runs_here
from ci.lanes import load_lanes
from ci.paths import ROOT, WORK

pytestmark = pytest.mark.workflow
CLONE = WORK / "walk" / "mlc_llm"
NAME = "Owner/mlc_llm"
MAIN = "refs/heads/main"
TAG = "v999.0.0"


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

    def start(self, workflow: str, ref: str) -> Runner:
        """Return a runner of one workflow for `ref`, to which no artifact has been uploaded."""
        self.logins.write_text("{}\n")  # nobody is logged in; podman wants the file to be there
        artifacts = self.top / "artifacts" / workflow
        place = Place(CLONE, artifacts, self.logins, self.top / "pages")
        context = {
            "actor": USER,
            "event_name": "push",
            "ref": ref,
            "ref_name": ref.split("/", 2)[2],
            "repository": NAME,
            "run_attempt": "1",
            "server_url": "https://github.com",
            "sha": git("rev-parse", "HEAD"),
            "token": PASSWORD,
        }
        variables = {
            **{f"GITHUB_{key.upper()}": value for key, value in context.items() if key != "token"},
            "CI": "true",
            "GITHUB_ACTIONS": "true",
            "GITHUB_RUN_ID": "1",
            "GITHUB_API_URL": self.github.bases["api"],
            "REGISTRY": self.registry.host,
            "REGISTRY_AUTH_FILE": str(self.logins),
            "SSL_CERT_FILE": str(self.top / "ca.pem"),
        }
        return Runner(f".github/workflows/{workflow}", place, context, variables)

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


def jobs_of(workflow: str) -> list[str]:
    """Return the jobs of a workflow, each after those that it needs."""
    return in_order(read(ROOT / ".github" / "workflows" / workflow))


def run_whole(runner: Runner, job: str) -> None:
    """Run a job, and see that each of its commands was run in every row of its matrix.

    Other systems' compilers are not to be had here.
    """
    lanes = load_lanes()
    steps = runner.workflow["jobs"][job].get("steps", [])
    own = any("--toolchain system" in step.get("run", "") for step in steps)
    runs = runner.run_job(job, lambda row: not own or runs_here(lanes[row["id"]]))
    for run in runs:
        assert run.commands == [step["run"] for step in steps if "run" in step]


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
        yield Stage(top, registry, github)


def test_images(stage: Stage) -> None:
    run_whole(stage.start("images.yml", MAIN), "image")
    assert stage.digest("dev") == stage.digest(f"sha-{git('rev-parse', 'HEAD')}")


@pytest.fixture(scope="module")
def ci(stage: Stage) -> Runner:
    return stage.start("ci.yml", MAIN)


@pytest.mark.parametrize("job", jobs_of("ci.yml"))
def test_ci(ci: Runner, job: str) -> None:
    run_whole(ci, job)


def test_every_check_of_every_wheel_passed(ci: Runner, stage: Stage) -> None:
    manifests = [
        json.loads(path.read_text()) for path in ci.place.artifacts.glob("*/manifest.json")
    ]
    wheels = {wheel["lane"]: wheel for manifest in manifests for wheel in manifest["wheels"]}
    assert wheels.keys() == {lane.id for lane in load_lanes().values() if lane.built}
    assert wheels["linux-x86_64"]["image"] == stage.digest("dev")
    not_run = {
        (name, check["status"])
        for name, wheel in wheels.items()
        for check in wheel["checks"]
        if check["status"] != "passed"
    }
    nowhere = {lane.id for lane in load_lanes().values() if lane.built and not can_run(lane)}
    assert not_run == {(name, "not run") for name in nowhere}


@pytest.fixture(scope="module")
def release(stage: Stage) -> Iterator[Runner]:
    git("tag", TAG)
    commit = {"type": "commit", "sha": git("rev-parse", "HEAD")}
    stage.github.begin(Quiet(name=NAME, tokens={PASSWORD: "write"}, tags={TAG: commit}))
    yield stage.start("release.yml", f"refs/tags/{TAG}")
    git("tag", "--delete", TAG)


@pytest.mark.parametrize("job", jobs_of("release.yml"))
def test_release(release: Runner, job: str) -> None:
    run_whole(release, job)


def test_release_is_public_and_indexed(release: Runner, stage: Stage) -> None:
    assert stage.digest("latest") == stage.digest(f"sha-{git('rev-parse', 'HEAD')}")
    repository = stage.github.repository
    (published,) = repository.published
    assets = {asset.name: asset.data for asset in published.assets.values()}
    wheels = {path.name: path.read_bytes() for path in release.place.artifacts.glob("*/*.whl")}
    assert len(wheels) == sum(lane.released for lane in load_lanes().values())
    assert wheels.items() <= assets.items()
    assert repository.wrong == []
    index = (stage.top / "pages" / "simple" / "mlc-llm" / "index.html").read_text()
    assert all(f"/{NAME}/releases/download/{TAG}/{name}#sha256=" in index for name in wheels)
