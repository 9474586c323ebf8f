"""`nox -s locks`: turn each dependency group of pyproject.toml into ci/locks/GROUP.txt.

The smoke locks hold what the package itself needs: each dependency at the floor that
pyproject.toml declares (oldest), at its newest release (newest), or at the newest that Wine runs.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

import uv

from ci.paths import LOCKS, ROOT
from ci.session import run_session

GROUPS = ("nox", "toolchain", "factory", "dev", "fuzz", "peer")


def compile_lock(name: str, *inputs: str) -> None:
    """Resolve `inputs` for every supported Python and platform into ci/locks/`name`.txt."""
    print(f"locking {name} ...", flush=True)
    header = f"# Made by `nox -s locks` from pyproject.toml ({name}); never edited by hand.\n"
    result = subprocess.run(
        [
            *(uv.find_uv_bin(), "pip", "compile", "--quiet", "--universal", "--upgrade"),
            *("--python-version", "3.10", "--generate-hashes", "--no-header", "--no-annotate"),
            *("--no-emit-index-url", "--no-emit-find-links", *inputs),
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    (LOCKS / f"{name}.txt").write_text(header + result.stdout, encoding="utf-8")


def main(arguments: list[str]) -> int:
    """Write every lock."""
    argparse.ArgumentParser(prog="nox -s locks --", description=__doc__).parse_args(arguments)
    try:
        for group in GROUPS:
            compile_lock(group, "--group", f"pyproject.toml:{group}")
        compile_lock("smoke-oldest", "pyproject.toml", "--resolution", "lowest-direct")
        compile_lock("smoke-newest", "pyproject.toml")
        compile_lock("smoke-wine", "pyproject.toml", "--group", "pyproject.toml:wine")
    except subprocess.CalledProcessError as error:
        print("error: uv could not resolve this lock (its message is above).", file=sys.stderr)
        return error.returncode
    return 0


if __name__ == "__main__":
    run_session(main)
