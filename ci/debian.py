"""Programs out of pinned Debian packages, run without installing anything."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ci.errors import FactoryError

LIBRARIES = Path("usr/lib/x86_64-linux-gnu")


@dataclass(frozen=True)
class Package:
    """A Debian package; without a hash, apt's signature check vouches for it."""

    name: str
    version: str = ""
    sha256: str = ""

    @property
    def pattern(self) -> str:
        """The file name that apt gives it, as a glob pattern."""
        # apt writes an epoch's colon as %3a; no pinned package has one.
        return f"{self.name}_{self.version or '*'}_*.deb"


@dataclass(frozen=True)
class PackageSet:
    """Packages of one suite, as `ci/shaders.toml` lists them; for another machine, perhaps."""

    suite: str
    packages: tuple[Package, ...]
    architecture: str = "amd64"

    @property
    def folder(self) -> str:
        """The name of their folder in the cache."""
        return self.suite if self.architecture == "amd64" else f"{self.suite}-{self.architecture}"

    @classmethod
    def from_table(cls, table: dict[str, Any]) -> PackageSet:
        """Return the set that a TOML table with `suite`, `runtime` and `pinned` describes."""
        runtime = [Package(name) for name in table["runtime"]]
        pinned = [Package(name, **row) for name, row in table["pinned"].items()]
        return cls(table["suite"], (*runtime, *pinned))


@contextmanager
def unpacked(packages: PackageSet, cache: Path) -> Iterator[Path]:
    """Give a directory, for a while, in which `packages` lie unpacked.

    The packages are kept in `cache` and checked at each use: one that does not match its hash is
    fetched again. Raises FactoryError where they cannot be had.
    """
    archives = cache / "debian" / packages.folder
    archives.mkdir(parents=True, exist_ok=True)
    missing = tuple(p for p in packages.packages if find_archive(archives, p) is None)
    if missing:
        fetch(replace(packages, packages=missing), archives)
    with tempfile.TemporaryDirectory(prefix="mlc_llm-debian-") as scratch:
        root = Path(scratch)
        for package in packages.packages:
            archive = find_archive(archives, package)
            if archive is None:
                raise FactoryError(
                    f"{package.name} {package.version} of Debian {packages.suite} does not have "
                    f"the pinned sha256 {package.sha256}.",
                    hint="The mirror is not to be trusted, or the pin in ci/shaders.toml is wrong.",
                )
            unpack(archive, root)
        yield root


def find_archive(archives: Path, package: Package) -> Path | None:
    """Return the package's file in `archives`, or None; a file with a wrong hash is removed."""
    for archive in sorted(archives.glob(package.pattern)):
        digest = hashlib.sha256(archive.read_bytes()).hexdigest()
        if package.sha256 in ("", digest):
            return archive
        archive.unlink()
    return None


def unpack(archive: Path, root: Path) -> None:
    """Unpack one package; a damaged one is removed, so that the next run fetches it again."""
    done = subprocess.run(
        ["dpkg-deb", "--extract", archive, root], capture_output=True, text=True, check=False
    )
    if done.returncode:
        archive.unlink()
        raise FactoryError(
            f"the cached package {archive.name} is damaged ({done.stderr.strip()}).",
            hint="It has been removed: run the same command again.",
        )


def run_program(root: Path, program: str, *arguments: str, cwd: Path) -> None:
    """Run an unpacked program on its own loader and libraries."""
    libraries = root / LIBRARIES
    done = subprocess.run(
        [
            libraries / "ld-linux-x86-64.so.2",
            "--library-path",
            libraries,
            root / "usr/bin" / program,
            *arguments,
        ],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise FactoryError(f"{program} {' '.join(arguments)}:\n{done.stdout}{done.stderr}".strip())


def fetch(packages: PackageSet, archives: Path) -> None:
    """Download `packages` into `archives` by apt, from the mirror that this machine uses."""
    if platform.machine() != "x86_64" or not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise _unavailable("this machine is not a Debian one for x86-64")
    mirror = find_mirror(
        _run_apt(
            [
                "indextargets",
                "--format",
                "$(REPO_URI) $(RELEASE) $(COMPONENT)",
                "Created-By: Packages",
            ]
        ),
        _own_suite(Path("/etc/os-release")),
    )
    with tempfile.TemporaryDirectory(prefix="mlc_llm-apt-") as scratch:
        state = Path(scratch)
        options = private_apt(state, f"deb {mirror} {packages.suite} main\n")
        options += ["-o", f"APT::Architecture={packages.architecture}"]
        options += ["-o", f"APT::Architectures={packages.architecture}"]
        _run_apt([*options, "update", "-q"])
        wanted = [f"{p.name}={p.version}" if p.version else p.name for p in packages.packages]
        for package in packages.packages:
            for old in archives.glob(package.pattern):
                old.unlink()
        _run_apt([*options, "download", "-q", *wanted], cwd=state)
        for archive in state.glob("*.deb"):
            partial = archives / f"{archive.name}.part"
            shutil.copyfile(archive, partial)
            partial.replace(archives / archive.name)


def find_mirror(targets: str, own_suite: str) -> str:
    """Return the mirror of the machine's own suite, out of `apt-get indextargets`' lines."""
    for line in targets.splitlines():
        uri, suite, component = line.split()
        if (suite, component) == (own_suite, "main"):
            return uri
    raise _unavailable(f"apt's sources name no mirror for Debian {own_suite or '(unknown)'}")


def private_apt(state: Path, source: str) -> list[str]:
    """Return options that make apt use `source` alone and keep all it writes in `state`."""
    (state / "lists/partial").mkdir(parents=True)
    (state / "archives/partial").mkdir(parents=True)
    sources = state / "sources.list"
    sources.write_text(source, encoding="utf-8")
    settings = {
        "APT::Sandbox::User": "",
        "Dir::Cache": state,
        "Dir::Etc::Preferences": "/dev/null",
        "Dir::Etc::PreferencesParts": "/dev/null",
        "Dir::Etc::SourceList": sources,
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::State": state,
        "Dir::State::status": "/dev/null",
    }
    return [part for key, value in settings.items() for part in ("-o", f"{key}={value}")]


def _own_suite(os_release: Path) -> str:
    """Return the Debian suite that this machine runs, or an empty string."""
    lines = os_release.read_text(encoding="utf-8").splitlines() if os_release.is_file() else []
    values = dict(line.split("=", 1) for line in lines if "=" in line)
    return values.get("VERSION_CODENAME", "").strip('"') if values.get("ID") == "debian" else ""


def _run_apt(arguments: list[str], cwd: Path | None = None) -> str:
    done = subprocess.run(
        ["apt-get", *arguments],
        cwd=cwd,
        env=os.environ | {"LC_ALL": "C"},
        capture_output=True,
        text=True,
        check=False,
    )
    # A mirror that cannot be reached is a mere warning to `apt-get update`.
    errors = [
        line for line in done.stderr.splitlines() if line.startswith(("E:", "Err", "W: Fail"))
    ]
    if done.returncode or errors:
        raise _unavailable(f"apt-get says: {' '.join(errors) or done.stderr.strip()}")
    return done.stdout


def _unavailable(why: str) -> FactoryError:
    return FactoryError(
        f"the pinned shader tools cannot be had here: {why}.",
        hint=(
            "Builds do not need them, since they use the committed SPIR-V and vulkan_api.h. To "
            "change a shader, run `nox -s shaders` on a Debian x86-64 machine or container with "
            "network; a pinned version that the mirror no longer has is renewed in ci/shaders.toml."
        ),
    )
