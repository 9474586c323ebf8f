"""The container image that wheels are built in: its name, its making, and the base under it."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ci.errors import FactoryError, UsageError
from ci.lanes import DEFAULT_LANE, Lane, load_lanes
from ci.paths import ROOT, WORK
from ci.process import run_logged
from ci.pythons import find_python, supported_pythons
from ci.toolchain import LOCK, lock_digest

CONTEXT = ROOT / "ci"
DOCKERFILE = CONTEXT / "images" / "Dockerfile"
DEBIAN_BASE = CONTEXT / "images" / "debian_base.sh"
ENGINES = ("podman", "docker")
DEBIAN = "debian"
LOG = WORK / "image.log"

# All that goes into the image besides its base: a change of any of these is another image.
INPUTS = (
    DOCKERFILE,
    LOCK,
    *sorted((CONTEXT / "toolchain").glob("*.cmake")),
    *sorted((CONTEXT / "toolchain" / "warm").iterdir()),
)


@dataclass(frozen=True)
class ImageRef:
    """An image that the engine holds: `name` is its tag, `digest` its content ("sha256:...").

    Of an image from a registry, `name` is its address by digest, and `digest` the registry's.
    """

    name: str
    digest: str

    @property
    def address(self) -> str:
        """What names exactly this image to the engine."""
        return self.name if "@" in self.name else self.digest


def engine_problem(engine: str) -> str:
    """Return why `engine` (docker or podman) cannot be used here; empty when it answers."""
    if shutil.which(engine) is None:
        return f"{engine} is not installed"
    try:
        done = subprocess.run(
            [engine, "info"], capture_output=True, text=True, timeout=30, check=False
        )
    except subprocess.TimeoutExpired:
        return f"`{engine} info` gave no answer in 30 seconds"
    return "" if done.returncode == 0 else _last_line(done)


def _last_line(done: subprocess.CompletedProcess[str]) -> str:
    """Return the last line that a failed command of an engine printed, without its full stop."""
    lines = (done.stderr or done.stdout).strip().splitlines()
    if lines:
        return lines[-1].rstrip(".?")
    return f"`{' '.join(done.args[:2])}` failed with exit status {done.returncode}"


def default_base(dockerfile: Path = DOCKERFILE) -> str:
    """Return the base image that the Dockerfile's ARG line pins."""
    match = re.search(r"^ARG BASE=(\S+)$", dockerfile.read_text(encoding="utf-8"), re.MULTILINE)
    if match is None:
        raise FactoryError(f"{dockerfile.name} has no line ARG BASE=... that names its base.")
    return match[1]


def image_tag(base: str, lane: Lane | None = None, inputs: Sequence[Path] = INPUTS) -> str:
    """Return the image's tag, which changes with its base, its lane's target and its files."""
    lane = lane or load_lanes()[DEFAULT_LANE]
    parts = [base, lane.zig_target, lane.cpu]
    parts += [hashlib.sha256(path.read_bytes()).hexdigest() for path in inputs]
    return f"localhost/mlc_llm-build:{_short_digest(parts)}"


