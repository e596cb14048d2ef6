"""The role pki on real hosts: converges, stays quiet, refuses what is foreign, and is rotated under load unnoticed."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import ec

from groundwork.authority.records import read_issued
from groundwork.authority.rotation import read_rotation, rotate_authority
from groundwork.engine import api
from groundwork.engine.certificates import SiteHands
from groundwork.engine.results import OperationStatus, RunResult
from groundwork.lab.lifecycle import boot_lab, remove_lab
from groundwork.lab.phases import Phases
from groundwork.lab.state import LabState
from groundwork.lab.terminal import capture_command, find_host
from groundwork.problems import ProblemError
from groundwork.site import Site, load_site

ROOT = Path(__file__).resolve().parents[2]
RELEASE = os.environ.get("GROUNDWORK_TEST_RELEASE") or "trixie"
NAME = f"role-pki-{RELEASE}"
DEPLOY = Path("deploys/rotate_certificates.py")
CERTIFICATES = "/etc/groundwork/chorus/certificates"

# Stands in for the agents: serves each unit's certificate on its ports, and wants one from every client.
SERVER = """
import json, socket, ssl, sys, threading
def serve(unit, address, port):
    listener = socket.create_server((address, port), backlog=100)
    while True:
        threading.Thread(target=answer, args=(unit, listener.accept()[0]), daemon=True).start()
def answer(unit, stream):
    folder = "/etc/groundwork/chorus/certificates/" + unit + "/current/"
    try:
        stream.settimeout(5)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder + "certificate.pem", folder + "key.pem")
        context.load_verify_locations("/etc/groundwork/chorus/authority/bundle.pem")
        context.verify_mode = ssl.CERT_REQUIRED
        with context.wrap_socket(stream, server_side=True) as secured:
            secured.sendall(secured.recv(16))
    except OSError:
        stream.close()
for unit, address, port in json.loads(sys.argv[1]):
    threading.Thread(target=serve, args=(unit, address, port)).start()
"""
# Calls all of them over and over with the operator's certificate; writes down every failure.
CALLER = """
import json, socket, ssl, sys, time
folder = "/etc/groundwork/chorus/certificates/operator/current/"
count = 0
while True:
    for unit, address, port in json.loads(sys.argv[1]):
        try:
            context = ssl.create_default_context(cafile="/etc/groundwork/chorus/authority/bundle.pem")
            context.load_cert_chain(folder + "certificate.pem", folder + "key.pem")
            with socket.create_connection((address, port), 5) as stream:
                with context.wrap_socket(stream, server_hostname=address) as secured:
                    secured.sendall(b"hello")
                    assert secured.recv(16) == b"hello"
            count += 1
        except Exception as error:
            print("failed", unit, repr(error), flush=True)
        time.sleep(0.005)
    print("count", count, flush=True)
"""


class Stage:
    """A lab and a project of its own whose manifest a test may change."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in (".lab", "inventories", "group_data", "examples", "config.py"):
            (root / name).symlink_to(ROOT / name)
        (root / "platforms").mkdir()
        (root / "deploys").mkdir()
        lines = ["from groundwork.site import current_site", "from roles.pki.deploy import pki", ""]
        (root / DEPLOY).write_text("\n".join([*lines, "pki(current_site())", ""]))
        self.reset()

    def reset(self) -> None:
        self.manifest = yaml.safe_load((ROOT / "platforms/chorus.yaml").read_text())
        self.write()

    def write(self) -> None:
        (self.root / "platforms/chorus.yaml").write_text(yaml.safe_dump(self.manifest))

    @property
    def site(self) -> Site:
        return load_site("lab", self.root)

    def apply(self) -> RunResult:
        return api.apply("lab", deploys=[DEPLOY], root=self.root)

    def converge(self) -> RunResult:
        result = self.apply()
        assert not result.problems
        assert not result.failed_hosts, [host.reason for host in result.failed_hosts]
        return result


def run(host: str, command: str) -> str:
    state = LabState(NAME)
    code, output, errors = capture_command(state, find_host(state, host), [command])
    assert code == 0, errors
    return output


def read_serials() -> dict[tuple[str, str], str]:
    command = f"cd {CERTIFICATES}; for unit in *; do echo $unit $(readlink $unit/current); done"
    return {
        (host, unit): serial
        for host in ("app", "data")
        for unit, serial in (line.split() for line in run(host, command).splitlines())
    }


def list_changes(result: RunResult) -> list[str]:
    quiet = (OperationStatus.UNCHANGED, OperationStatus.NOT_RUN)
    return [f"{h.name}: {o.name}" for h in result.hosts for o in h.operations if o.status not in quiet]


