"""The role logs on real hosts: journals reach the log host, nobody else's do, and nothing is lost on the way."""

from __future__ import annotations

import base64
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from role_stage import RELEASE, ROOT, RoleStage, changes, failures, role_lab, wait_for

from groundwork.authority.creation import create_intermediate, create_root
from groundwork.authority.leaves import make_leaf
from groundwork.topology.model import Identity

NAME = f"role-logs-{RELEASE}"
# The platform whose lab has two hosts; only its name and hosts are used.
PLATFORM = "chorus"
STORE, WRITER = f"{PLATFORM}-journal-store.service", f"{PLATFORM}-journal-store@app.service"
UPLOAD = f"{PLATFORM}-journal-upload.service"
FOLDER = f"/var/log/{PLATFORM}-journals"
# Sends one line of a journal as systemd-journal-upload does, and prints the status of the answer, or the refusal.
SENDER = """
import http.client, json, ssl, sys
wanted = json.loads(sys.argv[1])
context = ssl.create_default_context(cafile=wanted["authority"])
if wanted["file"]:
    context.load_cert_chain(wanted["file"])
line = "__REALTIME_TIMESTAMP=1700000000000000\\n__MONOTONIC_TIMESTAMP=1\\n_BOOT_ID=" + "a" * 32
line += "\\nMESSAGE=%s\\n_HOSTNAME=data\\n\\n" % wanted["message"]
try:
    connection = http.client.HTTPSConnection(wanted["address"], 19532, context=context, timeout=20)
    headers = {"Content-Type": "application/vnd.fdo.journal"}
    connection.request("POST", "/upload", body=iter([line.encode()]), headers=headers, encode_chunked=True)
    print(connection.getresponse().status)
except (OSError, http.client.HTTPException) as error:
    print(type(error).__name__, error)
"""


def make_manifest() -> dict[str, Any]:
    return {
        "version": 1,
        "platform": PLATFORM,
        "runtime": {"package": {"directory": "../examples/agent_runtime"}, "launcher": "agent_runtime"},
        "groups": {"work": {"hosts": "app", "module": "m", "agents": {"worker": {"port": 9000}}}},
        "observability": {"logs": {"hosts": "data", "retention": "30d", "retention_size": "1GiB"}},
        "lab": {"hosts": {"app": ["app"], "data": ["data"]}},
    }


