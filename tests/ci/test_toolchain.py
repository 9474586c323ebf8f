import base64
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from offers import offer

from ci import toolchain
from ci.errors import FactoryError
from ci.lanes import Lane, load_lanes
from ci.toolchain import Toolchain, check_files, command_env, ensure_toolchain
from ci.toolchain import __main__ as provision

LANE = load_lanes()["linux-x86_64"]
LAUNCHER = toolchain.CMAKE_FILE.with_name("launcher.py")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache for toolchain, zig and uv, with retries off."""
    monkeypatch.setenv("MLC_LLM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    monkeypatch.setattr(toolchain, "_warm", lambda *_: None)
    return tmp_path / "cache"


@pytest.fixture
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A lock of one tiny package, and a folder in the place of the index that offers it."""
    offers = tmp_path / "offers"
    lock = tmp_path / "toolchain.txt"
    lock.write_text(offer(offers, "ziglang"))
    monkeypatch.setenv("UV_NO_INDEX", "1")
    monkeypatch.setenv("UV_FIND_LINKS", str(offers))
    return lock


@pytest.mark.skipif("MLC_LLM_TOOLCHAIN" not in os.environ, reason="`nox -s tests` has it")
def test_cmake_does_not_need_the_python_that_installed_it() -> None:
    installed = Toolchain(Path(os.environ["MLC_LLM_TOOLCHAIN"]), "")
    cmake = shutil.which("cmake", path=command_env(installed, LANE)["PATH"])
    assert cmake
    assert not Path(cmake).read_bytes().startswith(b"#!")


@pytest.mark.skipif("MLC_LLM_TOOLCHAIN" not in os.environ, reason="`nox -s tests` has it")
@pytest.mark.parametrize(
    ("generator", "refused"), [("Ninja", False), ("Visual Studio 17 2022", True), ("Xcode", True)]
)
def test_generator_that_ignores_zig_is_refused(generator: str, *, refused: bool) -> None:
    installed = Toolchain(Path(os.environ["MLC_LLM_TOOLCHAIN"]), "")
    env = command_env(installed, LANE)
    cmake = shutil.which("cmake", path=env["PATH"])
    assert cmake
    script = [cmake, f"-DCMAKE_GENERATOR={generator}", "-P", str(toolchain.CMAKE_FILE)]
    done = subprocess.run(script, env=env, capture_output=True, text=True, check=False)
    assert ("which may ignore zig" in done.stderr) is refused
    assert bool(done.returncode) is refused


@pytest.mark.skipif("MLC_LLM_TOOLCHAIN" not in os.environ, reason="`nox -s tests` has it")
def test_object_that_another_checkout_compiled_is_found(tmp_path: Path) -> None:
    installed = Toolchain(Path(os.environ["MLC_LLM_TOOLCHAIN"]), "")
    objects = tmp_path / "objects"
    env = command_env(installed, LANE) | {"ZIG_LOCAL_CACHE_DIR": str(objects)}
    found = []
    for name, answer in (("first", 1), ("second", 1), ("other", 2)):
        source = tmp_path / name
        build = source / "build"
        for folder in (build, source / "cpp"):
            folder.mkdir(parents=True)
        (source / "cpp" / "it.h").write_text(f"const int answer = {answer};\n")
        (source / "cpp" / "it.cc").write_text('#include "it.h"\nint Answer() { return answer; }\n')
        (build / "made.cc").write_text('#include "it.h"\nint More() { return answer + 1; }\n')
        zig = installed.directory / "ziglang" / "zig"
        command: list[str | Path] = [sys.executable, LAUNCHER, source, zig, "c++"]
        command += [f"-I{source}/cpp", f"-ffile-prefix-map={source}=it", "-o", "it.o", "-c"]
        for file in (source / "cpp" / "it.cc", "made.cc"):  # as CMake names them
            subprocess.run([*command, file], cwd=build, env=env, check=True)
        found.append((len([*objects.glob("o/*")]), (build / "it.o").read_bytes()))
    first, second, other = found
    assert first == second
    assert first != other


def test_toolchain_is_installed_once(cache: Path, lock: Path, tmp_path: Path) -> None:
    first = ensure_toolchain(LANE, tmp_path / "log", lock)
    lock.parent.joinpath("offers").rename(tmp_path / "gone")
    assert ensure_toolchain(LANE, tmp_path / "log", lock) == first
    assert [path.parent for path in cache.glob("toolchain/*/ziglang")] == [first.directory]


