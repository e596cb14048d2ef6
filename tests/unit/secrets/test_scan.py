"""Each class of leak is planted and has to be found; a value at a permitted place must not be reported."""

from __future__ import annotations

import base64
import gzip
import os
import subprocess
import time
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundwork.secrets import host_scan
from groundwork.secrets.scan import Finding, list_forms, scan_controller, scan_everything, scan_host
from groundwork.secrets.value import SecretValue

CANARY = "cnry/7Qx+2mWz_Rt'B4vN c8"
SECRETS = {"redis_api": SecretValue(CANARY), "other": SecretValue("another-value-41c9e7")}


def _run_here(command: str, data: str) -> str:
    return subprocess.run(["sh", "-c", command], input=data, capture_output=True, text=True, check=False).stdout


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A directory in place of a host's file system; everybody may pass through it."""
    # pytest's own directories are closed to others; the scan looks from the given root downwards.
    root = tmp_path / "host"
    root.mkdir(mode=0o755)
    return root


def _scan(host: Path, any_mode: bool = False) -> dict[str, set[str]]:
    search = host_scan.Search({text: f"redis_api {form}" for text, form in list_forms(CANARY).items()})
    search.look_at_files("files", host_scan.list_files(search, str(host), any_mode))
    found: dict[str, set[str]] = {}
    for place, label in search.found:
        found.setdefault(str(Path(place).relative_to(host)), set()).add(label.split()[1])
    return found


def _write(path: Path, text: str | bytes, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    path.chmod(mode)


def test_world_readable_files_are_found_and_protected_ones_are_not(host: Path) -> None:
    _write(host / "etc" / "open.conf", f"requirepass {CANARY}\n")
    _write(host / "etc" / "closed.conf", CANARY, 0o640)
    _write(host / "keys" / "behind a closed door", CANARY)
    (host / "keys").chmod(0o750)
    assert _scan(host) == {"etc/open.conf": {"plain"}}


def test_logs_and_leftovers_count_whatever_their_mode(host: Path) -> None:
    _write(host / "app.log", f"connecting with {CANARY}", 0o600)
    _write(host / "app.log.1.gz", gzip.compress(f"old {CANARY}\n".encode()), 0o600)
    assert set(_scan(host, any_mode=True)) == {"app.log", "app.log.1.gz"}
    assert _scan(host) == {}


def test_histories_and_candidates_count_whatever_their_mode(host: Path) -> None:
    _write(host / "root" / ".bash_history", f"redis-cli -a {CANARY}\n", 0o600)
    (host / "root").chmod(0o700)
    _write(host / "etc" / ".groundwork-candidate" / "users.acl", CANARY, 0o600)
    assert set(_scan(host)) == {"root/.bash_history", "etc/.groundwork-candidate/users.acl"}


@pytest.mark.parametrize(
    ("text", "form"),
    [
        (CANARY.encode().hex(), "hex"),
        (CANARY.encode().hex().upper(), "hex"),
        (quote(CANARY, safe=""), "url"),
        (f'{{"a": "{CANARY}"}}', "plain"),
        ("\0binary\xff" + CANARY + "\0", "plain"),
    ],
)
def test_written_in_another_way(host: Path, text: str, form: str) -> None:
    _write(host / "a", text)
    assert _scan(host) == {"a": {form}}


@given(st.binary(max_size=20), st.binary(max_size=20), st.booleans())
def test_inside_longer_base64_at_any_offset(before: bytes, after: bytes, url_safe: bool) -> None:
    encode = base64.urlsafe_b64encode if url_safe else base64.b64encode
    text = encode(before + CANARY.encode() + after).decode()
    assert any(form == "base64" and pattern in text for pattern, form in list_forms(CANARY).items())


def test_links_are_not_followed_and_empty_roots_do_no_harm(host: Path, tmp_path: Path) -> None:
    _write(tmp_path / "outside", CANARY)
    (host / "link").symlink_to(tmp_path / "outside")
    assert _scan(host) == {}
    assert _scan(host / "none") == {}


def test_a_file_too_large_is_named(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_scan, "LARGEST", 10)
    _write(host / "large", CANARY)
    search = host_scan.Search({CANARY: "redis_api plain"})
    assert list(host_scan.list_files(search, str(host), any_mode=False)) == []
    assert search.skipped == [str(host / "large")]


@pytest.mark.parametrize("where", ["cmdline", "environ"])
def test_arguments_and_environment_of_a_process_are_found(tmp_path: Path, where: str) -> None:
    value = f"canary-{os.getpid()}-{time.monotonic_ns()}"
    arguments = ["sh", "-c", "read -r line", value] if where == "cmdline" else ["sh", "-c", "read -r line"]
    environment = os.environ | ({"SECRET": value} if where == "environ" else {})
    with subprocess.Popen(arguments, env=environment, stdin=subprocess.PIPE) as process:
        report = scan_controller([tmp_path], {"one": SecretValue(value)})
        process.communicate(b"\n")
    assert report.findings == [Finding("controller", f"/proc/{process.pid}/{where}", "one", "plain")]
    assert report.examined["controller"][where] > 0


def test_a_remote_scan_names_machine_place_and_secret_but_no_value(host: Path) -> None:
    _write(host / "a" / "b", f"x {CANARY}")
    sent: list[tuple[str, str]] = []

    def run(command: str, data: str) -> str:
        sent.append((command, data))
        return _run_here(command, data)

    report = scan_host("app", run, SECRETS, [str(host)], [])
    assert report.findings == [Finding("app", f"{host}/a/b", "redis_api", "plain")]
    assert report.examined["app"]["files"] > 0
    assert report.examined["app"]["environ"] > 0
    ((command, data),) = sent
    assert all(form not in command for form in list_forms(CANARY))
    assert CANARY[:5] in data
    assert CANARY not in repr(report)


def test_a_journal_entry_is_found(host: Path, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    _write(tools / "journalctl", f'#!/bin/sh\ncat <<"E"\nMESSAGE=sudo: COMMAND=echo {CANARY}\nE\n', 0o755)
    report = scan_host(
        "app", lambda command, data: _run_here(f"PATH={tools}:$PATH; {command}", data), SECRETS, [str(host)], []
    )
    assert report.findings == [Finding("app", "journal", "redis_api", "plain")]


def test_a_host_that_gives_no_answer_is_no_clean_host(host: Path) -> None:
    for answer in ("", "{}", "python3: not found"):
        with pytest.raises(ValueError, match="app"):
            scan_host("app", lambda command, data, answer=answer: answer, SECRETS)  # type: ignore[misc]


def test_controller_and_hosts_in_one_report(host: Path, tmp_path: Path) -> None:
    _write(host / "a", CANARY)
    log = tmp_path / "run.log"
    _write(log, "password: another-value-41c9e7", 0o600)

    report = scan_everything({"app": _run_here}, [log], SECRETS, [str(host)], [])
    assert report.findings == [
        Finding("app", f"{host}/a", "redis_api", "plain"),
        Finding("controller", str(log), "other", "plain"),
    ]
    assert set(report.examined) == {"controller", "app"}


def test_lines_of_a_key_are_searched_for_but_not_its_frame() -> None:
    key = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIFt\n-----END PRIVATE KEY-----\n"
    search = host_scan.Search({"MC4CAQAwBQYDK2VwBCIEIFt": "tls plain"})
    search.look_at_text("files", "a", b"-----BEGIN PRIVATE KEY-----\nAAAA")
    assert search.found == set()
    assert list_forms(key)["MC4CAQAwBQYDK2VwBCIEIFt"] == "plain"
