"""The reverse proxy alone on lab hosts: laid down, unchanged, changed, refused, repaired and taken away again."""

from __future__ import annotations

import json
import os
import re
import shutil
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from groundwork.authority.store import FOLDER
from groundwork.engine.https_client import Answer, HttpsClient, send
from groundwork.lab.lifecycle import BootedLab
from groundwork.lab.state import LabState
from groundwork.lab.terminal import capture_command, find_host
from groundwork.secrets.store import SecretStore
from groundwork.secrets.value import SecretValue
from groundwork.site import load_site

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = """\
from groundwork.site import current_site
from roles.pki.deploy import pki
from roles.reverse_proxy.deploy import reverse_proxy

pki(current_site())
reverse_proxy(current_site())
"""
# Answers, over mutual TLS as its unit, with what it was asked; below /events/ one line each half second.
AGENT = """\
import http.server, json, ssl, sys, time
class Agent(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path.startswith("/events/"):
            self.send_response(200); self.send_header("Connection", "close"); self.end_headers()
            for number in range(4):
                self.wfile.write(b"data: %d\\n\\n" % number); self.wfile.flush(); time.sleep(0.5)
            return
        body = json.dumps({"port": self.server.server_address[1], "headers": self.headers.items()}).encode()
        self.send_response(200)
        for name, value in [("X-Frame-Options", "ALLOWALL"), ("Access-Control-Allow-Origin", "*")]:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body))); self.end_headers(); self.wfile.write(body)
    do_POST = do_GET
server = http.server.ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Agent)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
folder = "/etc/groundwork/chorus"
mine = f"{folder}/certificates/chorus-api@{int(sys.argv[2]) - 8099}/current"
context.load_cert_chain(f"{mine}/certificate.pem", f"{mine}/key.pem")
context.load_verify_locations(f"{folder}/authority/bundle.pem")
context.verify_mode = ssl.CERT_REQUIRED
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""


class Bench:
    """A project of its own with the lab's hosts, whose manifest the tests change."""

    def __init__(self, folder: Path, lab: BootedLab) -> None:
        self.folder = folder
        self.state = LabState(lab.spec.name)
        self.address = next(host.address for host in lab.hosts if host.name == "app")
        for name in ("inventories", "group_data", "platforms", "static"):
            (folder / name).mkdir()
        shutil.copy(ROOT / "inventories" / "lab.py", folder / "inventories")
        shutil.copy(ROOT / "group_data" / "lab.py", folder / "group_data")
        (folder / "deploy.py").write_text(DEPLOY)
        (folder / "static" / "index.html").write_text("<p>first</p>")
        (folder / "x.whl").touch()
        routes = {
            "/": {"static": "../static"},
            "/api/": "api",
            "/slow/": {"agent": "api", "rate_limit": {"requests_per_second": 1, "burst": 2}},
            "/events/": {"agent": "api", "streaming": True},
        }
        self.manifest: dict[str, Any] = {
            "platform": "chorus",
            "runtime": {"package": {"wheel": "../x.whl"}},
            "groups": {"g": {"hosts": "app", "module": "m", "agents": {"api": {"port": 8100, "replicas": 2}}}},
            "exposure": {"web": {"hosts": "app", "server_names": ["web.example.org"], "routes": routes}},
            "lab": {"hosts": {"app": ["app"], "data": ["data"]}},
        }

    def prepare_authority(self) -> None:
        """Make the lab's authority, which signs what nginx shows to agents."""
        self.write_manifest()
        site = load_site("lab", self.folder)
        site.secrets.initialise()
        if not (site.secrets_folder / FOLDER / "authority.json").exists():
            site.authority.initialise()

    def write_manifest(self) -> None:
        (self.folder / "platforms" / "chorus.yaml").write_text(yaml.safe_dump(self.manifest, sort_keys=False))

    def run(self, command: str) -> str:
        code, output, errors = capture_command(self.state, find_host(self.state, "app"), [command])
        assert code == 0, errors
        return str(output).strip()

    def apply(self) -> tuple[int, dict[str, int], str]:
        """Run the role; return its exit status, the operations that changed something, and all it printed."""
        self.write_manifest()
        done = subprocess.run(
            [str(Path(sys.executable).with_name("pyinfra")), "inventories/lab.py", "deploy.py", "-y", "--limit", "app"],
            cwd=self.folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=600,
        )  # fmt: skip
        output = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr)
        rows = re.findall(r"^ +Reverse proxy \| (.*?) {2,}\d+ +(\S+) +(\S+) +(\S+) *$", output, re.MULTILINE)
        return done.returncode, {name: 1 for name, success, _, _ in rows if success != "-"}, output

    def client(self) -> HttpsClient:
        return HttpsClient(self.address, 443, "web.example.org")

    def ask(self, path: str, **headers: str) -> Answer:
        return self.client().ask(path, **headers)


