"""Each host's journal reaches the log host, which takes it from nobody else and keeps it as declared."""

from __future__ import annotations

import json
import re
import time

import pytest
from testinfra.host import Host

from groundwork.authority import paths
from groundwork.manifest.observability import Logs
from groundwork.site import Site
from groundwork.topology.identities import OPERATOR, journal_source

EXPOSED_AT_MOST = 3.0
PACKAGED = ("remote.socket", "remote.service", "gatewayd.socket", "gatewayd.service", "upload.service")
# Asks the store over TLS with or without a certificate; prints the status of the answer, or the refusal.
CALLER = """
import http.client, json, ssl, sys
wanted = json.loads(sys.argv[1])
try:
    context = ssl.create_default_context(cafile=wanted["authority"])
    if wanted["certificate"]:
        context.load_cert_chain(wanted["certificate"], wanted["key"])
    kind = http.client.HTTPSConnection if wanted["tls"] else http.client.HTTPConnection
    more = {"context": context} if wanted["tls"] else {}
    connection = kind(wanted["address"], wanted["port"], timeout=15, **more)
    connection.request("POST", "/upload", body=b"", headers={"Content-Type": "application/vnd.fdo.journal"})
    print(connection.getresponse().status)
except (OSError, http.client.HTTPException) as error:
    print("%s %s" % (type(error).__name__, error))
"""


def declared(site: Site) -> Logs:
    logs = site.platform.observability.logs
    assert logs is not None
    return logs


def on_store(site: Site, host_name: str) -> Logs:
    """What is declared of the store; skips on hosts that only send."""
    logs = declared(site)
    if site.inventory.host(host_name) not in site.inventory.group(logs.hosts):
        pytest.skip("journals are kept elsewhere")
    return logs


def folder(site: Site) -> str:
    return f"/var/log/{site.platform.platform}-journals"


def test_the_journal_is_sent(host: Host, site: Site) -> None:
    name = site.platform.platform
    unit = f"{name}-journal-upload.service"
    assert host.service(unit).is_running
    assert host.service(unit).is_enabled
    logs = declared(site)
    address = site.inventory.group(logs.hosts)[0].address
    process = host.check_output("systemctl show -p MainPID --value %s", unit)
    words = host.check_output("tr '\\0' ' ' < /proc/%s/cmdline", process)
    assert f"--url=https://{address}:{logs.port}" in words
    assert f"--trust={paths.bundle(name)}" in words
    # Where it is in the journal is written down after each part that the log host took.
    state = host.check_output("cat /var/lib/private/%s-journal-upload/state", name)
    cursor = re.search(r"^LAST_CURSOR=(.+)$", state, re.M)
    assert cursor, state
    behind = host.check_output("journalctl -q --no-pager -o short-unix --after-cursor=%s | head -1", cursor[1])
    assert not behind or time.time() - float(behind.split()[0]) < 300, f"not sent since {behind}"


def test_packages_own_units_never_start(host: Host) -> None:
    for part in PACKAGED:
        unit = f"systemd-journal-{part}"
        assert host.run("systemctl is-active %s", unit).stdout.strip() != "active"
        assert host.check_output("systemctl show -p LoadState --value %s", unit) == "masked"


def test_no_unit_is_more_exposed_than_it_may_be(host: Host, site: Site, host_name: str) -> None:
    name = site.platform.platform
    units = [f"{name}-journal-upload.service", f"{name}-journal-mark.service"]
    if site.inventory.host(host_name) in site.inventory.group(declared(site).hosts):
        units += [f"{name}-journal-store.service", f"{name}-journal-keep.service"]
        units += [f"{name}-journal-store@{journal_source(each.name)}.service" for each in site.inventory.hosts]
    for unit in units:
        told = host.check_output("systemd-analyze security --no-pager %s | tail -1", unit)
        score = float(re.findall(r"([0-9]+\.[0-9]+)", told.replace(unit, ""))[-1])
        assert score <= EXPOSED_AT_MOST, told


