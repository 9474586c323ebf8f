"""Run nox from an environment of its own, made from the lock with the pip kept here.

A new machine has only Python and git. Debian's Python has neither pip nor ensurepip, and PEP 668
forbids installing into it, so the first step cannot lean on either: it makes a bare virtual
environment and fills it with the wheel of pip that lies beside this file.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "ci" / "locks" / "nox.txt"
ENVIRONMENT = ROOT / ".nox" / "bootstrap"


def run_nox(arguments: list[str]) -> int:
    """Run nox with `arguments` and return its exit status, installing it first where needed."""
    try:
        python = ensure_environment()
    except subprocess.CalledProcessError as error:
        print(
            "error: nox could not be installed (pip's own message is above). It needs the package "
            "index once: check the network, a proxy (PIP_PROXY) or its certificate (PIP_CERT), "
            "and run the same command again.",
            file=sys.stderr,
        )
        return error.returncode
    except KeyboardInterrupt:
        return 130
    command = [os.fspath(python), "-m", "nox", "--noxfile", os.fspath(ROOT / "noxfile.py")]
    path = os.pathsep.join([os.fspath(python.parent), os.environ.get("PATH", "")])
    environment = {**os.environ, "PATH": path}
    if os.name == "posix":  # nox in this process's place hears Ctrl-C itself, and may clean up
        os.execve(command[0], [*command, *arguments], environment)  # noqa: S606
    return subprocess.call([*command, *arguments], env=environment)


def ensure_environment(directory: Path = ENVIRONMENT, lock: Path = LOCK) -> Path:
    """Return the interpreter of an environment that holds exactly what `lock` says."""
    scripts = "Scripts/python.exe" if os.name == "nt" else "bin/python"
    stamp = directory / "lock.sha256"
    wanted = hashlib.sha256(lock.read_bytes() + sys.version.encode()).hexdigest()
    if stamp.is_file() and stamp.read_text(encoding="ascii") == wanted:
        return directory / scripts
    print(f"Setting up nox in {directory} (once; about half a minute) ...", flush=True)
    shutil.rmtree(directory, ignore_errors=True)
    venv.create(directory, with_pip=False, symlinks=os.name == "posix")
    (pip,) = Path(__file__).parent.glob("pip-*.whl")
    install = ["install", "--quiet", "--disable-pip-version-check", "--require-hashes"]
    subprocess.run(
        [directory / scripts, pip / "pip", *install, "--only-binary=:all:", "-r", lock], check=True
    )
    stamp.write_text(wanted, encoding="ascii")
    return directory / scripts
