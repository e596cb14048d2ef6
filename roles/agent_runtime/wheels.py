"""Looking into a wheel before anything is done with it."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import re
import zipfile
from dataclasses import dataclass
from email.parser import Parser
from pathlib import Path

from groundwork.problems import Problem, ProblemError

_FILE_NAME = re.compile(
    r"(?P<name>[A-Za-z0-9_.]+)-(?P<version>[A-Za-z0-9_.!+]+)(-[0-9][A-Za-z0-9_.]*)?-[a-z0-9_.]+-[A-Za-z0-9_.]+-[A-Za-z0-9_.]+\.whl"
)
KEY = "runtime.package"


@dataclass(frozen=True)
class WheelDescription:
    """What a wheel's metadata says; ``requirements`` are those without an extra."""

    name: str
    version: str
    requirements: tuple[str, ...]


def normalise_name(name: str) -> str:
    """A distribution's name as indexes compare it (PyPA, name normalization)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def inspect_wheel(path: Path) -> WheelDescription:
    """Check that a wheel is whole and return what it says of itself.

    Raises ProblemError with one problem: not a zip, no metadata, another name or version inside than in the file
    name, no RECORD, or a file that differs from its RECORD entry.
    """
    named = _FILE_NAME.fullmatch(path.name)
    if named is None:
        raise _corrupt(path, "its file name is not that of a wheel (NAME-VERSION-PYTHON-ABI-PLATFORM.whl)")
    try:
        with zipfile.ZipFile(path) as archive:
            return _inspect(path, archive, named["name"], named["version"])
    except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError, UnicodeDecodeError) as error:
        raise _corrupt(path, f"it is not a readable zip archive: {error}") from None


def _corrupt(path: Path, reason: str) -> ProblemError:
    return ProblemError([Problem(f"the wheel cannot be used: {reason}", key=KEY, given=path.name)])


def _inspect(path: Path, archive: zipfile.ZipFile, name: str, version: str) -> WheelDescription:
    folders = {entry.split("/")[0] for entry in archive.namelist() if entry.split("/")[0].endswith(".dist-info")}
    if len(folders) != 1:
        raise _corrupt(path, "it has no .dist-info folder" if not folders else "it has several .dist-info folders")
    folder = folders.pop()
    missing = [part for part in ("METADATA", "WHEEL", "RECORD") if f"{folder}/{part}" not in archive.namelist()]
    if missing:
        raise _corrupt(path, f"it has no {', '.join(missing)}")
    metadata = Parser().parsestr(archive.read(f"{folder}/METADATA").decode("utf-8"))
    told_name, told_version = str(metadata["Name"] or ""), str(metadata["Version"] or "")
    if normalise_name(told_name) != normalise_name(name) or told_version.replace("-", "_") != version.replace("-", "_"):
        raise _corrupt(path, f"its metadata say {told_name or 'nothing'} {told_version}, its file name something else")
    _check_record(path, archive, folder)
    requirements = [str(line) for line in metadata.get_all("Requires-Dist", [])]
    plain = tuple(line for line in requirements if not re.search(r";.*\bextra\s*==", line))
    return WheelDescription(told_name, told_version, plain)


def _check_record(path: Path, archive: zipfile.ZipFile, folder: str) -> None:
    recorded = {}
    for row in csv.reader(io.StringIO(archive.read(f"{folder}/RECORD").decode("utf-8"))):
        if len(row) == 3:
            recorded[row[0]] = row[1]
    files = [entry for entry in archive.namelist() if not entry.endswith("/")]
    own = {f"{folder}/{part}" for part in ("RECORD", "RECORD.jws", "RECORD.p7s")}
    for entry in files:
        if entry in own:
            continue
        algorithm, _, expected = recorded.get(entry, "").partition("=")
        if algorithm not in ("sha256", "sha384", "sha512"):
            raise _corrupt(path, f"its RECORD has no checksum of {entry}")
        digest = hashlib.new(algorithm, archive.read(entry)).digest()
        if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != expected.rstrip("="):
            raise _corrupt(path, f"{entry} differs from its RECORD")
    lost = sorted(set(recorded) - set(files) - own)
    if lost:
        raise _corrupt(path, f"{lost[0]} is in its RECORD and not in it")