@contextmanager
def wrapping(host: str, program: str, script: str) -> Iterator[None]:
    """Put a script of that name in front of a program of the host."""
    text = base64.b64encode(f"#!/bin/sh\n{script}\n".encode()).decode()
    path = f"/usr/local/bin/{program}"
    run(host, f"echo {text} | base64 -d > {path} && chmod 0755 {path}")
    try:
        yield
    finally:
        run(host, f"rm {path}")


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    before = os.environ.get("GROUNDWORK_LAB")
    os.environ["GROUNDWORK_LAB"] = NAME
    boot_lab(NAME, "chorus", RELEASE, Phases(print))
    made = Stage(tmp_path_factory.mktemp("project"))
    site = made.site
    site.secrets.initialise()
    site.authority.initialise()
    yield made
    if before is None:
        del os.environ["GROUNDWORK_LAB"]
    else:
        os.environ["GROUNDWORK_LAB"] = before
    if not os.environ.get("GROUNDWORK_KEEP_LAB"):
        remove_lab(NAME)


def test_a_plan_of_bare_hosts_signs_nothing(stage: Stage) -> None:
    result = api.plan("lab", deploys=[DEPLOY], root=stage.root)
    assert not result.problems
    assert not result.failed_hosts
    assert sum("Issue certificates" in line for line in list_changes(result)) == 2
    assert read_issued(stage.site.authority.folder) == []


def test_everything_is_issued_once(stage: Stage) -> None:
    stage.converge()
    serials = read_serials()
    assert set(serials) == {(one.host, one.unit) for one in stage.site.topology.identities}
    recorded = {(one.host, one.unit): one.serial for one in read_issued(stage.site.authority.folder)}
    assert recorded == serials
    assert list_changes(stage.converge()) == []
    assert read_serials() == serials


def test_damage_is_repaired_where_it_is_and_only_there(stage: Stage) -> None:
    before = read_serials()
    run("app", f"cd {CERTIFICATES}; chmod 0644 nginx/current/key.pem; rm operator/current/key.pem; mkdir nginx/.new")
    run("app", f"cd {CERTIFICATES}; echo hello > site-web/current/certificate.pem")
    assert list_changes(stage.converge()) == ["app: Certificates | Issue certificates"]
    after = read_serials()
    assert {key for key in before if before[key] != after[key]} == {("app", "operator"), ("app", "site-web")}
    assert run("app", f"stat -c %a {CERTIFICATES}/nginx/current/key.pem").strip() == "400"
    assert list_changes(stage.converge()) == []


def test_a_request_for_a_foreign_name_is_refused(stage: Stage) -> None:
    before = read_serials()
    issued = len(read_issued(stage.site.authority.folder))
    run("data", f"rm {CERTIFICATES}/redis-1/current/key.pem")
    evil = 'for word; do case $word in */request.conf) sed -i "s/^subjectAltName = /&DNS:app,/" "$word";; esac; done'
    with wrapping("data", "openssl", f'{evil}\nexec /usr/bin/openssl "$@"'):
        failed = stage.apply().failed_hosts
    assert [host.name for host in failed] == ["data"]
    assert "data: redis-1: the certificate request asks for names that are not this unit's" in failed[0].reason
    assert "DNS:app" in failed[0].reason
    assert len(read_issued(stage.site.authority.folder)) == issued
    assert read_serials() == before
    stage.converge()


@pytest.mark.parametrize(("shift", "told"), [("-1 day", "24 hours behind"), ("+1 day", "24 hours ahead of")])
def test_a_clock_a_day_off_is_one_clear_error(stage: Stage, shift: str, told: str) -> None:
    with wrapping("data", "date", f"exec /usr/bin/date -d '{shift}' \"$@\""):
        failed = stage.apply().failed_hosts
        _, problems = SiteHands(stage.site).read_installed()
    assert [host.name for host in failed] == ["data"]
    assert f"data: its clock is {told} the controller's" in failed[0].reason
    assert [problem.key for problem in problems] == ["data"]
    assert list_changes(stage.converge()) == []


@pytest.fixture
def fleet(stage: Stage) -> Iterator[list[tuple[str, str, int]]]:
    """Stand-ins for every agent on the host app, and a caller that never stops."""
    endpoints = [(e.unit, e.address, e.port) for e in SiteHands(stage.site).endpoints if e.host == "app"]
    assert endpoints
    for name, program in (("fleet", SERVER), ("caller", CALLER)):
        text = base64.b64encode(program.encode()).decode()
        run("app", f"echo {text} | base64 -d > /root/{name}.py")
        started = f"systemd-run -q --unit={name} -p StandardOutput=file:/root/{name}.log"
        run("app", f"{started} python3 /root/{name}.py '{json.dumps(endpoints)}'; sleep 1")
    yield endpoints
    run("app", "systemctl stop caller fleet")


