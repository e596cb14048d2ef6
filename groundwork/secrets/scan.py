"""Proves that no secret leaked: looks for every value, in several forms, on the controller and on hosts."""

from __future__ import annotations

import base64
import json
import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from groundwork.secrets import host_scan
from groundwork.secrets.value import SecretValue

# In characters. Shorter pieces would turn up by chance.
SHORTEST = 8

Run = Callable[[str, str], str]
"""Runs a shell command as root on one host, with this standard input, and returns its standard output."""


@dataclass(frozen=True, order=True)
class Finding:
    """One secret at one place: the machine, a path or ``journal``, the secret's name, and how it is written
    there (``plain``, ``base64``, ``hex``, ...)."""

    machine: str
    place: str
    secret: str
    form: str


@dataclass
class Report:
    """What a scan found, and how much it looked at: a scan that looked at nothing proves nothing.

    ``examined`` counts per machine and kind (``cmdline``, ``environ``, ``journal``, ``files``); ``skipped``
    are files too large to read.
    """

    findings: list[Finding] = field(default_factory=list)
    examined: dict[str, dict[str, int]] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)


def _list_base64(value: bytes) -> Iterable[str]:
    """How the value looks inside longer base64 text: it may begin at any of three places in a group of four
    characters, and those at its ends depend on its neighbours."""
    for shift in range(3):
        encoded = base64.b64encode(bytes(shift) + value).decode()
        start = (0, 2, 3)[shift]
        end = (len(value) + shift) * 8 // 6
        yield encoded[start:end]


def list_forms(value: str) -> dict[str, str]:
    """Every form of a value that is searched for: text to the name of the form."""
    raw = value.encode()
    forms = {
        raw.hex(): "hex",
        raw.hex().upper(): "hex",
        quote(value, safe=""): "url",
        json.dumps(value)[1:-1]: "json",
        shlex.quote(value).replace("'", ""): "shell",
    }
    for text in _list_base64(raw):
        forms |= {text: "base64", text.translate(str.maketrans("+/", "-_")): "base64"}
    forms[value] = "plain"
    # grep takes one pattern from each line, so a value of several lines is searched for line by line.
    lines = {line: form for text, form in forms.items() for line in text.splitlines()}
    return {line: form for line, form in lines.items() if len(line) >= SHORTEST}


def _list_patterns(secrets: Mapping[str, SecretValue]) -> dict[str, str]:
    # What every private key has in its first and last line is no secret.
    return {
        text: f"{name} {form}"
        for name, value in secrets.items()
        for text, form in list_forms(value.reveal()).items()
        if not text.startswith("-----")
    }


def scan_host(
    machine: str,
    run: Run,
    secrets: Mapping[str, SecretValue],
    roots: Iterable[str] = host_scan.ROOTS,
    any_mode: Iterable[str] = host_scan.ANY_MODE,
) -> Report:
    """Search one host: processes, journal, files below ``roots`` that any user can read, and every file below
    ``any_mode`` (logs and leftovers).

    ``run`` needs root there and Python. Raises ValueError when the host's answer is none.
    """
    source = Path(host_scan.__file__).read_text(encoding="utf-8")
    task = json.dumps({"patterns": _list_patterns(secrets), "roots": list(roots), "any_mode": list(any_mode)})
    answer = run(shlex.join(["python3", "-c", source]), task)
    try:
        result = json.loads(answer)
        findings = [_make_finding(machine, place, label) for place, label in result["found"]]
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{machine}: the scan gave no result") from None
    return Report(findings, {machine: result["examined"]}, [f"{machine}:{path}" for path in result["skipped"]])


def scan_controller(paths: Iterable[Path], secrets: Mapping[str, SecretValue]) -> Report:
    """Search files and whole directories here, whatever their modes, and the processes that run here."""
    search = host_scan.Search(_list_patterns(secrets))
    for path in paths:
        if path.is_dir():
            search.look_at_files("files", host_scan.list_files(search, str(path), any_mode=True))
        elif path.is_file():
            search.look_at_files("files", [str(path)])
    host_scan.look_at_processes(search)
    findings = [_make_finding("controller", place, label) for place, label in sorted(search.found)]
    return Report(findings, {"controller": search.examined}, search.skipped)


def scan_everything(
    hosts: Mapping[str, Run],
    paths: Iterable[Path],
    secrets: Mapping[str, SecretValue],
    roots: Iterable[str] = host_scan.ROOTS,
    any_mode: Iterable[str] = host_scan.ANY_MODE,
) -> Report:
    """Search the controller's ``paths`` and every host; all findings in one report, sorted."""
    report = scan_controller(paths, secrets)
    for machine, run in hosts.items():
        one = scan_host(machine, run, secrets, roots, any_mode)
        report.findings += one.findings
        report.examined |= one.examined
        report.skipped += one.skipped
    report.findings.sort()
    return report


def _make_finding(machine: str, place: str, label: str) -> Finding:
    secret, _, form = label.partition(" ")
    return Finding(machine, place, secret, form)
