"""From a record to a verdict, with sessions that are one line of Python."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from records import FAILURE, MACHINE, RECORD, write_record

from ci.errors import FactoryError
from ci.images import ImageRef
from ci.lanes import load_lanes
from ci.paths import ROOT
from ci.record import Failure, Record
from ci.reproduce import __main__ as reproduce
from ci.reproduce import conditions
from ci.reproduce.checkout import make_checkout
from ci.reproduce.conditions import Conditions
from ci.reproduce.verdict import DIFFERENT, NOT_REPRODUCED, REPRODUCED, STATUS, judge


@pytest.mark.parametrize(
    ("seen", "word", "reason"),
    [
        (FAILURE, REPRODUCED, "the same: phase verify, size, exit status 1"),
        (replace(FAILURE, message="other words"), REPRODUCED, "the same"),
        (None, NOT_REPRODUCED, "the session passes here"),
        (replace(FAILURE, phase="smoke"), DIFFERENT, "phase: verify there, smoke here"),
        (replace(FAILURE, failed=()), DIFFERENT, "failed there only: size"),
        (replace(FAILURE, failed=("size", "glibc")), DIFFERENT, "failed here only: glibc"),
        (replace(FAILURE, status=2), DIFFERENT, "exit status: 1 there, 2 here"),
    ],
)
def test_verdict_compares_phase_tests_and_status(
    seen: Failure | None, word: str, reason: str
) -> None:
    verdict = judge(FAILURE, seen)
    assert verdict.word == word
    assert verdict.reasons[0].startswith(reason)


@pytest.mark.parametrize(
    ("there", "here", "same"),
    [
        (
            "smoke: import, python 3.13, oldest",
            "smoke: import, python 3.12 under Wine, newest",
            True,
        ),
        ("smoke: python 3.10, oldest", "smoke: python 3.12 under Wine, oldest", True),
        ("smoke: import, python 3.13, oldest", "smoke: a model, python 3.13, oldest", False),
    ],
)
def test_smoke_tests_of_another_kind_of_machine_have_other_pythons(
    there: str,
    here: str,
    same: bool,  # noqa: FBT001
) -> None:
    recorded, seen = (
        replace(FAILURE, failed=(f"smoke: {name} apache-tvm-ffi",)) for name in (there, here)
    )
    assert judge(recorded, seen).word == DIFFERENT
    assert judge(recorded, seen, elsewhere=True).word == (REPRODUCED if same else DIFFERENT)


def test_lane_without_a_record_only_has_to_fail() -> None:
    assert judge(None, FAILURE).word == REPRODUCED
    assert judge(None, None).word == NOT_REPRODUCED


def test_every_verdict_has_a_status_of_its_own() -> None:
    assert len({*STATUS.values(), 1, 2}) == len(STATUS) + 2


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository whose noxfile does what the file `behaviour` says."""
    root = tmp_path / "repository"
    root.mkdir()
    (root / "noxfile.py").write_text("exec(open('behaviour').read())\n")
    (root / "behaviour").write_text("")
    (root / "ci" / "locks").mkdir(parents=True)
    (root / "ci" / "locks" / "dev.txt").write_text("")
    (root / ".gitignore").write_text("/build/\n")
    git(root, "init", "--quiet")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "-m", "first")
    return root


