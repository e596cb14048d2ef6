"""Descriptions are believed only with a signature that a host of the platform made, over exactly these bytes."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from groundwork.backup.sets import BrokenSetError, read_envelope, set_time
from roles.backup.onhost import describing, signing
from roles.backup.onhost.describing import BackupSet, judge_envelope, list_sets, parse_time, seal, show_path
from roles.backup.onhost.restic import Snapshot, last_line
from roles.backup.onhost.settings import JobError, Settings, read_settings

URI = "spiffe://lab/chorus/backup"
SET = "20261125T190000Z-0123abcd"


def openssl(*words: str) -> None:
    subprocess.run(["openssl", *words], check=True, capture_output=True)


def issue(folder: Path, name: str, uri: str, host: str, days: int = 3650) -> None:
    """A root of its own and a leaf of it."""
    folder.mkdir(exist_ok=True)
    root, key = folder / "root.pem", folder / "root.key"
    if not root.exists():
        curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        openssl("req", "-x509", *curve, "-keyout", str(key), "-out", str(root), "-subj", "/CN=root", "-days", "3650")
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    request = folder / f"{name}.csr"
    openssl("req", *curve, "-keyout", str(folder / f"{name}.key"), "-out", str(request), "-subj", f"/CN={name}")
    extension = folder / f"{name}.ext"
    extension.write_text(f"subjectAltName=DNS:{host},URI:{uri}\n")
    words = ["-CA", str(root), "-CAkey", str(key), "-CAcreateserial", "-days", str(days), "-extfile", str(extension)]
    openssl("x509", "-req", "-in", str(request), *words, "-out", str(folder / f"{name}.pem"))


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("authority")
    issue(folder, "backup", URI, "data")
    issue(folder, "agent", "spiffe://lab/chorus/agent", "data")
    issue(folder / "other", "backup", URI, "data")
    return folder


@pytest.fixture
def settings(authority: Path, tmp_path: Path) -> Settings:
    return Settings(
        environment="lab", platform="chorus", item="notes", kind="files", host="data", service="", uri=URI,
        hosts=("data",), schedule="hourly", retention={}, places=(), paths=("/srv/notes",), servers=(),
        certificate=str(authority / "backup.pem"), key=str(authority / "backup.key"),
        authority=str(authority / "root.pem"), version="0.1.0", state=str(tmp_path),
    )  # fmt: skip


FOUND = BackupSet(SET, "data", "d" * 64, "e" * 64)


def description(**changes: Any) -> dict[str, Any]:
    now = describing.show_time(datetime.now(UTC))
    return {
        "format": 1, "set": SET, "environment": "lab", "platform": "chorus", "item": "notes", "kind": "files",
        "service": "", "host": "data", "started": now, "finished": now, "by": "timer", "tools": {"restic": "0.18.0"},
        "payload": {"format": "restic", "identifier": "d" * 64, "bytes": 4},
        "objects": [{"path": "/srv/notes/a", "size": 4, "sha256": "0" * 64}], "counts": {"objects": {"files": 1}},
        **changes,
    }  # fmt: skip


def test_what_a_host_seals_is_what_the_controller_reads(settings: Settings) -> None:
    text = seal(settings, description())
    assert judge_envelope(settings, text.encode(), FOUND)["set"] == SET
    _, manifest = read_envelope(text)
    assert manifest.payload.identifier == "d" * 64
    assert set_time(manifest.set).hour == 19


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"item": "other"}, "is that of"),
        ({"set": "20261125T180000Z-0123abcd"}, "is that of"),
        ({"payload": {"format": "restic", "identifier": "c" * 64, "bytes": 4}}, "not those that the description names"),
        ({"finished": "yesterday"}, "cannot be read"),
    ],
)
def test_another_sets_description_is_refused(settings: Settings, changes: dict[str, Any], told: str) -> None:
    with pytest.raises(JobError, match=told):
        judge_envelope(settings, seal(settings, description(**changes)).encode(), FOUND)


def test_a_changed_byte_is_refused(settings: Settings) -> None:
    envelope = json.loads(seal(settings, description()))
    envelope["manifest"] = envelope["manifest"].replace('"size": 4', '"size": 5')
    with pytest.raises(JobError, match="signature does not hold"):
        judge_envelope(settings, json.dumps(envelope).encode(), FOUND)


def test_another_units_certificate_signs_no_sets(settings: Settings, authority: Path) -> None:
    other = replace(settings, certificate=str(authority / "agent.pem"), key=str(authority / "agent.key"))
    with pytest.raises(JobError, match=r"was signed by spiffe://lab/chorus/agent"):
        judge_envelope(settings, seal(other, description()).encode(), FOUND)


def test_another_hosts_set_is_refused(settings: Settings) -> None:
    with pytest.raises(JobError, match=r"was signed by .* not by .* on app"):
        judge_envelope(settings, seal(settings, description(host="app")).encode(), replace(FOUND, host="app"))


def test_a_root_that_was_never_trusted_is_refused_and_an_old_one_is_not(settings: Settings, authority: Path) -> None:
    other = authority / "other"
    stranger = replace(settings, certificate=str(other / "backup.pem"), key=str(other / "backup.key"))
    text = seal(stranger, description()).encode()
    with pytest.raises(JobError, match="signature does not hold"):
        judge_envelope(settings, text, FOUND)
    # After a rotation of the authority: its former root was remembered when it was trusted.
    signing.remember_roots(str(other / "root.pem"), Path(settings.state) / "roots")
    assert judge_envelope(settings, text, FOUND)["set"] == SET


def test_broken_envelopes_are_one_line() -> None:
    for text in ("", "{}", '{"manifest": "{}", "signature": "AA==", "certificate": ""}', "[1]"):
        with pytest.raises(BrokenSetError) as raised:
            read_envelope(text)
        assert "\n" not in str(raised.value)
    with pytest.raises(ValueError, match="no set's name"):
        set_time("20261125-1")


def snapshot(identifier: str, *tags: str) -> Snapshot:
    return Snapshot(identifier, "", "data", frozenset(("groundwork", *tags)))


def test_data_without_a_description_are_no_set() -> None:
    whole = [
        snapshot("a", f"set={SET}", "part=data"),
        snapshot("b", f"set={SET}", "part=description", "bytes=12", "objects=3"),
    ]
    killed = snapshot("c", "set=20261125T200000Z-00000000", "part=data")
    sets, rest = list_sets([*whole, killed])
    assert sets == [BackupSet(SET, "data", "a", "b", 12, 3)]
    assert rest == [killed]


def test_times_and_paths_of_restic() -> None:
    assert parse_time("2026-11-25T19:00:00.123456789Z").microsecond == 123456
    assert parse_time("2026-11-25T20:00:00.1+01:00") == parse_time("2026-11-25T19:00:00.1Z")
    assert parse_time("2026-11-25T19:00:00Z") == datetime(2026, 11, 25, 19, tzinfo=UTC)
    assert show_path("/srv/caf\udce9") == "/srv/caf\\xe9"
    assert last_line("noise\nFatal: wrong password\nbye\n") == "Fatal: wrong password"
    assert last_line("error: load: no such file\nmore\nFatal: contains errors") == (
        "error: load: no such file; Fatal: contains errors"
    )
    assert last_line("") == "no reason given"


def test_settings_that_cannot_be_read_are_one_line(tmp_path: Path) -> None:
    for content in ("", "{}", "[]", '{"places": [{"name": "main"}]}'):
        (tmp_path / "job.json").write_text(content)
        with pytest.raises(JobError) as raised:
            read_settings(tmp_path / "job.json")
        assert "job.json" in str(raised.value)