@pytest.mark.parametrize(
    ("words", "provided"),
    [
        ((), [lane.id for lane in load_lanes().values() if lane.built]),
        (("--lane", "windows-x86_64"), ["windows-x86_64"]),
    ],
)
def test_session_provides_for_each_lane(
    words: Sequence[str], provided: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []

    def ensure(lane: Lane, _: Path) -> Toolchain:
        found.append(lane.id)
        return Toolchain(tmp_path, "")

    monkeypatch.setattr(provision, "ensure_toolchain", ensure)
    monkeypatch.setattr(provision, "ensure_tvm_ffi", lambda *_: tmp_path)
    monkeypatch.setattr(provision, "LOG", tmp_path / "log")
    assert provision.main([*words]) == 0
    assert found == provided


@pytest.mark.usefixtures("cache")
def test_two_sessions_may_install_at_once(
    lock: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install = toolchain.install_lock

    def install_second(*args: Any, **options: Any) -> None:
        monkeypatch.setattr(toolchain, "install_lock", install)
        ensure_toolchain(LANE, tmp_path / "log", lock)
        install(*args, **options)

    monkeypatch.setattr(toolchain, "install_lock", install_second)
    installed = ensure_toolchain(LANE, tmp_path / "log", lock).directory
    check_files(installed, "ziglang")
    assert list(installed.parent.iterdir()) == [installed]


@pytest.mark.usefixtures("cache")
def test_toolchain_is_for_every_user(lock: Path, tmp_path: Path) -> None:
    installed = ensure_toolchain(LANE, tmp_path / "log", lock).directory
    assert installed.stat().st_mode & 0o777 == 0o755


def write_toolchain(directory: Path) -> Path:
    """Write an installed ziglang of three kinds of files with its RECORD."""
    files = {"ziglang/zig": b"#!run\n", "ziglang/__init__.py": b"A = 1\n", "ziglang/a.h": b"int\n"}
    rows = ["ziglang-1.dist-info/RECORD,,\n"]
    for name, data in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
        rows.append(f"{name},sha256={digest},{len(data)}\n")
    (directory / "ziglang" / "zig").chmod(0o755)
    (directory / "ziglang-1.dist-info").mkdir()
    (directory / "ziglang-1.dist-info" / "RECORD").write_text("".join(rows))
    return directory


# What Python and uv leave beside the packages is no damage.
@pytest.mark.parametrize("extra", [".lock", "__pycache__/typing.pyc", "ziglang/__pycache__/a.pyc"])
def test_whole_toolchain_passes(tmp_path: Path, extra: str) -> None:
    path = write_toolchain(tmp_path) / extra
    path.parent.mkdir(exist_ok=True)
    path.touch()
    check_files(tmp_path, "ziglang")


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("ziglang/zig", b"#!ruN\n"),
        ("ziglang/__init__.py", b"A = 2\n"),
        ("ziglang/a.h", b"in"),
        ("sitecustomize.py", b""),
    ],
    ids=["program", "module", "header's size", "stranger"],
)
def test_damaged_toolchain_is_named(tmp_path: Path, name: str, data: bytes) -> None:
    (write_toolchain(tmp_path) / name).write_bytes(data)
    with pytest.raises(FactoryError, match=rf"is damaged: 1 .*{name}.*Remove that directory"):
        check_files(tmp_path, "ziglang")


def test_absent_file_is_damage(tmp_path: Path) -> None:
    (write_toolchain(tmp_path) / "ziglang" / "a.h").unlink()
    with pytest.raises(FactoryError, match=r"is damaged: 1 .*a\.h"):
        check_files(tmp_path, "ziglang")


@pytest.mark.usefixtures("cache")
def test_damage_is_seen_before_a_build(lock: Path, tmp_path: Path) -> None:
    installed = ensure_toolchain(LANE, tmp_path / "log", lock).directory
    (installed / "sitecustomize.py").touch()
    with pytest.raises(FactoryError, match="is damaged"):
        ensure_toolchain(LANE, tmp_path / "log", lock)


def test_half_a_toolchain_is_damaged(tmp_path: Path) -> None:
    with pytest.raises(FactoryError, match="is damaged"):
        check_files(tmp_path, "ziglang")


def test_wrong_hash_installs_nothing(cache: Path, lock: Path, tmp_path: Path) -> None:
    lock.write_text(f"ziglang==1 --hash=sha256:{'0' * 64}\n")
    with pytest.raises(FactoryError, match=r"not those that toolchain\.txt promises.*nox -s locks"):
        ensure_toolchain(LANE, tmp_path / "log", lock)
    assert list(cache.glob("toolchain/*")) == []


def test_no_network_says_so(
    cache: Path, lock: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("UV_NO_INDEX")
    monkeypatch.delenv("UV_FIND_LINKS")
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with pytest.raises(FactoryError, match=r"could not be downloaded.*Check the network"):
        ensure_toolchain(LANE, tmp_path / "log", lock)
    assert list(cache.glob("toolchain/*")) == []
