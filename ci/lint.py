"""`nox -s lint`: every check that reads the tree without building it; `-- --fix` mends."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from ci.errors import FactoryError
from ci.paths import ROOT, WORK
from ci.session import run_session
from ci.version import run_git
from ci.workflow_parser import parser_command

CPP = ("*.cc", "*.h", "*.comp", "*.glsl")
GENERATED = {"cpp/vulkan/vulkan_api.h"}


def tracked(*patterns: str) -> list[str]:
    """Return the files that git knows, or would, and that match one of `patterns`."""
    known = ("ls-files", "-z", "--cached", "--others", "--exclude-standard")
    listed = run_git(ROOT, *known, *patterns).split("\0")
    return [name for name in listed if (ROOT / name).is_file() and name not in GENERATED]


def checks(*, fix: bool) -> Iterable[tuple[str, list[str]]]:
    """Yield each check's name and command."""
    sources, scripts = tracked(*CPP), tracked("*.sh", ".ci/run")
    workflows = tracked(".github/workflows/*.yml")
    python = [sys.executable, "-m"]
    yield "ruff", [*python, "ruff", "check", *(["--fix"] if fix else []), "."]
    yield "ruff format", [*python, "ruff", "format", *([] if fix else ["--check"]), "."]
    yield "mypy", [*python, "mypy"]
    clang_format = ["clang-format", *(["-i"] if fix else ["--dry-run", "--Werror"])]
    yield "clang-format", [*clang_format, *sources]
    yield "shellcheck", ["shellcheck", *scripts]
    schema = ["--builtin-schema", "vendor.github-workflows"]
    yield "workflow schema", [*python, "check_jsonschema", "--quiet", *schema, *workflows]
    parser = parser_command(WORK / "workflow-parser.log")
    yield "GitHub's parser", [*parser, *workflows]
    yield "zizmor", ["zizmor", "--offline", "--pedantic", "--quiet", *workflows]


def main(arguments: list[str]) -> int:
    """Run every check; raise FactoryError that says which ones failed."""
    parser = argparse.ArgumentParser(prog="nox -s lint --", description=__doc__)
    parser.add_argument("--fix", action="store_true", help="mend what ruff and clang-format can")
    options = parser.parse_args(arguments)
    failed = []
    for name, command in checks(fix=options.fix):
        program = Path(command[0]).name
        print(f"{name} ...", flush=True)
        try:
            status = subprocess.call(command, cwd=ROOT)
        except FileNotFoundError:
            print(
                f"error: {program} is not installed: run `nox -s lint`, on Python 3.11 or newer.",
                file=sys.stderr,
            )
            status = 1
        if status:
            failed.append(name)
    if failed:
        raise FactoryError(f"{', '.join(failed)} failed.", failed=failed)
    print("all clean")
    return 0


if __name__ == "__main__":
    run_session(main)
