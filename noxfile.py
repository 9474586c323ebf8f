#!/usr/bin/env python3
# /// script
# requires-python = ">=3.10"
# dependencies = ["nox>=2026.10.20", "uv>=0.13.9"]
# ///
"""The wheel factory's sessions. Without nox: `python3 noxfile.py -s wheels` sets it up first."""

import sys

if sys.version_info < (3, 10):  # noqa: UP036 - the one file that an old Python may meet
    sys.exit("error: Python 3.10 or newer is needed; this is " + sys.version.split()[0] + ".")

if __name__ == "__main__":
    from ci.bootstrap.nox_env import run_nox

    sys.exit(run_nox(sys.argv[1:]))

import nox

nox.needs_version = ">=2026.10.20"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_existing_virtualenvs = True
nox.options.error_on_missing_interpreters = True


def install(session: nox.Session, lock: str) -> None:
    """Install one lock, hashes required."""
    session.install("--require-hashes", "--only-binary=:all:", "-r", f"ci/locks/{lock}.txt")


def run(session: nox.Session, module: str, *, python: str = "python") -> None:
    """Run a module of the factory with the session's own words behind it.

    On Ctrl-C it gets the time to stop compilers and containers before nox ends it.
    """
    session.run(
        *(python, "-m", f"ci.{module}", *session.posargs),
        env={"MLC_LLM_SESSION": session.name},  # a failure leaves a record of it
        interrupt_timeout=60,
    )


@nox.session
def wheels(session: nox.Session) -> None:
    """Make, repair, verify and smoke-test the wheel of each lane (`-- --help` for choices)."""
    install(session, "factory")
    run(session, "wheels")


@nox.session
def tests(session: nox.Session) -> None:
    """Run every fast test: factory, C++ core, Python package (`-- -k WORD` for some)."""
    install(session, "dev")
    run(session, "tests")


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and types: Python, C++, shell, workflows (`-- --fix` mends)."""
    install(session, "dev")
    run(session, "lint")


@nox.session(default=False)
def toolchain(session: nox.Session) -> None:
    """Install the toolchain and compile each lane's C++ library, before a build asks for them."""
    install(session, "factory")
    run(session, "toolchain")


@nox.session(default=False)
def report(session: nox.Session) -> None:
    """Make a page about the last build: times, contents, checks, sizes (`-- --open`)."""
    install(session, "factory")
    run(session, "report")


@nox.session(default=False)
def reproduce(session: nox.Session) -> None:
    """Run a failed session again, from its record, a lane or an Actions run (`-- --help`)."""
    install(session, "factory")
    run(session, "reproduce")


@nox.session(default=False)
def sanitize(session: nox.Session) -> None:
    """Run the core under clang's sanitizers, and fuzz it (`-- --seconds N` for longer)."""
    install(session, "dev")
    install(session, "smoke-newest")
    install(session, "fuzz")
    run(session, "sanitize")


@nox.session(name="same-bytes", default=False)
def same_bytes(session: nox.Session) -> None:
    """Build twice, elsewhere and otherwise, and compare the bytes."""
    install(session, "factory")
    run(session, "same_bytes")


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """Measure: `-- factory` times each phase, `-- core` a model against llama.cpp."""
    install(session, "dev")
    run(session, "bench")


@nox.session(default=False, venv_backend="virtualenv")
def reference(session: nox.Session) -> None:
    """Compare the wheel in wheelhouse/ with torch and transformers (a large download)."""
    run(session, "reference")


@nox.session(default=False)
def release(session: nox.Session) -> None:
    """Make the release of a tag from its wheels (`-- --tag v1.2.3`), whole or not at all."""
    install(session, "factory")
    run(session, "release")


@nox.session(default=False)
def verify(session: nox.Session) -> None:
    """Check a release before trusting it: `-- v1.2.3` or a folder, `--rebuild` for every byte."""
    install(session, "factory")
    run(session, "trust")


@nox.session(default=False)
def index(session: nox.Session) -> None:
    """Make a package index of all releases, with a page for people (`-- --help` for choices)."""
    install(session, "factory")
    run(session, "index")


@nox.session(default=False)
def image(session: nox.Session) -> None:
    """Make the container image that Linux wheels are built in (`-- --push REPOSITORY`)."""
    install(session, "factory")
    run(session, "image")


@nox.session(default=False)
def walk(session: nox.Session) -> None:
    """Run GitHub's workflows here, job by job, with a registry and a GitHub of our own."""
    install(session, "dev")
    run(session, "walk")


@nox.session(default=False)
def shaders(session: nox.Session) -> None:
    """Regenerate SPIR-V and the Vulkan declarations (`-- --check` only compares)."""
    install(session, "factory")
    run(session, "shaders")


@nox.session(default=False)
def locks(session: nox.Session) -> None:
    """Regenerate ci/locks/ from the dependency groups in pyproject.toml."""
    install(session, "factory")
    run(session, "lock")


@nox.session(default=False, venv_backend="none")
def matrix(session: nox.Session) -> None:
    """Print the workflows' build matrix, made from ci/lanes.toml, as JSON."""
    run(session, "lanes", python=sys.executable)
