"""README.md and docs/ say what is true: commands, links, variables, messages, lanes."""

import ast
import contextlib
import importlib
import inspect
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
from nox import registry
from releases import git, stage_release, write_repository

import noxfile  # noqa: F401 - registers the sessions
from ci.lanes import load_lanes
from ci.paths import ROOT
from ci.release.gate import check_tag

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
INSTALL = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
USE = (ROOT / "docs" / "use.md").read_text(encoding="utf-8")
BUILD = (ROOT / "docs" / "build.md").read_text(encoding="utf-8")
RELEASE = (ROOT / "docs" / "release.md").read_text(encoding="utf-8")
NOX = (["nox"], ["python3", "noxfile.py"])
Run = Callable[..., "subprocess.CompletedProcess[str]"]


def fenced(language: str, text: str) -> Iterator[str]:
    """Yield the blocks of code in `language`."""
    yield from re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def commands(text: str) -> Iterator[str]:
    """Yield each command in blocks of sh, and each nox command in running text."""
    for block in fenced("sh", text):
        yield from filter(None, map(str.strip, block.replace("\\\n", "").splitlines()))
    for span in re.findall(r"`([^`\n]+)`", text):
        if span.startswith(("nox -", "python3 noxfile.py")):
            yield span


COMMANDS = sorted({line for page in PAGES for line in commands(page.read_text(encoding="utf-8"))})


def words(command: str) -> tuple[list[str], dict[str, str]]:
    """Return a command's words, and the variables set in front of it."""
    parts = shlex.split(command, comments=True)
    count = next((i for i, part in enumerate(parts) if "=" not in part), len(parts))
    return parts[count:], dict(part.split("=", 1) for part in parts[:count])


def starting_with(*starts: list[str]) -> list[str]:
    return [c for c in COMMANDS if any(words(c)[0][: len(s)] == s for s in starts)]


def module_of(session: str) -> str:
    """Return what reads the words behind `--`: a module of ci/, or pytest."""
    source = inspect.getsource(registry.get()[session].func)
    match = re.search(r'run\(session, "(\w+)"|"ci\.(\w+)"', source)
    module = match and (match[1] or match[2])
    return "pytest" if module in {None, "tests"} else f"ci.{module}"


def problem(command: str) -> str:
    """Return what nox, or the session's own parser, would refuse in `command`; empty if nothing."""
    before, _, behind = shlex.join(words(command)[0]).partition(" -- ")
    sessions = [word for word in before.split() if word not in {"nox", "python3", "noxfile.py"}]
    if sessions == ["-l"]:
        return ""
    if sessions[:1] != ["-s"] or not sessions[1:]:
        return "only `-l` and `-s SESSION` are documented"
    for name in sessions[1:]:
        if name not in registry.get():
            return f"there is no session {name}"
        if behind and (refused := refusal(module_of(name), shlex.split(behind))):
            return refused
    return ""


def main_of(module: str) -> Callable[[list[str]], int]:
    """Return what `python -m module` calls with its arguments."""
    found = importlib.import_module(module)
    if hasattr(found, "__path__"):
        found = importlib.import_module(f"{module}.__main__")
    main: Callable[[list[str]], int] = found.main
    return main


def refusal(module: str, arguments: list[str]) -> str:
    """Return what is wrong with a session's arguments; empty if its parser takes them."""
    if module == "pytest":
        command = [sys.executable, "-m", "pytest", "--collect-only", "-q", *arguments]
        done = subprocess.run(
            [*command, "tests/ci/test_version.py"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        return "" if done.returncode in {0, 5} else done.stderr  # 5: no test was chosen
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        try:
            status: str | int | None = main_of(module)([*arguments, "--help"])
        except SystemExit as stop:
            status = stop.code
    if status != 0:
        return output.getvalue()
    # argparse answers --help before it looks at options that it does not know.
    unknown = [a for a in arguments if a.startswith("--") and a not in output.getvalue()]
    return f"{module} has no {', '.join(unknown)}" if unknown else ""


@pytest.mark.parametrize("command", starting_with(*NOX))
def test_nox_command_is_accepted(command: str) -> None:
    assert problem(command) == ""


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("nox -s nothing", "no session nothing"),
        ("python3 noxfile.py -s wheels -- --nothing", "has no --nothing"),
        ("nox -s wheels -- --engine vmware", "invalid choice: 'vmware'"),
        ("nox -s tests -- --nothing", "unrecognized arguments: --nothing"),
        ("nox --nothing", "only `-l`"),
    ],
)
def test_wrong_nox_command_is_refused(command: str, reason: str) -> None:
    assert reason in problem(command)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the pages call models: sources, and what they are converted into."""
    main = pytest.importorskip(
        "mlc_llm.cli", reason="mlc_llm is not installed; `nox -s tests` installs it"
    ).main
    folder = tmp_path_factory.mktemp("docs")
    for source, output in (("hf-model", "model"), ("tests/assets/tiny", "tiny-MLC")):
        shutil.copytree(ROOT / "tests/assets/tiny", folder / source)
        options = [f"{folder / source}", "--quantization", "q4f16_1", "-o", f"{folder / output}"]
        assert main(["convert_weight", *options]) == 0
        assert main(["gen_config", *options, "--conv-template", "chatml"]) == 0
    return folder


@pytest.fixture
def run_mlc_llm(tmp_path: Path, models: Path) -> Run:
    """Runs the installed package's command, away from the checkout and beside `models`."""
    shutil.copytree(models, tmp_path, dirs_exist_ok=True)

    def run(*arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "mlc_llm", *arguments]
        env = os.environ | variables
        return subprocess.run(
            command, cwd=tmp_path, env=env, input="", capture_output=True, text=True, check=False
        )

    return run