@pytest.fixture(scope="module")
def bench(lab: BootedLab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    bench = Bench(tmp_path_factory.mktemp("project"), lab)
    bench.prepare_authority()
    code, _, output = bench.apply()
    assert code == 0, output
    bench.run(f"cat > /root/agent.py <<'END'\n{AGENT}END")
    for port in (8100, 8101):
        bench.run(f"systemd-run --quiet --unit stand-in-{port} python3 /root/agent.py {bench.address} {port}")
    time.sleep(1)
    yield bench
    bench.manifest["exposure"] = {}
    bench.apply()
    bench.run("systemctl stop stand-in-8100 stand-in-8101; rm /root/agent.py; echo")


def test_a_second_run_changes_nothing(bench: Bench) -> None:
    before = bench.run("systemctl show nginx -P MainPID -P StateChangeTimestampMonotonic")
    code, changed, output = bench.apply()
    assert (code, changed) == (0, {}), output
    assert bench.run("systemctl show nginx -P MainPID -P StateChangeTimestampMonotonic") == before


def test_agents_learn_who_asks_and_not_what_the_client_claims(bench: Bench) -> None:
    claims = {"X_Forwarded_For": "192.0.2.99", "X_Real_IP": "192.0.2.99", "Forwarded": "for=192.0.2.99"}
    answer = bench.ask("/api/x", X_Request_ID="mine", **claims)
    seen = {name.lower(): value for name, value in json.loads(answer.body)["headers"]}
    assert "192.0.2.99" not in str(seen)
    assert seen["x-forwarded-for"] == seen["x-real-ip"]
    assert (seen["x-forwarded-proto"], seen["host"]) == ("https", "web.example.org")
    assert answer.all("X-Request-ID") == [seen["x-request-id"]] != ["mine"]
    assert (answer.all("X-Frame-Options"), answer.all("Access-Control-Allow-Origin")) == (["DENY"], [])


def test_replicas_share_the_work_and_stand_in_for_each_other(bench: Bench) -> None:
    assert {json.loads(bench.ask("/api/").body)["port"] for _ in range(8)} == {8100, 8101}
    bench.run("systemctl kill --signal STOP stand-in-8101; systemctl kill --signal KILL stand-in-8101; sleep 0.5")
    assert {json.loads(bench.ask("/api/").body)["port"] for _ in range(8)} == {8100}
    bench.run(f"systemctl reset-failed stand-in-8101; systemd-run --quiet --unit stand-in-8101 python3 /root/agent.py "
              f"{bench.address} 8101")  # fmt: skip


def test_a_route_has_its_own_limit(bench: Bench) -> None:
    connection = bench.client().connect()
    assert [send(connection, "/slow/").status for _ in range(6)].count(200) in (3, 4)
    assert send(connection, "/slow/").status == 429
    assert send(connection, "/api/").status == 200


def test_streams_are_passed_on_as_they_come(bench: Bench) -> None:
    connection = bench.client().connect()
    connection.request("GET", "/events/")
    response = connection.getresponse()
    started = time.monotonic()
    assert response.read(9) == b"data: 0\n\n"
    assert time.monotonic() - started < 0.4
    assert response.read().count(b"data") == 3
    assert time.monotonic() - started > 1


def test_new_files_are_switched_with_a_reload(bench: Bench) -> None:
    process = bench.run("systemctl show nginx -P MainPID")
    old = bench.ask("/")
    (bench.folder / "static" / "index.html").write_text("<p>other</p>")
    code, changed, output = bench.apply()
    assert code == 0, output
    assert changed.keys() >= {"Files of web at /", "Configure nginx", "Run nginx"}
    assert "Confine nginx" not in changed
    assert bench.ask("/").body == b"<p>other</p>"
    assert bench.ask("/").all("ETag") != old.all("ETag")
    assert bench.run("systemctl show nginx -P MainPID") == process
    assert bench.run("ls /var/lib/groundwork/www/chorus/web | wc -l") == "1"


def test_drift_is_repaired(bench: Bench) -> None:
    bench.run("echo '# mine' >> /etc/groundwork/chorus/nginx/nginx.conf; systemctl stop nginx; systemctl mask -q nginx;"
              "for f in /var/lib/groundwork/www/chorus/web/*/index.html; do echo x > $f; done;"
              "chmod 644 /etc/groundwork/chorus/nginx/tls/web.pem")  # fmt: skip
    code, changed, output = bench.apply()
    assert code == 0, output
    assert set(changed) == {"Files of web at /", "Configure nginx", "Run nginx", "Certificate of web"}
    assert bench.ask("/").body == b"<p>other</p>"
    assert bench.apply()[1] == {}


def test_a_wrong_configuration_leaves_the_old_one_running(bench: Bench) -> None:
    good = bench.run("sha256sum /etc/groundwork/chorus/nginx/nginx.conf")
    # Longer than what nginx takes for one word.
    bench.manifest["exposure"]["web"]["content_security_policy"] = "x" * 5000
    code, _, output = bench.apply()
    del bench.manifest["exposure"]["web"]["content_security_policy"]
    assert code != 0
    assert "the check refused" in output
    assert bench.run("sha256sum /etc/groundwork/chorus/nginx/nginx.conf") == good
    assert bench.ask("/").status == 200


def test_other_clients_are_turned_away(bench: Bench) -> None:
    bench.manifest["exposure"]["web"]["clients"] = ["192.0.2.0/24"]
    assert bench.apply()[0] == 0
    assert bench.ask("/").status == 403
    del bench.manifest["exposure"]["web"]["clients"]
    assert bench.apply()[0] == 0


def test_a_key_of_another_certificate_is_refused(bench: Bench) -> None:
    before = bench.run("sha256sum /etc/groundwork/chorus/nginx/tls/web.pem")
    certificate = bench.run("openssl x509 -in /etc/groundwork/chorus/nginx/tls/web.pem")
    (bench.folder / "chain.pem").write_text(certificate)
    key = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    store = SecretStore(bench.state.secrets_folder, bench.state.secrets_key)
    store.initialise()
    store.write("site_key", SecretValue(key.decode()))
    bench.manifest["secrets"] = {"site_key": {"kind": "provided"}}
    tls = {"source": "files", "certificate": "../chain.pem", "key_secret": "site_key"}
    bench.manifest["exposure"]["web"]["tls"] = tls
    code, _, output = bench.apply()
    del bench.manifest["exposure"]["web"]["tls"], bench.manifest["secrets"]
    assert code != 0
    assert "the check refused" in output
    assert key.decode().splitlines()[1] not in output
    assert bench.run("sha256sum /etc/groundwork/chorus/nginx/tls/web.pem") == before


def served_soon(client: HttpsClient, name: str, trust: ssl.SSLContext, former: bytes | None) -> bytes | None:
    """The certificate that follows a former one; None where it is not trusted. Old workers may answer for a moment."""
    end = time.monotonic() + 20
    while True:
        try:
            with client.handshake(name, trust) as connection:
                found = connection.getpeercert(binary_form=True)
        except ssl.SSLCertVerificationError:
            found = None
        if found != former or time.monotonic() > end:
            return found
        time.sleep(0.2)


def test_a_certificate_of_the_environments_authority_is_served_and_renewed(bench: Bench) -> None:
    bench.manifest["exposure"]["web"]["tls"] = {"source": "authority"}
    assert bench.apply()[0] == 0
    assert bench.apply()[1] == {}
    trust = ssl.create_default_context(cadata=bench.run("cat /etc/groundwork/chorus/authority/bundle.pem"))
    former = None
    for _ in range(2):
        served = [served_soon(bench.client(), name, trust, former) for name in ("web.example.org", bench.address)]
        assert served[0] == served[1] != former
        former = served[0]
        # A renewed certificate is another folder behind the link; here the unit's own is lost and made anew.
        bench.run("rm -r /etc/groundwork/chorus/certificates/site-web")
        assert bench.apply()[0] == 0
    former = served_soon(bench.client(), "web.example.org", trust, former)
    assert bench.run("ls /etc/groundwork/chorus/nginx/tls") == ""
    del bench.manifest["exposure"]["web"]["tls"]
    assert bench.apply()[0] == 0
    assert former is not None
    assert served_soon(bench.client(), "web.example.org", trust, former) is None


def test_what_is_no_longer_declared_is_gone(bench: Bench) -> None:
    bench.manifest["exposure"] = {}
    code, _, output = bench.apply()
    assert code == 0, output
    places = "/etc/groundwork/chorus/nginx /etc/systemd/system/nginx.service.d/50-groundwork.conf"
    left = f"ls -d {places} /var/lib/groundwork/www/chorus /var/lib/groundwork/ledger/reverse_proxy-chorus.json"
    assert bench.run(f"{left} 2>/dev/null | wc -l") == "0"
    assert bench.run("systemctl is-active nginx; systemctl is-enabled nginx; ss -ltnpH | grep -c nginx; true") == (
        "inactive\ndisabled\n0"
    )
    assert bench.apply()[1] == {}