def git(root: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.com"]
    command = ["git", *identity, *arguments]
    return subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout


def record_of(root: Path, **changes: object) -> Record:
    commit = git(root, "rev-parse", "HEAD").strip()
    return replace(RECORD, **{"commit": commit, "machine": MACHINE, **changes})  # type: ignore[arg-type]


def test_checkout_is_the_records_commit_with_its_changes(repository: Path, tmp_path: Path) -> None:
    (repository / "behaviour").write_text("1\n")
    diff = git(repository, "diff")
    record = record_of(repository, diff=diff)
    git(repository, "commit", "--quiet", "-am", "second")
    checkout = make_checkout(record, tmp_path / "checkout", repository)
    assert (checkout / "behaviour").read_text() == "1\n"
    assert git(checkout, "rev-parse", "HEAD").strip() == record.commit


def test_checkout_starts_anew(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "checkout").mkdir()
    (tmp_path / "checkout" / "old").touch()
    checkout = make_checkout(record_of(repository), tmp_path / "checkout", repository)
    assert not (checkout / "old").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"commit": "0" * 40}, r"is not in this repository. Fetch it: `git fetch origin 0000"),
        (
            {"diff": "diff --git a/none b/none\n--- a/none\n+++ b/none\n@@ -1 +1 @@\n-a\n+b\n"},
            "apply",
        ),
    ],
)
def test_impossible_checkout_is_refused(
    changes: dict[str, str], message: str, repository: Path, tmp_path: Path
) -> None:
    with pytest.raises(FactoryError, match=message):
        make_checkout(record_of(repository, **changes), tmp_path / "checkout", repository)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, ("--lane", "linux-x86_64", "--engine", "host")),
        ({"arguments": ()}, ("--lane", "linux-x86_64", "--engine", "host")),
        ({"arguments": ("--engine", "auto"), "lane": ""}, ("--engine", "auto")),
        ({"session": "tests", "arguments": ("-k", "it"), "engine": ""}, ("-k", "it")),
        ({"session": "image", "arguments": ("--push", "ghcr.io/o/n"), "engine": ""}, ()),
        ({"machine": replace(MACHINE, system="win32")}, ("--lane", "linux-x86_64")),
        ({"engine": "cross", "arguments": ()}, ("--lane", "linux-x86_64")),
    ],
)
def test_session_gets_its_words_and_what_it_found_out(
    changes: dict[str, object], words: tuple[str, ...]
) -> None:
    record = replace(RECORD, **changes)  # type: ignore[arg-type]
    assert conditions.arguments(record, MACHINE) == words


def test_absent_engine_is_replaced_by_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conditions, "engine_problem", lambda e: "" if e == "podman" else "absent")
    record = replace(RECORD, engine="docker", arguments=())
    assert conditions.arguments(record, MACHINE)[-1] == "podman"
    assert [*conditions.engine_differences(record, MACHINE)] == [
        "engine: docker there, podman here"
    ]


@pytest.mark.parametrize(
    ("held", "differences"),
    [
        (ImageRef("image:1", "sha256:aa"), []),
        (ImageRef("image:1", "sha256:bb"), ["image image:1: aa there, bb here"]),
        (None, ["image image:1 is not here yet: it is made, or pulled, first"]),
    ],
)
def test_other_image_is_told(
    held: ImageRef | None, differences: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conditions, "engine_problem", lambda _: "")
    monkeypatch.setattr(conditions, "find_image", lambda *_: held)
    record = replace(RECORD, engine="podman", image="image:1 sha256:aa")
    assert [*conditions.engine_differences(record, MACHINE)] == differences


def test_other_lock_is_told(tmp_path: Path) -> None:
    (tmp_path / "dev.txt").write_text("")
    record = replace(RECORD, locks={"dev.txt": "a" * 64, "old.txt": "b" * 64})
    assert [*conditions.lock_differences(record, tmp_path)] == [
        "ci/locks/dev.txt: aaaaaaaaaaaa there, e3b0c44298fc here",
        "ci/locks/old.txt: bbbbbbbbbbbb there, none here",
    ]


