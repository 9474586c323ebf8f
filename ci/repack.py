"""Rewrites a wheel so that its bytes depend on its contents alone.

Runs with the standard library and `deflate` only, in the container as on the host.
"""

from __future__ import annotations

import base64
import calendar
import csv
import hashlib
import io
import os
import re
import stat
import struct
import time
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import deflate

from ci.errors import FactoryError

# The host's zlib cannot promise the same bytes (zlib, zlib-ng, Windows' Python 3.14 differ), so
# the pinned libdeflate compresses. Levels above 9 cost five times the time for 2 % of the size.
LEVEL = 9

# The time stamps that a zip can hold (APPNOTE 4.4.6): two-second steps from 1980 to 2107.
FIRST_STAMP = calendar.timegm((1980, 1, 1, 0, 0, 0))
LAST_STAMP = calendar.timegm((2107, 12, 31, 23, 59, 58))

# APPNOTE 4.3.7 (local header), 4.3.12 (central header) and 4.3.16 (end of central directory).
LOCAL = struct.Struct("<4s5H3L2H")
CENTRAL = struct.Struct("<4s6H3L5H2L")
END = struct.Struct("<4s4H2LH")
VERSION_NEEDED = 20
MADE_BY_UNIX = 3 << 8 | VERSION_NEEDED
UTF8_NAME = 1 << 11


def repack(
    wheel: Path,
    epoch: int,
    add: Callable[[Mapping[str, bytes]], dict[str, bytes]] | None = None,
) -> None:
    """Rewrite `wheel` in place, atomically, in its canonical form.

    `epoch` is SOURCE_DATE_EPOCH in seconds; every entry gets it as its time stamp. `add` makes
    further files from those that are there. Raises FactoryError for a file that is no sound wheel
    and leaves it as it was.
    """
    files = read_wheel(wheel)
    if problems := record_problems(files):
        raise FactoryError(
            f"{wheel.name} does not match its own RECORD: {'; '.join(problems)}.",
            hint="Build the wheel again.",
        )
    data = _write_zip(_canonical_order(files | (add(files) if add else {})), epoch)
    # Not tempfile: its files are private to the user, and a wheel is for everybody.
    partial = wheel.with_name(f".{wheel.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(data)
        partial.replace(wheel)
    finally:
        partial.unlink(missing_ok=True)


def is_canonical(wheel: Path, files: Mapping[str, bytes]) -> bool:
    """Whether `repack` would leave `wheel`, which holds `files`, as it is.

    The time stamp is taken from its first entry. Raises ValueError when that is no date.
    """
    with zipfile.ZipFile(wheel) as archive:
        stamp = archive.infolist()[0].date_time
    again = _write_zip(_canonical_order(files), calendar.timegm((*stamp, 0, 0, 0)))
    return again == wheel.read_bytes()


def read_wheel(wheel: Path) -> dict[str, bytes]:
    """Return the contents of each file in `wheel` by name, directory entries left out.

    Raises FactoryError for what is no zip, is damaged, or holds an unsafe or repeated name.
    """
    files: dict[str, bytes] = {}
    try:
        with zipfile.ZipFile(wheel) as archive:
            for info in archive.infolist():
                # `filename` is already cut at a NUL and has the host's separators replaced.
                name = info.orig_filename
                if problem := _name_problem(name):
                    raise FactoryError(f"{wheel.name} holds an entry {name!r}: {problem}.")
                if name in files:
                    raise FactoryError(f"{wheel.name} holds {name!r} twice.")
                if not name.endswith("/"):
                    files[name] = archive.read(info)
    # zipfile lets the errors of its decompressors and decoders through.
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError, OSError) as error:
        raise FactoryError(
            f"{wheel.name} cannot be read as a zip file: {error}.", hint="Build the wheel again."
        ) from error
    return files


def find_dist_info(files: Mapping[str, bytes]) -> str:
    """Return the name of the one `*.dist-info` folder; raises FactoryError for none or several."""
    found = {top for name in files if (top := name.split("/")[0]).endswith(".dist-info")}
    if len(found) != 1:
        raise FactoryError(f"a wheel has one .dist-info folder; this one has {len(found)}.")
    return found.pop()


