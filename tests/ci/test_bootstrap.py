import hashlib
import os
import re
import subprocess
from pathlib import Path

import pytest
from offers import offer

from ci.bootstrap import nox_env
from ci.bootstrap.nox_env import ensure_environment, run_nox
from ci.paths import LOCKS


@pytest.fixture
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A lock of one tiny `nox`, and a folder in the place of the index that offers it."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "offers"))
    lock = tmp_path / "nox.txt"
    lock.write_text(offer(tmp_path / "offers", "nox"))
    return lock


def test_environment_is_kept_while_the_lock_is_the_same(lock: Path, tmp_path: Path) -> None:
    python = ensure_environment(tmp_path / "env", lock)
    kept = tmp_path / "env" / "kept"
    kept.touch()
    assert ensure_environment(tmp_path / "env", lock) == python
    assert kept.exists()


def test_environment_is_made_anew_when_the_lock_changes(lock: Path, tmp_path: Path) -> None:
    ensure_environment(tmp_path / "env", lock)
    stale = tmp_path / "env" / "stale"
    stale.touch()
    lock.write_text(offer(tmp_path / "offers", "nox", "2"))
    ensure_environment(tmp_path / "env", lock)
    assert [path.name for path in tmp_path.glob("env/lib/*/site-packages/nox-*")] == [
        "nox-2.dist-info"
    ]
    assert not stale.exists()


def test_no_network_says_what_to_do(
    lock: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)  # it may name further indexes
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setattr(
        nox_env, "ensure_environment", lambda: ensure_environment(tmp_path / "env", lock)
    )
    assert run_nox(["-l"]) != 0
    message = capfd.readouterr().err
    assert "(from versions: none)" in message  # pip's own words, kept
    assert "error: nox could not be installed" in message
    assert "check the network" in message


def test_failed_install_is_not_taken_for_an_environment(lock: Path, tmp_path: Path) -> None:
    promised = lock.read_text()
    lock.write_text(re.sub(r"sha256:\w+", f"sha256:{'0' * 64}", promised))
    with pytest.raises(subprocess.CalledProcessError):
        ensure_environment(tmp_path / "env", lock)
    assert not (tmp_path / "env" / "lock.sha256").exists()


def test_pip_kept_here_is_the_locked_one() -> None:
    (pip,) = Path(nox_env.__file__).parent.glob("pip-*.whl")
    digest = hashlib.sha256(pip.read_bytes()).hexdigest()
    version = pip.name.split("-")[1]
    locked = (LOCKS / "toolchain.txt").read_text().replace("\\\n", " ")
    (line,) = re.findall(rf"^pip=={re.escape(version)} .*$", locked, re.MULTILINE)
    assert f"--hash=sha256:{digest}" in line