def test_environment_is_the_records_and_not_ours(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLC_LLM_NUM_THREADS", "7")
    monkeypatch.setenv("MLC_LLM_CPU_ISA", "avx2")
    monkeypatch.setenv("NOX_CURRENT_SESSION", "reproduce")
    monkeypatch.setenv("GH_TOKEN", "ghp_s3cret")
    monkeypatch.setattr(conditions, "this_machine", lambda: MACHINE)
    weaker = replace(MACHINE, isa="portable")
    chosen = conditions.prepare(record_of(repository, machine=weaker), repository).environment
    assert chosen["LANG"] == "C.UTF-8"
    assert chosen["MLC_LLM_CPU_ISA"] == "portable"
    assert not {"MLC_LLM_NUM_THREADS", "NOX_CURRENT_SESSION", "GH_TOKEN"} & chosen.keys()
    given = record_of(repository, machine=weaker, environment={"MLC_LLM_CPU_ISA": "avx2"})
    assert conditions.prepare(given, repository).environment["MLC_LLM_CPU_ISA"] == "avx2"


LEAVE = """
import pathlib, sys
folder = pathlib.Path("build/records")
folder.mkdir(parents=True)
(folder / "wheels.json").write_text({record!r})
sys.exit(1)
"""
Run = Callable[..., int]


@pytest.fixture
def run(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Reproduces a record of the repository, which may behave otherwise than recorded."""
    monkeypatch.setattr(conditions, "engine_problem", lambda _: "absent")

    def reproduce_it(behaviour: str, *options: str) -> int:
        (repository / "behaviour").write_text(behaviour)
        git(repository, "commit", "--quiet", "--allow-empty", "-am", "behave")
        path = tmp_path / "record.json"
        path.write_text(write_record(path, commit=record_of(repository).commit).read_text())
        make = partial(make_checkout, directory=tmp_path / "checkout", source=repository)
        monkeypatch.setattr(reproduce, "make_checkout", make)
        return reproduce.main([str(path), *options])

    return reproduce_it


@pytest.mark.parametrize(
    ("seen", "word"),
    [(FAILURE, REPRODUCED), (replace(FAILURE, failed=("glibc",)), DIFFERENT)],
)
def test_failure_is_compared_with_the_record(
    seen: Failure, word: str, run: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    left = write_record(tmp_path / "left.json", failure=seen).read_text()
    assert run(LEAVE.format(record=left)) == STATUS[word]
    assert f"verdict: {word}\n" in capfd.readouterr().out


def test_passing_session_is_not_reproduced(run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    assert run("import sys; print(sys.argv[1:])") == 3
    printed = capfd.readouterr().out
    assert "['-s', 'wheels', '--', '--lane', 'linux-x86_64', '--engine', 'host']" in printed
    assert "verdict: not reproduced" in printed


def test_session_that_does_not_begin_is_a_different_failure(
    run: Run, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run("raise SystemExit(9)") == 4
    assert "phase: verify there, wheels, before it began here" in capfd.readouterr().out


def test_session_that_is_not_there_is_refused(run: Run) -> None:
    nox = [sys.executable, "-m", "nox", "-s", "nothing"]
    status = subprocess.run(nox, cwd=ROOT, capture_output=True, check=False).returncode
    with pytest.raises(FactoryError, match=r"commit \w{12} has no session wheels\."):
        run(f"raise SystemExit({status})")


@pytest.mark.parametrize("options", [(), ("--shell",)])
def test_shell_is_wanted_only_where_it_was_asked_for(
    options: tuple[str, ...], run: Run, capfd: pytest.CaptureFixture[str]
) -> None:
    run("import os; print('shell:', 'MLC_LLM_SHELL' in os.environ)", *options)
    assert f"shell: {bool(options)}" in capfd.readouterr().out


def test_what_a_session_needs_is_made_first(
    repository: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (repository / "behaviour").write_text("import sys; print(sys.argv[2])")
    chosen = Conditions(Path(sys.executable), (), dict(os.environ), ())
    record = replace(RECORD, session="reference", arguments=())
    assert reproduce.run_again(record, repository, chosen) is None
    lines = capfd.readouterr().out.splitlines()
    assert [line for line in lines if not line.startswith("$")] == ["wheels", "reference"]


def test_lane_stands_for_its_wheel_here_and_now() -> None:
    lane = next(iter(load_lanes()))
    record, failed = reproduce.find_record(lane, "")
    assert (record.session, record.arguments, failed) == ("wheels", ("--lane", lane), False)


def test_word_that_is_nothing_is_refused() -> None:
    with pytest.raises(FactoryError, match="there is no lane 'amiga'"):
        reproduce.find_record("amiga", "")


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        reproduce.parse_arguments(["--help"])
    printed = capsys.readouterr().out
    assert "0 reproduced, 3 not reproduced, 4 a different failure" in printed
    assert "Actions run" in printed