def record_problems(files: Mapping[str, bytes]) -> list[str]:
    """Return what is wrong between RECORD and the files, one phrase each; empty when all is right.

    Raises FactoryError when there is no RECORD at all.
    """
    record = f"{find_dist_info(files)}/RECORD"
    if record not in files:
        raise FactoryError(f"the wheel has no {record}.")
    problems = []
    listed = set()
    for row in csv.reader(io.StringIO(files[record].decode("utf-8", "replace"))):
        name, expected = row[0] if row else "", row[1:]
        if name in listed:
            problems.append(f"{name!r} is listed twice")
        elif name not in files:
            problems.append(f"{name!r} is listed and absent")
        elif expected != (["", ""] if name == record else _digest(files[name])):
            problems.append(f"{name!r} has another hash or size")
        listed.add(name)
    problems += [f"{name!r} is not listed" for name in sorted(files.keys() - listed)]
    return problems


def _name_problem(name: str) -> str:
    parts = name.removesuffix("/").split("/")
    if name.startswith("/") or re.match("[A-Za-z]:", name):
        return "the name is absolute"
    if "\\" in name or any(char < " " for char in name):
        return "the name has a backslash or a control character"
    if any(part in ("", ".", "..") for part in parts):
        return "the name has an empty, '.' or '..' part"
    return ""


def _digest(data: bytes) -> list[str]:
    """Return the hash and size columns of a RECORD row."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    return [f"sha256={digest}", str(len(data))]


def _canonical_order(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the files sorted by name, .dist-info after the rest, a fresh RECORD at the end."""
    dist_info = find_dist_info(files)
    record = f"{dist_info}/RECORD"
    names = sorted(files.keys() - {record}, key=lambda n: (n.startswith(f"{dist_info}/"), n))
    table = io.StringIO()
    rows = csv.writer(table, lineterminator="\n")
    rows.writerows([name, *_digest(files[name])] for name in names)
    rows.writerow([record, "", ""])
    return {name: files[name] for name in names} | {record: table.getvalue().encode()}


def _mode(name: str) -> int:
    runs = re.search(r"\.so(\.\d+)*$", name) or re.match(r"[^/]+\.data/scripts/", name)
    return stat.S_IFREG | (0o755 if runs else 0o644)


def _dos_time(epoch: int) -> tuple[int, int]:
    now = time.gmtime(min(max(epoch, FIRST_STAMP), LAST_STAMP))
    date = (now.tm_year - 1980) << 9 | now.tm_mon << 5 | now.tm_mday
    return now.tm_hour << 11 | now.tm_min << 5 | now.tm_sec // 2, date


def _write_zip(files: Mapping[str, bytes], epoch: int) -> bytes:
    """Return a zip of `files` in their order; zipfile itself takes no precompressed data."""
    body, directory = bytearray(), bytearray()
    for name, data in files.items():
        packed = bytes(deflate.deflate_compress(data, LEVEL))
        method = zipfile.ZIP_DEFLATED if len(packed) < len(data) else zipfile.ZIP_STORED
        stored = packed if method == zipfile.ZIP_DEFLATED else data
        path = name.encode()
        flags = 0 if name.isascii() else UTF8_NAME
        # Shared by both headers: flags, method, time, date, CRC, sizes, name and extra lengths.
        common = (flags, method, *_dos_time(epoch), zlib.crc32(data))
        sizes = (len(stored), len(data), len(path), 0)
        directory += CENTRAL.pack(
            *(b"PK\1\2", MADE_BY_UNIX, VERSION_NEEDED, *common, *sizes),
            *(0, 0, 0, _mode(name) << 16, len(body)),
        )
        directory += path
        body += LOCAL.pack(b"PK\3\4", VERSION_NEEDED, *common, *sizes) + path + stored
    end = END.pack(b"PK\5\6", 0, 0, len(files), len(files), len(directory), len(body), 0)
    return bytes(body + directory + end)