def calls() -> tuple[int, list[str]]:
    lines = run("app", "cat /root/caller.log").splitlines()
    counts = [int(line.split()[1]) for line in lines if line.startswith("count")]
    return counts[-1] if counts else 0, [line for line in lines if line.startswith("failed")]


class Killed(SiteHands):
    """Dies where a rotation would check what is served."""

    def check_served(self) -> None:
        raise KeyboardInterrupt


def reach_app(site: Site, kind: type[SiteHands] = SiteHands) -> SiteHands:
    """Only the endpoints that have a stand-in."""
    hands = kind(site)
    hands.endpoints = tuple(one for one in hands.endpoints if one.host == "app")
    return hands


def test_an_endpoint_that_cannot_be_proven_stops_a_rotation_before_anything_is_issued(stage: Stage) -> None:
    before, site = read_serials(), stage.site
    with pytest.raises(ProblemError, match=r"(?s)redis-1 at .*refused.*stands at stage prove"):
        rotate_authority(site.authority, SiteHands(site), print)
    assert read_serials() == before
    assert len(site.authority.state.trusted) == 2
    assert site.authority.state.issuer == "1"


def test_the_authority_is_replaced_under_load_and_after_a_kill(stage: Stage, fleet: list[tuple[str, str, int]]) -> None:
    site = stage.site
    assert {why for handshake, why in SiteHands(site).compare_served() if handshake.endpoint.host == "app"} == {""}
    before, old_bundle = read_serials(), site.authority.bundle()
    old = site.authority.issuer()
    with pytest.raises(KeyboardInterrupt):
        rotate_authority(site.authority, reach_app(site, Killed), print)
    rotation = read_rotation(site.authority.folder)
    assert rotation is not None
    assert rotation.stage == "issue"
    said: list[str] = []
    site = stage.site
    rotate_authority(site.authority, reach_app(site), said.append)
    assert "goes on at stage issue" in said[0]
    after = read_serials()
    assert {key for key in before if before[key] == after[key]} == set()
    assert site.authority.bundle() != old_bundle
    assert run("data", "cat /etc/groundwork/chorus/authority/bundle.pem") == site.authority.bundle().decode()
    assert old.certificate not in site.authority.intermediates().values()
    count, failures = calls()
    assert failures == []
    assert count > 100
    print(f"{count} calls during the rotation, none failed")
    assert list_changes(stage.converge()) == []


def test_everything_is_renewed_when_asked_for_and_served_at_once(
    stage: Stage, fleet: list[tuple[str, str, int]]
) -> None:
    from groundwork.cli.main import main

    before = read_serials()
    os.environ["GROUNDWORK_ROOT"] = str(stage.root)
    try:
        # Redis has no stand-in here, which is a finding.
        assert main(["certs", "rotate", "lab", "--force", "--json"]) == 2
        assert main(["certs", "status", "lab"]) == 0
    finally:
        del os.environ["GROUNDWORK_ROOT"]
    after = read_serials()
    assert {key for key in before if before[key] == after[key]} == set()
    assert {why for one, why in SiteHands(stage.site).compare_served() if one.endpoint.host == "app"} == {""}
    assert calls()[1] == []


def test_what_is_declared_no_more_is_removed(stage: Stage) -> None:
    before = read_serials()
    manifest: dict[str, Any] = stage.manifest
    manifest["exposure"], manifest["objectives"] = {}, {}
    stage.write()
    stage.converge()
    gone = set(before) - set(read_serials())
    assert gone == {("app", "site-web"), ("app", "nginx")}
    stage.reset()
    stage.converge()
    assert set(read_serials()) == set(before)


def test_no_authority_is_one_clear_error(stage: Stage) -> None:
    folder = stage.site.authority.folder
    aside = folder.with_name("aside")
    folder.rename(aside)
    try:
        failed = stage.apply().failed_hosts
        assert {host.name for host in failed} == {"app", "data"}
        assert all("no certificate authority yet" in host.reason for host in failed)
    finally:
        aside.rename(folder)
    assert list_changes(stage.converge()) == []
    assert isinstance(stage.site.authority.issuer().key, ec.EllipticCurvePrivateKey)