def find_image(engine: str, name: str) -> ImageRef | None:
    """Return the image that `engine` holds under `name`, or None."""
    done = subprocess.run(
        [engine, "image", "inspect", "--format", "{{.Id}}", name],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        return None
    return ImageRef(name, f"sha256:{done.stdout.strip().removeprefix('sha256:')}")


def ensure_image(engine: str, base: str | None = None, log: Path = LOG) -> ImageRef:
    """Return the build image for `base` (the pinned one by default), built first if need be.

    `base` is as in `choose_base`.
    """
    lane = load_lanes()[DEFAULT_LANE]
    base = choose_base(engine, base, log)
    name = image_tag(base, lane)
    return find_image(engine, name) or build_image(engine, name, base, lane, log)


def choose_base(engine: str, base: str | None, log: Path) -> str:
    """Return the name of the base image.

    `base` is an image reference, or "debian" for the base that debootstrap makes here, or None for
    the pinned one; a Debian base that is here already stands in by itself where that is not.
    """
    if base == DEBIAN:
        return ensure_debian_base(engine, log)
    if base is not None:
        return base
    pinned = default_base()
    if find_image(engine, pinned) is None:
        debian = debian_base_name(find_prefixes())
        if find_image(engine, debian):
            print(f"The base is {debian}, made here; {pinned} is not on this machine.", flush=True)
            return debian
    return pinned


def pull_image(engine: str, address: str, log: Path = LOG) -> ImageRef:
    """Return the image at `address`, REPOSITORY@sha256:..., pulled; it must hold our toolchain."""
    _, _, digest = address.partition("@")
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
        raise UsageError(
            f"{address!r} does not name an image by its digest.",
            hint="`nox -s image -- --push` prints such an address: REPOSITORY@sha256:...",
        )
    run_engine([engine, "pull", address], log, "pulling the build image")
    label = '{{index .Config.Labels "mlc_llm.lock-digest"}}'
    command = [engine, "image", "inspect", "--format", label, address]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    if found != lock_digest():
        raise FactoryError(
            f"{address} was made with another toolchain lock ({found[:12] or 'none'}, not "
            f"{lock_digest()[:12]}).",
            hint="Push an image of this commit: `nox -s image -- --push REPOSITORY`.",
        )
    return ImageRef(address, digest)


def check_start(engine: str, image: ImageRef) -> None:
    """Raise FactoryError unless `engine` can start a container from `image`."""
    command = [engine, "run", "--rm", image.address, "true"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise FactoryError(
            f"{engine} cannot start a container: {_last_line(done)}.",
            hint="As root on a small machine, set CONTAINERS_CONF=ci/images/containers.conf "
            "(docs/images.md); or build with `-- --engine host`: the bytes are the same.",
        )


def build_image(engine: str, name: str, base: str, lane: Lane, log: Path) -> ImageRef:
    """Build `ci/images/Dockerfile` on `base` and tag it `name`."""
    if find_image(engine, base) is None:
        run_engine(
            [engine, "pull", base],
            log,
            "pulling the base image",
            hint="Where no registry can be reached, `nox -s image -- --base debian` makes an "
            "equivalent base from Debian packages (docs/images.md).",
        )
    arguments = {
        "BASE": base,
        "ZIG_TARGET": lane.zig_target,
        "ZIG_CPU": lane.cpu,
        "LOCK_DIGEST": lock_digest(),
    }
    print(f"{name}: zig compiles libc++ once, which takes minutes; the log is {log}", flush=True)
    run_engine(
        build_command(engine, name, arguments, os.environ),
        log,
        "building the image",
        env={"DOCKER_BUILDKIT": "1"},
        hint="If runc was not permitted to set limits, set CONTAINERS_CONF to "
        "ci/images/containers.conf (docs/images.md).",
    )
    image = find_image(engine, name)
    if image is None:
        raise FactoryError(f"{engine} built {name} and does not have it.", log=log)
    return image


def build_command(
    engine: str, name: str, arguments: Mapping[str, str], environ: Mapping[str, str]
) -> list[str]:
    """Return the command that builds the image; a CA bundle of `environ` goes in as a secret."""
    command = [engine, "build", f"--tag={name}", f"--file={DOCKERFILE}"]
    command += [f"--build-arg={key}={value}" for key, value in arguments.items()]
    if bundle := environ.get("SSL_CERT_FILE"):
        command.append(f"--secret=id=ca,src={bundle}")
    return [*command, os.fspath(CONTEXT)]


def ensure_debian_base(engine: str, log: Path = LOG) -> str:
    """Return the name of the Debian base image, made by debootstrap if need be."""
    prefixes = find_prefixes()
    name = debian_base_name(prefixes)
    if find_image(engine, name):
        return name
    if os.name != "posix" or os.geteuid() != 0:
        raise FactoryError(
            "making the Debian base image needs root: debootstrap creates device nodes and runs "
            "chroot.",
            hint="Run the same command as root, or name a base that can be pulled: --base REF.",
        )
    print(f"{name}: debootstrap, then {engine} import; the log is {log}", flush=True)
    with tempfile.TemporaryDirectory(prefix="mlc_llm-debian-base-") as scratch:
        root = Path(scratch) / "root"
        run_engine([DEBIAN_BASE, root, *prefixes], log, "making the Debian base")
        archive = Path(scratch) / "root.tar"
        run_engine(["tar", "-C", root, "-cf", archive, "."], log, "packing the Debian base")
        run_engine([engine, "import", archive, name], log, "importing the Debian base")
    return name


def debian_base_name(prefixes: Sequence[Path]) -> str:
    """Return the Debian base's tag, which changes with its script and its interpreters."""
    script = hashlib.sha256(DEBIAN_BASE.read_bytes()).hexdigest()
    return f"localhost/mlc_llm-debian-base:{_short_digest([script, *map(str, prefixes)])}"


def wanted_pythons() -> list[str]:
    """Return the oldest and newest supported Python and those that lanes build with."""
    supported = supported_pythons()
    builders = {
        f"3.{lane.cibuildwheel[3:].partition('-')[0]}"
        for lane in load_lanes().values()
        if lane.build == "container"
    }
    wanted = {supported[0], supported[-1], *builders}
    return [version for version in supported if version in wanted]


def find_prefixes() -> list[Path]:
    """Return where this machine has the wanted Pythons; those it does not have are left out."""
    prefixes = []
    for version in wanted_pythons():
        if python := find_python(version):
            code = "import sys; print(sys.base_prefix)"
            prefix = Path(subprocess.check_output([python, "-c", code], text=True).strip())
            if prefix != Path("/usr"):  # Debian's own is in the base, and /usr no tree to copy
                prefixes.append(prefix)
        else:
            print(f"Python {version} is not on this machine, so the base will not have it.")
    return prefixes


def _short_digest(parts: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def run_engine(
    command: Sequence[str | Path],
    log: Path,
    phase: str,
    env: Mapping[str, str] | None = None,
    hint: str = "",
) -> None:
    """Run a command of the engine, or of the base's making; its steps are shown."""
    run_logged(
        command,
        log=log,
        lane="",
        phase=phase,
        cwd=ROOT,
        env={**os.environ, **(env or {})},
        on_line=_show_step,
        hint=hint,
    )


def _show_step(line: str) -> None:
    """Print the lines that tell a person how far a build is."""
    if re.match(r"==> |STEP \d|#\d+ \[|Copying |Writing |[0-9a-f]{12}: Pushed", line):
        print(f"  {line[:100]}", flush=True)
