"""What somebody changes by hand on a host is found by plan or verify, and put back by the next apply; what is not
declared any more goes, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from site_lab import NOTHING, SiteLab

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGmZ5Yw0s7c0Y3Xv7m1bq4nQ8kq0oE0a1b2c3d4e5f6g alice"
OPERATOR = {"operators": {"alice": {"keys": [KEY], "sudo": True}}}
REDIS = "redis-server@chorus-redis-1.service"
ASK_REDIS = (
    "printf 'AUTH _operator %s\\nACL LIST\\n' $(cat /etc/groundwork/chorus/credentials/chorus-redis-1_operator) "
    "| redis-cli -s /run/redis-chorus-redis-1/redis.sock 2>&1"
)
PROXY = "/etc/groundwork/chorus/nginx/nginx.conf"
STAT = "stat -c '%A %U:%G %N'"
# Of a certificate: who it is for and who signed it; the number and the dates differ after each issue.
CERTIFICATE = "openssl x509 -noout -subject -issuer -in"
UNIT = "/etc/groundwork/chorus/certificates/chorus-agent-predictor@1/current/certificate.pem"


@dataclass(frozen=True)
class Drift:
    """One thing done by hand: ``breaking`` does it; ``probe`` prints what must be the same again in the end;
    ``operation`` is part of the name of the operation that finds it (empty: the plan is blind to it)."""

    kind: str
    host: str
    breaking: str
    probe: str
    operation: str


DRIFTS = (
    Drift(
        "configuration edited", "data", "echo 'maxclients 3' >> /etc/redis/redis-chorus-redis-1.conf",
        "sha256sum /etc/redis/redis-chorus-redis-1.conf", "Configure chorus-redis-1",
    ),
    Drift(
        "mode changed", "data", "chmod 0644 /etc/redis/users-chorus-redis-1.acl",
        f"{STAT} /etc/redis/users-chorus-redis-1.acl", "Set the users of chorus-redis-1",
    ),
    Drift(
        "owner changed", "app", "chown nobody /etc/groundwork", f"{STAT} /etc/groundwork", "Make /etc/groundwork",
    ),
    Drift(
        "unit masked", "data", f"systemctl mask --now {REDIS}", f"systemctl is-enabled {REDIS}", "Run chorus-redis-1",
    ),
    Drift("unit disabled", "app", "systemctl disable nginx", "systemctl is-enabled nginx", "Run nginx"),
    Drift(
        "unit stopped", "app", "systemctl stop chorus-agent-predictor@3",
        "systemctl is-active chorus-agent-predictor@3", "Switch to the release",
    ),
    Drift(
        "unit file edited", "app", "echo '[Service]' >> /etc/systemd/system/chorus-agent-predictor@.service",
        "sha256sum /etc/systemd/system/chorus-agent-predictor@.service", "Switch to the release",
    ),
    Drift(
        "timer disabled", "app", "systemctl disable --now groundwork-logrotate-chorus.timer",
        "systemctl is-enabled groundwork-logrotate-chorus.timer", "Rotate log files",
    ),
    Drift(
        "file removed", "app", "rm /etc/apt/apt.conf.d/51-groundwork-defaults",
        "sha256sum /etc/apt/apt.conf.d/51-groundwork-defaults", "Set apt's defaults",
    ),
    Drift(
        "program of a role removed", "data", "rm /usr/local/lib/groundwork/chorus/redis-try",
        "sha256sum /usr/local/lib/groundwork/chorus/redis-try", "Install redis-try",
    ),
    Drift(
        "user removed", "app", "systemctl stop chorus-simulation@1; userdel chorus-simulation",
        "id -un chorus-simulation; systemctl is-active chorus-simulation@1", "Create the user chorus-simulation",
    ),
    Drift(
        "package removed", "app", "DEBIAN_FRONTEND=noninteractive apt-get -q -y remove logrotate",
        "dpkg-query -W -f '${Status}' logrotate", "Install Python",
    ),
    Drift(
        "proxy's configuration edited", "app", f"sed -i 's/server_tokens off/server_tokens on/' {PROXY}",
        f"sha256sum {PROXY}", "Configure nginx",
    ),
    Drift(
        "user added to Redis at run time", "data",
        ASK_REDIS.replace("ACL LIST", "ACL SETUSER intruder on nopass ~* +@all"), f"{ASK_REDIS} | sort", "",
    ),
    Drift(
        "credential changed", "app", "echo something-else > /etc/groundwork/chorus/credentials/llm_api_key",
        "sha256sum /etc/groundwork/chorus/credentials/llm_api_key", "Write the credential llm_api_key",
    ),
    Drift(
        "release link moved", "app", "ln -sfn releases/none /opt/groundwork/chorus/current",
        f"{STAT} /opt/groundwork/chorus/current", "Switch to the release",
    ),
    Drift(
        "sudoers line added", "data", "echo 'nobody ALL=(ALL) NOPASSWD: ALL' >> /etc/sudoers.d/50-groundwork-alice",
        "cat /etc/sudoers.d/50-groundwork-alice", "Let alice become root",
    ),
    Drift(
        "SSH key added", "data", f"echo '{KEY.replace('alice', 'mallory')}' >> /home/alice/.ssh/authorized_keys",
        "sort /home/alice/.ssh/authorized_keys", "Set the keys of alice",
    ),
    Drift(
        # Docker mounts the file, so it cannot be replaced, only written.
        "hosts entry changed", "app",
        "sed 's/^[0-9.]* data$/192.0.2.1 data/' /etc/hosts > /tmp/h; cat /tmp/h > /etc/hosts",
        "getent ahostsv4 data", "Name the inventory's hosts",
    ),
    Drift(
        "certificate replaced", "app",
        "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=mallory -keyout /dev/null -out /tmp/c 2>&1; "
        f"cat /tmp/c > {UNIT}",
        f"{CERTIFICATE} {UNIT}", "Issue certificates",
    ),
    Drift(
        "trusted root replaced", "data", "echo >> /etc/groundwork/chorus/authority/bundle.pem",
        "sha256sum /etc/groundwork/chorus/authority/bundle.pem", "Place the trusted roots",
    ),
)  # fmt: skip


@pytest.fixture(scope="module")
def drifting(site_lab: SiteLab) -> Iterator[SiteLab]:
    """The site as declared, with one operator more."""
    site_lab.reset()
    site_lab.make_secrets()
    site_lab.host_data.update(OPERATOR)
    site_lab.declare()
    site_lab.apply()
    yield site_lab
    site_lab.reset()


def test_changes_by_hand_are_found_and_put_back(drifting: SiteLab) -> None:
    before = {drift: drifting.run(drift.host, drift.probe) for drift in DRIFTS}
    assert all(before.values()), before
    for drift in DRIFTS:
        drifting.run(drift.host, drift.breaking)
    broken = {drift: drifting.run(drift.host, drift.probe) for drift in DRIFTS}
    assert [drift.kind for drift in DRIFTS if broken[drift] == before[drift]] == []

    planned = drifting.plan()
    failing = drifting.verify()
    drifting.apply()
    after = {drift: drifting.run(drift.host, drift.probe) for drift in DRIFTS}

    found = {d: bool(d.operation) and any(d.operation in name for name in planned[d.host]) for d in DRIFTS}
    for drift in DRIFTS:
        print(f"{drift.kind}: planned {found[drift]}, put back {after[drift] == before[drift]}")
    print(f"{len(failing)} checks failed: {failing}")
    assert [drift.kind for drift in DRIFTS if drift.operation and not found[drift]] == []
    assert [drift.kind for drift in DRIFTS if after[drift] != before[drift]] == []
    assert any("redis: " in check for check in failing)
    assert drifting.plan() == NOTHING
    assert drifting.verify() == []


def list_things(site: SiteLab, host: str) -> set[str]:
    """Units, accounts and files that a role could have laid down on a host; no logs, no data."""
    commands = (
        "find /etc /usr/local /opt /srv /var/lib/groundwork -not -path '*/generations/*' -not -path '*/releases/*' "
        # Debian's systemctl keeps the old start links beside its own.
        "-not -path '*/certificates/*/*/*' -not -path '/etc/rc?.d/*'",
        "getent passwd | cut -d: -f1 | sed 's/^/user /'",
        'systemctl list-units --all --plain --no-legend --type=service,timer,target,slice | awk \'$3 == "active" '
        '{print "running", $1}\'',
    )
    return {line for command in commands for line in site.run(host, command).splitlines()}


def test_what_is_not_declared_any_more_goes_and_nothing_else(drifting: SiteLab) -> None:
    before = {host: list_things(drifting, host) for host in NOTHING}
    del drifting.host_data["operators"]
    for declared in (drifting.manifest, drifting.overlay):
        del declared["groups"]["simulation"], declared["exposure"]
    del drifting.manifest["trials"]["loads"]["stable-agents"]
    del drifting.manifest["objectives"]["web-availability"]
    drifting.declare()
    drifting.apply()
    assert drifting.plan() == NOTHING
    assert drifting.verify() == []
    gone = {host: before[host] - list_things(drifting, host) for host in NOTHING}
    new = {host: list_things(drifting, host) - before[host] for host in NOTHING}
    for host, things in gone.items():
        print(f"gone from {host}: {sorted(things)}")
    expected = {"app": ("simulation", "alice", "nginx", "web", "www", "reverse_proxy"), "data": ("alice",)}
    for host, words in expected.items():
        assert [thing for thing in gone[host] if not any(word in thing for word in words)] == []
        assert [thing for thing in new[host] if "ledger" not in thing and "/generation" not in thing] == []
    assert {"user chorus-simulation", "running chorus-simulation@1.service", "running nginx.service"} <= gone["app"]
    assert "user alice" in gone["data"]
    assert "/etc/sudoers.d/50-groundwork-alice" in gone["data"]


def test_a_service_that_moves_leaves_its_data_and_nothing_else(drifting: SiteLab) -> None:
    drifting.manifest["services"]["redis"]["hosts"] = "app"
    drifting.declare()
    drifting.apply()
    assert drifting.plan() == NOTHING
    assert drifting.verify() == []
    assert drifting.run("data", f"systemctl is-active {REDIS}") == "inactive"
    folders = "/etc/redis /etc/groundwork /etc/systemd/system /etc/sysctl.d /usr/local/lib/groundwork"
    assert drifting.run("data", f"find {folders} -name '*redis-[1t]*' -o -name '*chorus-redis*'") == ""
    assert drifting.run("data", "ls /var/lib/redis/chorus-redis-1") != ""
    # And all that is declared comes back.
    drifting.reset()
    drifting.apply()
    assert drifting.plan() == NOTHING
    assert drifting.verify() == []