def test_keys_are_roots(host: Host, site: Site) -> None:
    found = host.check_output(
        "find -L /etc/groundwork/%s/certificates/journal-*/current -name key.pem -printf '%%m %%u\\n'",
        site.platform.platform,
    )
    assert set(found.splitlines()) <= {"400 root", "400 systemd-journal-remote"}
    assert "400 root" in found


def test_the_store_takes_journals_from_certificates_only(host: Host, site: Site, host_name: str) -> None:
    logs = on_store(site, host_name)
    name, address = site.platform.platform, site.inventory.host(host_name).address
    for certificate, tls, allowed in ((True, True, "403"), (False, True, "400"), (False, False, "400")):
        wanted = {
            "address": address,
            "port": logs.port,
            "tls": tls,
            "authority": paths.bundle(name),
            "certificate": paths.certificate(name, OPERATOR) if certificate else "",
            "key": paths.key(name, OPERATOR),
        }
        answer = host.check_output("python3 -c %s %s", CALLER, json.dumps(wanted))
        assert re.fullmatch(allowed, answer.strip()), f"certificate {certificate}, TLS {tls}: {answer}"


def test_the_store_listens_on_its_address_alone(host: Host, site: Site, host_name: str) -> None:
    logs = on_store(site, host_name)
    place = f"{site.inventory.host(host_name).address}:{logs.port}"
    listening = [line.split()[3] for line in host.check_output("ss -Hltn").splitlines()]
    assert [one for one in listening if one.endswith(f":{logs.port}")] == [place]
    # What writes has no way in but a socket that only its own user can reach.
    assert "systemd-journal" not in host.check_output("ss -Hltunp")
    modes = host.check_output(f"stat -c %a /run/{site.platform.platform}-journals/*")
    assert set(modes.split()) == {"700"}


def test_every_host_was_heard_of_lately(host: Host, site: Site, host_name: str) -> None:
    on_store(site, host_name)
    now = float(host.check_output("date +%s"))
    for each in site.inventory.hosts:
        path = f"{folder(site)}/{journal_source(each.name)}.journal"
        line = host.check_output("journalctl -q --no-pager -o short-unix -n 1 --file=%s", path)
        assert line, f"nothing of {each.name}"
        assert now - float(line.split()[0]) < 900, f"nothing of {each.name} since {line}"


def test_journals_are_for_root_and_the_store(host: Host, site: Site, host_name: str) -> None:
    on_store(site, host_name)
    top = host.file(folder(site))
    assert (top.user, top.group, top.mode) == ("systemd-journal-remote", "systemd-journal-remote", 0o750)
    for line in host.check_output("find %s -type f -printf '%%m %%u %%p\\n'", folder(site)).splitlines():
        mode, user, _ = line.split(" ", 2)
        assert int(mode, 8) & 0o007 == 0, line
        assert user == "systemd-journal-remote", line


def test_journals_are_kept_as_declared(host: Host, site: Site, host_name: str) -> None:
    logs = on_store(site, host_name)
    name = site.platform.platform
    assert host.service(f"{name}-journal-keep.timer").is_running
    told = host.check_output("systemctl show -p ExecStart --value %s-journal-keep.service", name)
    assert f"--seconds {int(logs.retention)} --bytes {logs.retention_size or 0} " in told
    assert host.check_output("systemctl show -p Result --value %s-journal-keep.service", name) == "success"
    # Nothing whose last line is older is left, a day aside in which it was in use.
    old = f"-mmin +{int((logs.retention + 2 * 86400) / 60)}"
    assert host.check_output(f"find %s -name '*@*' {old}", folder(site)) == ""
    if logs.retention_size:
        used = sum(int(n) for n in host.check_output("find %s -type f -printf '%%b\\n'", folder(site)).split()) * 512
        assert used < 1.2 * logs.retention_size
