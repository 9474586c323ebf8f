"""Checks of what every wheel holds, whatever its platform."""

from __future__ import annotations

import configparser
import contextlib
import email
import io
import json
import re
from collections.abc import Callable

from check_wheel_contents.checker import WheelChecker  # type: ignore[import-untyped]
from check_wheel_contents.contents import WheelContents  # type: ignore[import-untyped]
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from twine.commands.check import check as twine_check

from ci import elf, sbom
from ci.paths import ROOT
from ci.repack import find_dist_info, is_canonical, record_problems
from ci.toml import read_toml
from ci.verify.subject import Subject, expect, expect_none

PYPROJECT = ROOT / "pyproject.toml"
PROJECT = "mlc_llm"
CONSOLE_SCRIPT = "mlc_llm.cli:main"
LINKED = ("libc++", "compiler-rt of zig", "Apache TVM FFI headers", "DLPack")

# How native code begins, whatever the file is called: ELF, Windows' PE, and Mach-O of 32 and 64
# bits in either byte order, alone or as a universal file.
NATIVE = (
    *(elf.MAGIC, b"MZ", b"\xfe\xed\xfa\xce", b"\xfe\xed\xfa\xcf", b"\xce\xfa\xed\xfe"),
    *(b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe", b"\xca\xfe\xba\xbf"),
)

# An absolute path with at least two parts, at the start of a word or behind -I, -L or -B.
ABSOLUTE = re.compile(rb"(?:(?<![\w.$/)>\]*-])|(?<=-[ILB]))/[A-Za-z_][\w.+-]+/[\w.+-][\w./+-]*")
# The printable, NUL-terminated strings of a binary.
STRINGS = re.compile(rb"[\t\n\x20-\x7e]{6,}(?=\0)")
# Where a library may look at run time. Any other absolute path came from the build machine.
RUN_TIME = re.compile(rb"/(proc|sys|dev|etc|lib|lib64|usr/share|usr/lib)/")
# In text, where a path may be prose, only the places where builds happen are refused.
BUILD_ROOT = re.compile(
    rb"/(home|root|tmp|work|workspace|project|src|builds?|Users|__w|var/tmp|opt/mlc_llm)/"
)
# The same on Windows' drives, where no absolute path is right.
DRIVE = re.compile(rb"(?<!\w)[A-Za-z]:[\\/]+[\w.+-]+[\\/]+[\w.+-][\w.\\/+-]*")
DRIVE_ROOT = re.compile(rb".:[\\/]+(a|b|hostedtoolcache|mlc_llm|Users|Windows)[\\/]")


# Each function below is one check: it returns what it saw, or raises with what is wrong.


def _check_file_name(subject: Subject) -> str:
    expected = f"{PROJECT}-{subject.version}-py3-none-{subject.lane.platform}.whl"
    expect(subject.wheel.name == expected, f"{subject.wheel.name} should be called {expected}")
    return expected


def _check_wheel_tag(subject: Subject) -> str:
    wheel = email.message_from_bytes(subject.info("WHEEL"))
    tags = wheel.get_all("Tag", [])
    expected = f"py3-none-{subject.lane.platform}"
    expect(tags == [expected], f"WHEEL has the tags {tags}, not {expected} alone")
    pure = wheel["Root-Is-Purelib"]
    expect(pure == "false", f"WHEEL has Root-Is-Purelib {pure}, not false")
    return expected


def _check_metadata(subject: Subject) -> str:
    data = subject.metadata
    expect(canonicalize_name(data.name) == canonicalize_name(PROJECT), f"Name is {data.name}")
    expect(str(data.version) == subject.version, f"Version is {data.version}")
    expect(data.summary, "Summary is missing")
    expect(data.license_expression, "License-Expression is missing")
    project = read_toml(PYPROJECT)["project"]
    python, wanted_python = data.requires_python, SpecifierSet(project["requires-python"])
    expect(
        python == wanted_python,
        f"Requires-Python is {python}; pyproject.toml says {wanted_python}",
    )
    required, wanted = set(data.requires_dist or []), set(map(Requirement, project["dependencies"]))
    expect_none(map(str, required ^ wanted), "Requires-Dist and pyproject.toml differ")
    return f"{data.name} {data.version}, {len(required)} requirements"


def _check_licence(subject: Subject) -> str:
    folder = f"{find_dist_info(subject.files)}/licenses/"
    files = {name for name in subject.files if name.startswith(folder)}
    declared = {folder + name for name in subject.metadata.license_files or []}
    expect(files, f"there is no licence in {folder}")
    expect_none(files ^ declared, "License-File and the files differ")
    expect_none((n for n in files if not subject.files[n].strip()), "empty")
    return ", ".join(sorted(name.removeprefix(folder) for name in files))


def _check_console_script(subject: Subject) -> str:
    points = configparser.ConfigParser(delimiters=("=",))
    points.read_string(subject.info("entry_points.txt").decode())
    script = points.get("console_scripts", PROJECT, fallback=None)
    expect(script == CONSOLE_SCRIPT, f"{PROJECT} should be {CONSOLE_SCRIPT}, and is {script}")
    return f"{PROJECT} = {CONSOLE_SCRIPT}"


def _check_typed(subject: Subject) -> str:
    subject.read(f"{PROJECT}/py.typed")
    return "py.typed"


def _check_sbom(subject: Subject) -> str:
    folder = f"{find_dist_info(subject.files)}/sboms/"
    found = [name for name in subject.files if name.startswith(folder)]
    others = [name for name in found if not name.endswith(f"/{sbom.NAME}")]
    expect_none(others, "a second bill of materials contradicts the first, sooner or later")
    document = json.loads(subject.info(sbom.NAME))
    root = document["metadata"]["component"]
    expect(root["version"] == subject.version, f"it is of version {root['version']}")
    named = {part["bom-ref"] for part in document["components"]}
    needs = {*subject.library.needed, *map(str, subject.metadata.requires_dist or [])}
    expect_none(({*LINKED} | needs) - named, "does not name")
    return f"{len(named)} components"


def _check_record(subject: Subject) -> str:
    problems = record_problems(subject.files)
    expect(not problems, "; ".join(problems))
    return "every hash and size agrees"


def _check_canonical(subject: Subject) -> str:
    expect(
        is_canonical(subject.wheel, subject.files),
        "the archive was changed after ci.repack wrote it, or is not its work: same files, other "
        "order, times, modes, compression or extra bytes",
    )
    return "repacking changes nothing"


def _check_size(subject: Subject) -> str:
    size, budget = subject.wheel.stat().st_size, subject.lane.size_budget
    expect(size <= budget, f"{size} bytes are over the lane's budget of {budget}")
    return f"{size} of {budget} bytes"


def _check_vendored(subject: Subject) -> str:
    wrong = [
        name
        for name, data in subject.files.items()
        if re.search(r"(^|/)[^/]*\.(libs|dylibs)/", name)
        or re.search(r"(^|/)(lib)?(vulkan|tvm_ffi)[^/]*\.(so|dll|dylib)", name)
        or (data.startswith(NATIVE) and name != subject.lane.library)
    ]
    expect_none(wrong, "bundled")
    return f"{subject.lane.library} is the only library"


def _check_paths(subject: Subject) -> str:
    wrong = [
        f"{path} in {name}" for name, data in subject.files.items() for path in _build_paths(data)
    ]
    wrong += [
        f"{text} in {name}"
        for name, data in subject.files.items()
        for text in subject.forbidden
        if text.encode() in data
    ]
    expect_none(wrong, "paths of the build machine")
    return "no path of the build machine"


def _build_paths(data: bytes) -> list[str]:
    if data.startswith(NATIVE):
        text = b"\0".join(STRINGS.findall(data))
        paths = [p for p in ABSOLUTE.findall(text) if not RUN_TIME.match(p)]
        paths += DRIVE.findall(text)
    else:
        paths = [p for p in ABSOLUTE.findall(data) if BUILD_ROOT.match(p)]
        paths += [p for p in DRIVE.findall(data) if DRIVE_ROOT.match(p)]
    return [path.decode() for path in paths]


def _check_twine(subject: Subject) -> str:
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        failed = twine_check([str(subject.wheel)], strict=True)
    expect(not failed, "`twine check --strict` refuses the description: run it for the reason")
    return "clean"


def _check_contents(subject: Subject) -> str:
    checker = WheelChecker()
    checker.configure_options()
    failures = checker.check_contents(WheelContents.from_wheel(subject.wheel))
    expect_none((" ".join(f.show().split()) for f in failures), "`check-wheel-contents` finds")
    return "clean"


def _check_machine(subject: Subject) -> str:
    machine, expected = subject.library.machine, subject.lane.machine
    expect(machine == expected, f"the library is for {machine}, not {expected}")
    return machine


CHECKS: dict[str, Callable[[Subject], str]] = {
    "file name": _check_file_name,
    "wheel tag": _check_wheel_tag,
    "metadata": _check_metadata,
    "licence": _check_licence,
    "console script": _check_console_script,
    "py.typed": _check_typed,
    "record": _check_record,
    "sbom": _check_sbom,
    "canonical": _check_canonical,
    "size": _check_size,
    "vendored": _check_vendored,
    "paths": _check_paths,
    "twine": _check_twine,
    "check-wheel-contents": _check_contents,
    "machine": _check_machine,
}
