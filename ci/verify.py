"""Checks with teeth on a finished wheel: pure inspection, nothing of it is run."""

from __future__ import annotations

import configparser
import contextlib
import email
import io
import json
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from check_wheel_contents.checker import WheelChecker  # type: ignore[import-untyped]
from check_wheel_contents.contents import WheelContents  # type: ignore[import-untyped]
from packaging.metadata import ExceptionGroup, Metadata
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from twine.commands.check import check as twine_check

from ci import elf, sbom
from ci.checks import FAILED, PASSED, Check
from ci.errors import FactoryError
from ci.lanes import Lane
from ci.paths import ROOT
from ci.repack import find_dist_info, is_canonical, read_wheel, record_problems
from ci.toml import read_toml

PYPROJECT = ROOT / "pyproject.toml"
PROJECT = "mlc_llm"
LIBRARY = "mlc_llm/lib/libmlc_llm.so"
TVM_FFI = "libtvm_ffi.so"
RUN_PATH = "$ORIGIN/../../tvm_ffi/lib"
CONSOLE_SCRIPT = "mlc_llm.cli:main"
LINKED = ("libc++", "compiler-rt of zig", "Apache TVM FFI headers", "DLPack")
EXPORTED = ("__tvm_ffi_", "mlc_llm_")

# How native code begins, whatever the file is called: ELF, Windows' PE, and Mach-O of 32 and 64
# bits in either byte order, alone or as a universal file.
NATIVE = (
    *(elf.MAGIC, b"MZ", b"\xfe\xed\xfa\xce", b"\xfe\xed\xfa\xcf", b"\xce\xfa\xed\xfe"),
    *(b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe", b"\xca\xfe\xba\xbf"),
)

# What GCC's start-up objects leave undefined and weak in every library, on purpose.
STARTUP = {"__gmon_start__", "_ITM_deregisterTMCloneTable", "_ITM_registerTMCloneTable"}

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


@dataclass(frozen=True)
class Subject:
    """The wheel under inspection, and what it is measured against."""

    wheel: Path
    lane: Lane
    version: str
    toolchain: Path | None
    forbidden: tuple[str, ...]
    files: dict[str, bytes]

    def read(self, name: str) -> bytes:
        """Return the file `name`, or raise ValueError."""
        if name not in self.files:
            raise ValueError(f"{name} is absent")
        return self.files[name]

    def info(self, name: str) -> bytes:
        """Return the file `name` of the .dist-info folder, or raise ValueError."""
        return self.read(f"{find_dist_info(self.files)}/{name}")

    @property
    def library(self) -> elf.Library:
        """The native library; raises ValueError when it cannot be read."""
        if isinstance(self._library, str):
            raise ValueError(self._library)  # noqa: TRY004 - of the wheel, not of an argument
        return self._library

    @cached_property
    def _library(self) -> elf.Library | str:
        """The library, or why there is none: a failure is kept too, for ten checks ask."""
        try:
            return elf.read_library(self.read(LIBRARY))
        except Exception as error:  # noqa: BLE001 - pyelftools raises many kinds
            return f"{LIBRARY} cannot be read: {str(error) or type(error).__name__}"

    @cached_property
    def metadata(self) -> Metadata:
        """METADATA, validated; raises ValueError."""
        try:
            return Metadata.from_email(self.info("METADATA"))
        except ExceptionGroup as group:
            raise ValueError("; ".join(str(e) for e in group.exceptions)) from group


def verify_wheel(
    wheel: Path,
    lane: Lane,
    version: str,
    *,
    toolchain: Path | None = None,
    forbidden: Iterable[str] = (),
) -> list[Check]:
    """Return every check's result for `wheel`, built for `lane` as `version` (PEP 440).

    `toolchain` holds `tvm_ffi` (default: $MLC_LLM_TOOLCHAIN); `forbidden` are strings that no
    file may contain, such as the build's own folders. Never raises for a bad wheel: a check that
    cannot run has failed, and a file that is no wheel gives one failed check.
    """
    if toolchain is None and (variable := os.environ.get("MLC_LLM_TOOLCHAIN")):
        toolchain = Path(variable)
    try:
        files = read_wheel(wheel)
    except FactoryError as error:
        return [Check("archive", FAILED, str(error))]
    subject = Subject(wheel, lane, version, toolchain, tuple(forbidden), files)
    archive = Check("archive", PASSED, f"{len(files)} files")
    return [archive, *(_run(name, check, subject) for name, check in CHECKS.items())]


def _run(name: str, check: Callable[[Subject], str], subject: Subject) -> Check:
    try:
        return Check(name, PASSED, check(subject))
    except Exception as error:  # noqa: BLE001 - a check that cannot run has failed
        kind = "" if isinstance(error, (ValueError, FactoryError)) else f"{type(error).__name__}: "
        return Check(name, FAILED, f"{kind}{error}")


def _expect(condition: object, message: str) -> None:
    if not condition:
        raise ValueError(message)


def _expect_none(wrong: Iterable[str], message: str) -> None:
    """Raise ValueError with the first few of `wrong`, so that the report stays readable."""
    names = sorted(set(wrong))
    first, rest = names[:5], names[5:]
    more = f" and {len(rest)} more" if rest else ""
    _expect(not names, f"{message}: {', '.join(first)}{more}")


# Each function below is one check: it returns what it saw, or raises with what is wrong.


def _check_file_name(subject: Subject) -> str:
    expected = f"{PROJECT}-{subject.version}-py3-none-{subject.lane.platform}.whl"
    _expect(subject.wheel.name == expected, f"{subject.wheel.name} should be called {expected}")
    return expected


def _check_wheel_tag(subject: Subject) -> str:
    wheel = email.message_from_bytes(subject.info("WHEEL"))
    tags = wheel.get_all("Tag", [])
    expected = f"py3-none-{subject.lane.platform}"
    _expect(tags == [expected], f"WHEEL has the tags {tags}, not {expected} alone")
    pure = wheel["Root-Is-Purelib"]
    _expect(pure == "false", f"WHEEL has Root-Is-Purelib {pure}, not false")
    return expected


def _check_metadata(subject: Subject) -> str:
    data = subject.metadata
    _expect(canonicalize_name(data.name) == canonicalize_name(PROJECT), f"Name is {data.name}")
    _expect(str(data.version) == subject.version, f"Version is {data.version}")
    _expect(data.summary, "Summary is missing")
    _expect(data.license_expression, "License-Expression is missing")
    project = read_toml(PYPROJECT)["project"]
    python, wanted_python = data.requires_python, SpecifierSet(project["requires-python"])
    _expect(
        python == wanted_python,
        f"Requires-Python is {python}; pyproject.toml says {wanted_python}",
    )
    required, wanted = set(data.requires_dist or []), set(map(Requirement, project["dependencies"]))
    _expect_none(map(str, required ^ wanted), "Requires-Dist and pyproject.toml differ")
    return f"{data.name} {data.version}, {len(required)} requirements"


def _check_licence(subject: Subject) -> str:
    folder = f"{find_dist_info(subject.files)}/licenses/"
    files = {name for name in subject.files if name.startswith(folder)}
    declared = {folder + name for name in subject.metadata.license_files or []}
    _expect(files, f"there is no licence in {folder}")
    _expect_none(files ^ declared, "License-File and the files differ")
    _expect_none((n for n in files if not subject.files[n].strip()), "empty")
    return ", ".join(sorted(name.removeprefix(folder) for name in files))


def _check_console_script(subject: Subject) -> str:
    points = configparser.ConfigParser(delimiters=("=",))
    points.read_string(subject.info("entry_points.txt").decode())
    script = points.get("console_scripts", PROJECT, fallback=None)
    _expect(script == CONSOLE_SCRIPT, f"{PROJECT} should be {CONSOLE_SCRIPT}, and is {script}")
    return f"{PROJECT} = {CONSOLE_SCRIPT}"


def _check_typed(subject: Subject) -> str:
    subject.read(f"{PROJECT}/py.typed")
    return "py.typed"


def _check_sbom(subject: Subject) -> str:
    folder = f"{find_dist_info(subject.files)}/sboms/"
    found = [name for name in subject.files if name.startswith(folder)]
    others = [name for name in found if not name.endswith(f"/{sbom.NAME}")]
    _expect_none(others, "a second bill of materials contradicts the first, sooner or later")
    document = json.loads(subject.info(sbom.NAME))
    root = document["metadata"]["component"]
    _expect(root["version"] == subject.version, f"it is of version {root['version']}")
    named = {part["bom-ref"] for part in document["components"]}
    needs = {*subject.library.needed, *map(str, subject.metadata.requires_dist or [])}
    _expect_none(({*LINKED} | needs) - named, "does not name")
    return f"{len(named)} components"


def _check_record(subject: Subject) -> str:
    problems = record_problems(subject.files)
    _expect(not problems, "; ".join(problems))
    return "every hash and size agrees"


def _check_canonical(subject: Subject) -> str:
    _expect(
        is_canonical(subject.wheel, subject.files),
        "the archive was changed after ci.repack wrote it, or is not its work: same files, other "
        "order, times, modes, compression or extra bytes",
    )
    return "repacking changes nothing"


def _check_size(subject: Subject) -> str:
    size, budget = subject.wheel.stat().st_size, subject.lane.size_budget
    _expect(size <= budget, f"{size} bytes are over the lane's budget of {budget}")
    return f"{size} of {budget} bytes"


def _check_vendored(subject: Subject) -> str:
    wrong = [
        name
        for name, data in subject.files.items()
        if re.search(r"(^|/)[^/]*\.(libs|dylibs)/", name)
        or re.search(r"(^|/)(lib)?(vulkan|tvm_ffi)[^/]*\.(so|dll|dylib)", name)
        or (data.startswith(NATIVE) and name != LIBRARY)
    ]
    _expect_none(wrong, "bundled")
    return f"{LIBRARY} is the only library"


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
    _expect_none(wrong, "paths of the build machine")
    return "no path of the build machine"


def _build_paths(data: bytes) -> list[str]:
    if data.startswith(elf.MAGIC):
        text = b"\0".join(STRINGS.findall(data))
        paths = [p for p in ABSOLUTE.findall(text) if not RUN_TIME.match(p)]
    else:
        paths = [p for p in ABSOLUTE.findall(data) if BUILD_ROOT.match(p)]
    return [path.decode() for path in paths]


def _check_machine(subject: Subject) -> str:
    machine, expected = subject.library.machine, subject.lane.machine
    _expect(machine == expected, f"the library is for {machine}, not {expected}")
    return machine


def _check_needed(subject: Subject) -> str:
    needed = subject.library.needed
    _expect(TVM_FFI in needed, f"does not need {TVM_FFI}, which it takes its FFI from")
    _expect_none(set(needed) - set(subject.lane.needed), "needs undeclared libraries")
    return ", ".join(needed)


def _check_glibc(subject: Subject) -> str:
    versions = {version for _, version in subject.library.versions}
    numbers = {v: re.fullmatch(r"GLIBC_(\d+)\.(\d+)(\.\d+)?", v) for v in versions}
    _expect_none((v for v, match in numbers.items() if not match), "needs more than plain glibc")
    floor = _release(subject.lane.glibc)
    _expect_none((v for v in versions if _release(v[6:]) > floor), f"over {subject.lane.glibc}")
    newest = max(versions, key=lambda v: _release(v[6:]), default="no version")
    return f"{newest} of {subject.lane.glibc}"


def _release(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _check_imports(subject: Subject) -> str:
    _expect(subject.toolchain, f"no toolchain to take {TVM_FFI} from: set MLC_LLM_TOOLCHAIN")
    tvm_ffi = Path(subject.toolchain or "") / "tvm_ffi" / "lib" / TVM_FFI
    given = set(elf.read_library(tvm_ffi.read_bytes()).exports)
    unresolved = [
        symbol.name
        for symbol in subject.library.imports
        if not (symbol.name.startswith("TVMFFI") and symbol.name in given)
        and not (symbol.weak and symbol.name in STARTUP)
        and not (symbol.version.startswith("GLIBC_") and symbol.library in subject.lane.needed)
    ]
    _expect_none(unresolved, "no declared library has")
    return f"{len(subject.library.imports)} symbols, all resolved"


def _check_exports(subject: Subject) -> str:
    exports = subject.library.exports
    _expect_none((n for n in exports if not n.startswith(EXPORTED)), "exports what is not ours")
    return f"{len(exports)} symbols, all ours"


def _check_run_path(subject: Subject) -> str:
    paths = subject.library.run_paths
    _expect(paths == (RUN_PATH,), f"the run path is {list(paths)}, not {RUN_PATH}")
    return RUN_PATH


def _check_stack(subject: Subject) -> str:
    flags = [flags for kind, flags in subject.library.segments if kind == "PT_GNU_STACK"]
    _expect(flags, "PT_GNU_STACK is missing, which makes the stack executable")
    _expect(not any(f & elf.EXECUTE for f in flags), "PT_GNU_STACK is executable")
    return "not executable"


def _check_segments(subject: Subject) -> str:
    both = elf.WRITE | elf.EXECUTE
    loaded = [flags for kind, flags in subject.library.segments if kind == "PT_LOAD"]
    _expect(all(f & both != both for f in loaded), "a segment is writable and executable")
    return "none is writable and executable"


def _check_relro(subject: Subject) -> str:
    _expect("PT_GNU_RELRO" in dict(subject.library.segments), "PT_GNU_RELRO is missing")
    _expect(subject.library.bind_now, "BIND_NOW is missing, so the GOT stays writable")
    return "full"


def _check_stripped(subject: Subject) -> str:
    debug = re.compile(r"\.z?debug_|\.symtab$|\.gnu_debug")
    _expect_none((s for s in subject.library.sections if debug.match(s)), "holds")
    return "no symbol table, no debug sections"


def _check_twine(subject: Subject) -> str:
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        failed = twine_check([str(subject.wheel)], strict=True)
    _expect(not failed, "`twine check --strict` refuses the description: run it for the reason")
    return "clean"


def _check_contents(subject: Subject) -> str:
    checker = WheelChecker()
    checker.configure_options()
    failures = checker.check_contents(WheelContents.from_wheel(subject.wheel))
    _expect_none((" ".join(f.show().split()) for f in failures), "`check-wheel-contents` finds")
    return "clean"


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
    "machine": _check_machine,
    "needed": _check_needed,
    "glibc": _check_glibc,
    "imports": _check_imports,
    "exports": _check_exports,
    "run path": _check_run_path,
    "stack": _check_stack,
    "segments": _check_segments,
    "relro": _check_relro,
    "stripped": _check_stripped,
    "twine": _check_twine,
    "check-wheel-contents": _check_contents,
}
