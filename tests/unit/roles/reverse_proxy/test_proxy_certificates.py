"""When a self-signed certificate is renewed; the scripts are run by a real shell and openssl."""

from __future__ import annotations

import stat
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from roles.reverse_proxy.certificates import (
    VALID_DAYS,
    CertificateState,
    build_creation,
    build_question,
    parse_state,
    why_renew,
)

NAMES = ["web.example.org", "*.example.org", "10.0.0.1", "2001:db8::1"]
DAY = 86_400.0
SERVING = CertificateState(
    names=frozenset(NAMES), start=0, end=90 * DAY, now=DAY, key_fits=True, owner="root:root", mode=0o600
)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, ""),
        ({"now": 60 * DAY}, ""),
        ({"now": 60 * DAY + 1}, "less than a third of its life is left"),
        ({"now": 91 * DAY}, "less than a third of its life is left"),
        ({"now": -1.0}, "not valid yet"),
        ({"key_fits": False}, "the key does not fit"),
        ({"names": frozenset(NAMES[:-1])}, "names differ"),
        ({"mode": 0o640}, "others could read the key"),
        ({"owner": "www-data:root"}, "others could read the key"),
    ],
)
def test_it_is_renewed_when_it_no_longer_serves(change: dict[str, object], reason: str) -> None:
    assert why_renew(replace(SERVING, **change), NAMES) == reason  # type: ignore[arg-type]


def test_names_are_compared_by_meaning() -> None:
    assert why_renew(SERVING, ["WEB.example.org", *NAMES[1:3], "2001:0DB8:0:0:0:0:0:1"]) == ""
    assert why_renew(None, NAMES) == "absent"


def run(script: str) -> list[str]:
    return subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout.splitlines()


def test_what_is_made_is_what_was_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "it's tls" / "web.pem"
    run(build_creation(str(path), NAMES, "web on one"))
    state = parse_state(run(build_question(str(path))))
    assert state is not None
    assert why_renew(replace(state, owner="root:root"), NAMES) == ""
    assert state.end - state.start == VALID_DAYS * DAY
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [item.name for item in path.parent.iterdir()] == ["web.pem"]
    text = subprocess.run(["openssl", "x509", "-in", path, "-noout", "-text"], capture_output=True, text=True).stdout
    for expected in ("CA:FALSE", "TLS Web Server Authentication", "prime256v1", "Digital Signature"):
        assert expected in text


def test_a_key_of_another_certificate_is_noticed(tmp_path: Path) -> None:
    one, two = tmp_path / "one.pem", tmp_path / "two.pem"
    for path in (one, two):
        run(build_creation(str(path), NAMES, "x"))
    certificate = one.read_text().partition("-----BEGIN PRIVATE")[0]
    key = two.read_text().partition("-----BEGIN PRIVATE")[2]
    one.write_text(f"{certificate}-----BEGIN PRIVATE{key}")
    state = parse_state(run(build_question(str(one))))
    assert state is not None
    assert not state.key_fits


def test_what_is_no_certificate_counts_as_none(tmp_path: Path) -> None:
    broken = tmp_path / "web.pem"
    assert parse_state(run(build_question(str(broken)))) is None
    broken.write_text("nothing of the sort")
    assert parse_state(run(build_question(str(broken)))) is None