@pytest.mark.parametrize("command", starting_with(["mlc_llm"]))
def test_mlc_llm_command_works(command: str, run_mlc_llm: Run) -> None:
    (_, *arguments), variables = words(command)
    done = run_mlc_llm(*arguments, **variables)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("arguments", "variables"),
    [
        (["devices"], {"MLC_LLM_VULKAN_LOADER": "/nonexistent"}),
        (["selftest", "--device", "cpu"], {"MLC_LLM_NUM_THREADS": "many"}),
        (["selftest", "--device", "cpu"], {"MLC_LLM_CPU_ISA": "avx9"}),
        (["selftest", "--device", "gpu"], {}),
    ],
)
def test_message_is_quoted_as_it_is_given(
    arguments: list[str], variables: dict[str, str], run_mlc_llm: Run
) -> None:
    done = run_mlc_llm(*arguments, **variables)
    *_, message = re.findall(r"(?:FAILED|none:|mlc_llm:) +(.*)", done.stdout + done.stderr)
    quoted = re.sub(r"\n> ?", " ", INSTALL)
    message = re.sub(r"offers .*?\. Unset", "offers ... Unset", message)
    assert message in quoted


@pytest.mark.parametrize("code", [*fenced("python", INSTALL), *fenced("python", USE)])
def test_python_example_runs(code: str, models: Path) -> None:
    done = subprocess.run([sys.executable, "-c", code], cwd=models, check=False)
    assert done.returncode == 0


def slug(heading: str) -> str:
    """Return the anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def broken_links(page: Path, text: str) -> list[str]:
    """Return the relative links of `text`, as part of `page`, that lead nowhere."""
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        if "://" in link:
            continue
        if not target.exists():
            broken.append(link)
        elif anchor:
            headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            broken += [link] if anchor not in map(slug, headings) else []
    return broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_lead_somewhere(page: Path) -> None:
    assert broken_links(page, page.read_text(encoding="utf-8")) == []


def test_broken_links_are_found() -> None:
    text = "[a](nothing.md) [b](build.md#nothing) [c](#lanes) [d](https://example.org/nothing)"
    assert broken_links(ROOT / "docs/build.md", text) == ["nothing.md", "build.md#nothing"]


@cache
def code(*folders: str) -> str:
    """Return all source text of `folders` and of the top level, tests of the docs left out."""
    suffixes = {".py", ".cc", ".h", ".toml", ".cmake", ".txt"}
    files = [f for folder in folders for f in (ROOT / folder).rglob("*") if f.suffix in suffixes]
    return "\n".join(f.read_text(encoding="utf-8") for f in files if f != Path(__file__))


def test_every_documented_variable_is_in_the_code() -> None:
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    known = set(re.findall(r"MLC_LLM_[A-Z_]+[A-Z]", code("ci", "cpp", "python", "tests")))
    assert set(re.findall(r"MLC_LLM_[A-Z_]+[A-Z]", text)) <= known


def test_every_variable_of_the_package_is_documented() -> None:
    read = re.findall(r'(?:getenv\(|environ\W+(?:get\W+)?)"(MLC_LLM_\w+)"', code("cpp", "python"))
    assert set(read)
    assert set(read) <= set(re.findall(r"^\| `(MLC_LLM_\w+)`", INSTALL, re.MULTILINE))


@cache
def messages() -> list[str]:
    """Return every string of the factory's code, with … where it puts a value in."""
    strings = []
    for path in (ROOT / "ci").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = (v.value if isinstance(v, ast.Constant) else "…" for v in node.values)
                strings.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                strings.append(node.value)
    return strings


def test_release_takes_the_commands_that_it_is_said_to_take(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet", "--bare", "origin")
    repository = write_repository(tmp_path / "repository")
    git(repository, "remote", "add", "origin", str(tmp_path / "origin"))
    for command in next(fenced("sh", RELEASE)).splitlines():
        subprocess.run(shlex.split(command), cwd=repository, check=True, capture_output=True)
    assert check_tag(repository, "v0.1.0").tag == "v0.1.0"
    assert git(tmp_path / "origin", "tag") == "v0.1.0"


def test_sums_are_checked_by_the_command_that_is_given(tmp_path: Path) -> None:
    release = stage_release(tmp_path)
    (*_, block) = fenced("sh", RELEASE)
    done = subprocess.run(shlex.split(block), cwd=release.folder, check=True, capture_output=True)
    assert done.stdout.count(b": OK") == len(release.assets) - 1


def explained(page: str) -> list[str]:
    """Return the messages of a page's last table of errors."""
    table = page.partition("## When it fails")[2].partition("\n## ")[0]
    return re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)


@pytest.mark.parametrize("message", [*explained(BUILD), *explained(RELEASE)])
def test_explained_message_is_one_of_the_code(message: str) -> None:
    assert any(message in string for string in messages())


@pytest.mark.parametrize("page", ["README.md", "docs/build.md"])
def test_table_of_lanes_is_that_of_the_code(page: str) -> None:
    rows = re.findall(
        r"^\| `([^`]+)` \| `([^`]+)` \| (built|declared) \| (yes|no) \| ([\w, ]+) \|$",
        (ROOT / page).read_text(),
        re.MULTILINE,
    )
    assert rows == [
        (
            *(lane.id, lane.platform, lane.state),
            *("yes" if lane.released else "no", ", ".join(lane.tested)),
        )
        for lane in load_lanes().values()
    ]