class Stage(RoleStage):
    """Two hosts; ``data`` keeps the journals of both."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, NAME, PLATFORM, ("pki", "logs"))
        self.manifest = make_manifest()

    def ask(self, *options: str) -> tuple[int, dict[str, Any]]:
        """What ``groundwork logs`` says: its exit code and its document."""
        command = [sys.executable, "-m", "groundwork.cli.main", "logs", "lab", "--json", *options]
        environ = {**os.environ, "GROUNDWORK_ROOT": str(self.root)}
        done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=120, check=False)
        assert done.stdout, done.stderr
        return done.returncode, dict(json.loads(done.stdout))

    def find(self, *options: str) -> list[str]:
        """The messages that ``groundwork logs`` finds, in its order."""
        return [line["message"] for line in self.ask(*options)[1].get("lines", [])]

    def tell(self, host: str, text: str) -> None:
        """Have a unit say a line; it is not in the command, which sudo would write into the journal as well."""
        encoded = base64.b64encode(f"{text}\n".encode()).decode()
        command = f"echo {encoded} | base64 -d >/run/told; systemd-run --quiet --wait --unit=teller cat /run/told"
        self.run(host, command)

    def send(self, certificate: str, message: str) -> str:
        """Send a line to the log host from ``app`` with a file of certificate and key there, or with none."""
        wanted = {
            "address": self.site.inventory.host("data").address,
            "authority": f"/etc/groundwork/{PLATFORM}/authority/bundle.pem",
            "file": certificate,
            "message": message,
        }
        return self.run("app", f"python3 -c {shlex.quote(SENDER)} {shlex.quote(json.dumps(wanted))} 2>&1 | tail -1")


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with role_lab(NAME, PLATFORM):
        made = Stage(tmp_path_factory.mktemp("project"))
        assert failures(made.apply()) == []
        made.run("app", "command -v python3 >/dev/null || apt-get install -qy python3")
        yield made


def test_the_second_run_changes_nothing(stage: Stage) -> None:
    assert changes(stage.apply()) == {"app": [], "data": []}


def test_a_line_is_found_by_its_trace(stage: Stage) -> None:
    trace = os.urandom(16).hex()
    told = json.dumps({"level": "info", "message": "asked \x1b[31mthis", "trace_id": trace})
    stage.tell("app", told)
    stage.run("data", "logger -t elsewhere 'a line without a trace'")
    wait_for(lambda: stage.find("--trace-id", trace))
    code, found = stage.ask("--trace-id", trace)
    assert (code, found["from"], found["missing"], found["cut"]) == (0, "store", [], False)
    assert [(line["host"], line["unit"], line["message"], line["trace"]) for line in found["lines"]] == [
        ("app", "teller.service", told, trace)
    ]
    for options in (
        ["--trace-id", f"00-{trace}-{'b' * 16}-01"],
        ["--trace-id", trace, "--grep", "ASKED|asked"],
        ["--unit", "teller*", "--grep", f"asked.*{trace}", "--since", "10m"],
        ["--from", "hosts", "--trace-id", trace],
    ):
        assert stage.find(*options) == [told], options
    for options in (
        ["--trace-id", trace[:-4]],
        ["--trace-id", trace, "--grep", "nothing of the kind"],
        ["--trace-id", trace, "--until", "10m"],
        ["--trace-id", trace, "--host", "data"],
    ):
        assert stage.find(*options) == [], options
    # Of both hosts, in the order of time, and not more than are asked for.
    wait_for(lambda: stage.find("--grep", "^a line without a trace"))
    both = stage.ask("--grep", f"^a line without a trace|{trace}", "--since", "30m")[1]
    assert {line["host"] for line in both["lines"]} == {"app", "data"}
    assert [line["time"] for line in both["lines"]] == sorted(line["time"] for line in both["lines"])
    few = stage.ask("--lines", "20")[1]
    assert (len(few["lines"]), few["cut"], both["cut"]) == (20, True, False)


def test_only_certificates_of_the_authority_are_taken(stage: Stage) -> None:
    site = stage.site
    now = datetime.now(UTC)
    mine = next(one for one in site.topology.identities if (one.unit, one.host) == ("journal-upload", "app"))
    root = create_root("elsewhere", "1", now)
    foreign = create_intermediate(root, "elsewhere", "1", now)
    agent = next(one for one in site.topology.identities if one.account == "work")
    made: dict[str, tuple[Any, Identity, timedelta]] = {
        "foreign": (foreign, mine, timedelta(hours=1)),
        "expired": (site.authority.issuer(), mine, timedelta(seconds=1)),
        "agent": (site.authority.issuer(), agent, timedelta(hours=1)),
        "mine": (site.authority.issuer(), mine, timedelta(hours=1)),
    }
    for name, (issuer, identity, life) in made.items():
        certificate, key = make_leaf(issuer, identity, now, life)
        write_certificate(stage, name, certificate, key, issuer.certificate)
    for name in ("", "foreign", "expired"):
        answer = stage.send(f"/run/{name}.pem" if name else "", f"sent with {name or 'nothing'}")
        assert re.match(r"400$|.*(SSL|Reset|Pipe|Disconnected)", answer), f"{name}: {answer}"
    # Nor is another unit of the platform, and what the host's own sends is the host's, whatever it claims.
    assert stage.send("/run/agent.pem", "sent as an agent") == "403"
    assert stage.send("/run/mine.pem", "sent as the host").startswith("20")
    stored = f"journalctl -q --no-pager -o cat -D {FOLDER} --grep '^sent (with|as)'"
    assert set(stage.run("data", stored).splitlines()) == {"sent as the host"}
    assert {line["host"] for line in stage.ask("--grep", "^sent as the host")[1]["lines"]} == {"app"}
    # No TLS below 1.2, and no plain HTTP.
    old = f"openssl s_client -connect {site.inventory.host('data').address}:19532 -tls1_1 -cipher ALL:@SECLEVEL=0"
    assert "Cipher is (NONE)" in stage.run("app", f"{old} </dev/null 2>&1")


def write_certificate(
    stage: Stage, name: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey, issuer: x509.Certificate
) -> None:
    """Put a certificate with its chain and key on ``app``."""
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    chain = certificate.public_bytes(Encoding.PEM) + issuer.public_bytes(Encoding.PEM)
    stage.run("app", f"cat >/run/{name}.pem <<'END'\n{(chain + private).decode()}END")


def test_nothing_is_lost_while_the_log_host_is_away(stage: Stage) -> None:
    def write(word: str, first: int, last: int) -> None:
        loop = f"for n in $(seq {first} {last}); do echo {word} $n.; done"
        stage.run("app", f"systemd-run --quiet --wait --unit=writer sh -c {shlex.quote(loop)}")

    # Another word each time: a lab that was kept has the lines of earlier runs.
    numbered = f"numbered-{os.urandom(4).hex()}"
    write(numbered, 1, 100)
    wait_for(lambda: len(stage.find("--grep", f"^{numbered} ")) == 100)
    stage.run("data", f"systemctl stop {STORE}")
    write(numbered, 101, 400)
    # Long enough that the upload has noticed.
    wait_for(lambda: "Upload to" in stage.run("app", f"journalctl -q -u {UPLOAD} --since -2min"), 60)
    assert stage.ask("--host", "app", "--grep", f"^{numbered} ")[0] in (0, 2)
    stage.run("data", f"systemctl start {STORE}")
    write(numbered, 401, 500)
    # And once more the hard way, while lines are under way.
    stage.run("data", f"systemctl kill -s KILL {STORE} {WRITER}")
    write(numbered, 501, 600)
    wait_for(lambda: len(set(stage.find("--grep", f"^{numbered} "))) == 600)
    found = stage.find("--grep", f"^{numbered} ")
    # In their order, and none missing; a line whose answer was lost may have been sent twice.
    assert list(dict.fromkeys(found)) == [f"{numbered} {number}." for number in range(1, 601)]
    assert len(found) < 605


def test_hosts_that_are_missing_are_named(stage: Stage) -> None:
    code, found = stage.ask("--from", "hosts", "--lines", "5")
    assert (code, found["missing"]) == (0, [])
    stage.run("data", f"systemctl stop {WRITER}; mkdir /run/kept; mv {FOLDER}/app* /run/kept")
    code, found = stage.ask()
    assert code == 2
    assert [one["key"] for one in found["missing"]] == ["app"]
    assert {line["host"] for line in found["lines"]} == {"data"}
    stage.run("data", f"rm -f {FOLDER}/app*; mv /run/kept/* {FOLDER}; systemctl restart {WRITER}")
    assert stage.ask("--grep", "(unclosed")[0] == 1


def test_new_certificates_are_taken_into_use(stage: Stage) -> None:
    before = stage.started("app", UPLOAD)
    serial = f"openssl s_client -connect {stage.site.inventory.host('data').address}:19532 </dev/null 2>/dev/null"
    served = stage.run("app", f"{serial} | openssl x509 -noout -serial")
    assert served.startswith("serial=")
    for host, unit in (("app", "journal-upload"), ("data", "journal-store")):
        stage.run(host, f"rm /etc/groundwork/{PLATFORM}/certificates/{unit}/current")
    assert failures(stage.apply()) == []
    assert stage.started("app", UPLOAD) != before
    wait_for(lambda: stage.run("app", f"{serial} | openssl x509 -noout -serial") not in ("", served))
    stage.run("app", "logger -t renewed 'sent with the new certificate'")
    wait_for(lambda: stage.find("--grep", "^sent with the new certificate"))
    assert changes(stage.apply()) == {"app": [], "data": []}


def test_verification_agrees(stage: Stage) -> None:
    command = [sys.executable, "-m", "pytest", "tests/verify/test_logs.py", "--env", "lab", "-q", "-x"]
    environ = {**os.environ, "GROUNDWORK_ROOT": str(stage.root)}
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout[-5000:]
    assert " passed" in done.stdout


def test_what_is_too_old_goes(stage: Stage) -> None:
    keeper = (
        f"/usr/local/lib/groundwork/{PLATFORM}/keep-journals --store {FOLDER} --unit {PLATFORM}-journal-store@.service"
    )
    assert stage.run("data", f"ls {FOLDER} | grep -c '^app.journal$'") == "1"
    # Its first line is more than a tenth of the retention old, at least an hour; so a line of long ago is needed.
    stage.run("data", f"systemctl stop {WRITER}; rm {FOLDER}/app*; systemctl start {WRITER}")
    wait_for(lambda: stage.send("/run/mine.pem", "of long ago").startswith("20"))
    wait_for(lambda: stage.run("data", f"ls {FOLDER}/app.journal"))
    assert stage.run("data", f"{keeper} --seconds 3600; echo $?").endswith("0")
    assert "@" in stage.run("data", f"ls {FOLDER} | grep app@")
    # What was set aside is still there for who asks, and what comes goes into a new file.
    stage.run("app", "logger -t after 'sent after the file was set aside'")
    wait_for(lambda: stage.find("--grep", "^sent after the file was set aside"))
    stage.run("data", f"systemctl start {PLATFORM}-journal-keep.service")
    assert stage.run("data", f"systemctl is-failed {PLATFORM}-journal-keep.service") == "inactive"
    stage.run("data", f"{keeper} --seconds 0.001")
    assert stage.run("data", f"ls {FOLDER} | grep app@") == ""


def test_what_is_not_declared_any_more_goes(stage: Stage) -> None:
    stage.manifest["observability"] = {}
    assert failures(stage.apply()) == []
    for host in ("app", "data"):
        left = f"ls -d /etc/systemd/system/{PLATFORM}-journal* /etc/groundwork/{PLATFORM}/logs 2>/dev/null"
        assert stage.run(host, left) == ""
        assert stage.run(host, f"systemctl list-units --no-legend '{PLATFORM}-journal*'") == ""
    # What was collected stays.
    assert stage.run("data", f"ls {FOLDER} | wc -l") != "0"
    assert changes(stage.apply()) == {"app": [], "data": []}
    code, found = stage.ask("--lines", "5")
    assert (code, found["from"]) == (0, "hosts")
    stage.manifest = make_manifest()
