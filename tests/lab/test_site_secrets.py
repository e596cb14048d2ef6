"""After full runs, as talkative as they can be, no secret's value is anywhere it must not be."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import pytest
from site_lab import HOSTS, NOTHING, SiteLab

from groundwork.lab.state import LabState
from groundwork.secrets.scan import Report, scan_everything
from groundwork.secrets.value import SecretValue

KINDS = ("cmdline", "environ", "journal", "files")


@pytest.fixture(scope="module")
def outputs(site_lab: SiteLab, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything the controller printed while fresh hosts were converged by plain pyinfra, which masks nothing,
    changed, planned and verified, and while a run failed."""
    folder = tmp_path_factory.mktemp("outputs")
    site_lab.reset()
    site_lab.make_secrets()
    site_lab.renew()

    def keep(name: str, done: subprocess.CompletedProcess[str], *codes: int) -> None:
        (folder / f"{name}.out").write_text(done.stdout)
        (folder / f"{name}.err").write_text(done.stderr)
        assert done.returncode in codes, (done.stdout + done.stderr)[-3000:]

    keep("dry", site_lab.pyinfra("-vvv", "--debug", "--diff", "--dry"), 0)
    keep("run", site_lab.pyinfra("-vvv", "--debug", "--diff", "-y"), 0)
    assert site_lab.plan() == NOTHING
    store = site_lab.load().secrets
    # What was there before is a secret as well: the old one may still be in use.
    rotated = [name for name in store.names() if name.startswith("redis_")]
    keep("rotate", site_lab.groundwork("secrets", "rotate", "lab", rotated[0]), 0)
    site_lab.run("app", "echo drift > /etc/groundwork/chorus/credentials/llm_api_key")
    keep("plan", site_lab.groundwork("plan", "lab", "-v", "--debug"), 2)
    keep("plan-json", site_lab.groundwork("plan", "lab", "--json"), 2)
    # A file that cannot be replaced makes the run fail where it handles passwords.
    users = "/etc/redis/users-chorus-redis-1.acl"
    site_lab.run("data", f"mount --bind {users} {users}")
    keep("failing", site_lab.groundwork("apply", "lab", "-v", "--debug", GROUNDWORK_DEBUG="1"), 1)
    site_lab.run("data", f"umount {users}")
    keep("apply", site_lab.groundwork("apply", "lab", "-v", "--debug"), 0)
    # Whether it finds something is no matter here; what it says is.
    keep("verify", site_lab.groundwork("verify", "lab", "--json", "--junit", str(folder / "junit.xml")), 0, 2)
    keep("list", site_lab.groundwork("secrets", "list", "lab"), 0)
    return folder


def scan(site: SiteLab, outputs: Path) -> Report:
    state = LabState(site.name)
    # The lab's own folder has the secrets, but sealed.
    paths = [outputs, state.folder, site.project / "platforms", site.project / "group_data"]
    hosts = {host: site.runner(host) for host in HOSTS}
    return scan_everything(hosts=hosts, paths=paths, secrets={**site.secrets(), **site.keys()})


def test_no_secret_is_anywhere(site_lab: SiteLab, outputs: Path) -> None:
    assert len(site_lab.secrets()) > 2
    assert len(site_lab.keys()) == 3
    report = scan(site_lab, outputs)
    print(report.examined)
    assert report.findings == []
    for host in HOSTS:
        assert min(report.examined[host][kind] for kind in KINDS) >= 1
        assert report.examined[host]["files"] > 500
    assert report.examined["controller"]["files"] > 15
    assert sum(len(file.read_text()) for file in outputs.iterdir()) > 50_000


def test_the_scan_would_have_seen_one(site_lab: SiteLab, outputs: Path) -> None:
    """Each way a secret can get out, tried with a real one of this lab."""
    secrets = site_lab.secrets()
    name, value = random.Random(3).choice(sorted(secrets.items()))
    text = value.reveal()
    planted = outputs / "planted.log"
    planted.write_text(f"connecting with {text!r}\n")
    site_lab.run("app", "cat > /etc/leaked; chmod 644 /etc/leaked", text)
    key = site_lab.keys()["authority_1_intermediate"].reveal()
    site_lab.run("app", "cat > /etc/key; chmod 644 /etc/key", key)
    site_lab.run("app", 'read -r value; logger -t leak "$value"', f"{text}\n")
    ways = ("LEAK=$value setsid sleep 300", "setsid sh -c 'sleep 300; :' \"$value\"")
    started = [
        site_lab.run("data", f"read -r value; {way} >/dev/null 2>&1 </dev/null & echo $!", f"{text}\n") for way in ways
    ]
    try:
        report = scan(site_lab, outputs)
    finally:
        planted.unlink()
        site_lab.run("app", "rm /etc/leaked /etc/key; journalctl --rotate; journalctl --vacuum-time=1s")
        site_lab.run("data", f"kill {' '.join(started)}")
    found = {(each.machine, each.place.rsplit("/", 1)[-1]) for each in report.findings if each.secret == name}
    assert {
        ("controller", "planted.log"),
        ("app", "leaked"),
        ("app", "journal"),
        ("data", "environ"),
        ("data", "cmdline"),
    } <= found
    assert ("app", "key", "authority_1_intermediate") in {
        (each.machine, each.place.rsplit("/", 1)[-1], each.secret) for each in report.findings
    }


def test_secrets_are_looked_for_by_value(site_lab: SiteLab, outputs: Path) -> None:
    """The same scan for what is surely there finds it: nothing hides the hosts' files from it."""
    there = {"marker": SecretValue("hosts of the inventory")}
    hosts = {host: site_lab.runner(host) for host in HOSTS}
    report = scan_everything(hosts=hosts, paths=[], secrets=there)
    assert {(finding.machine, finding.place) for finding in report.findings} >= {(h, "/etc/hosts") for h in HOSTS}
