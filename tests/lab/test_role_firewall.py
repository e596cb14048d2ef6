"""The role firewall on real hosts: what is declared answers, mistakes revert themselves, drift is put right."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from groundwork.engine import api
from groundwork.engine.results import OperationStatus, RunResult
from groundwork.lab.lifecycle import boot_lab, remove_lab
from groundwork.lab.phases import Phases

ROOT = Path(__file__).resolve().parents[2]
RELEASE = os.environ.get("GROUNDWORK_TEST_RELEASE") or "trixie"
NAME = os.environ.get("GROUNDWORK_FIREWALL_LAB") or f"role-firewall-{RELEASE}"
BOTH, OPEN, BLOCKING = Path("deploys/both.py"), Path("deploys/open.py"), Path("deploys/blocking.py")
SWITCH = "/usr/local/lib/groundwork/chorus/firewall-switch"
RULES = "/etc/groundwork/chorus/firewall.nft"

DEPLOYS = {
    BOTH: "from roles.firewall.deploy import firewall, open_firewall\nopen_firewall(site)\nfirewall(site)\n",
    OPEN: "from roles.firewall.deploy import open_firewall\nopen_firewall(site)\n",
    BLOCKING: "from roles.firewall.operations import table\n"
    "text = 'table inet groundwork {\\nchain input {\\ntype filter hook input priority filter; policy drop;\\n'\n"
    "text += 'ct state established,related accept\\n}\\n}\\n'\n"
    "text = 'table inet groundwork\\ndelete table inet groundwork\\n' + text\n"
    f"table(name='Lock everybody out', content=text, switch='{SWITCH}')\n",
}
# Says after 1 s at the latest what became of a connection.
TRY = """python3 - <<'END'
import socket
try:
    socket.create_connection(("{address}", {port}), 1).close(); print("open")
except ConnectionRefusedError:
    print("refused")
except OSError:
    print("filtered")
END"""


class Stage:
    """A lab and a project of its own whose manifest and inventory data a test may change."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in (".lab", "examples", "config.py"):
            (root / name).symlink_to(ROOT / name)
        for name in ("platforms", "deploys", "inventories"):
            (root / name).mkdir()
        for path, text in DEPLOYS.items():
            (root / path).write_text(f"from groundwork.site import current_site\nsite = current_site()\n{text}")
        self.manifest: dict[str, Any] = {}
        self.reset()

    def reset(self) -> None:
        self.manifest = yaml.safe_load((ROOT / "platforms/chorus.yaml").read_text())
        self.set_data()

    def set_data(self, **data: Any) -> None:
        """Give every host these data besides the lab's own."""
        own = f"{{group: [(name, data | {data!r}) for name, data in hosts] for group, hosts in load_groups().items()}}"
        text = f"from groundwork.lab.inventory import load_groups\nglobals().update({own})\n"
        (self.root / "inventories/lab.py").write_text(text)

    def _go(self, run: Any, deploy: Path) -> RunResult:
        (self.root / "platforms/chorus.yaml").write_text(yaml.safe_dump(self.manifest))
        result: RunResult = run("lab", root=self.root, deploys=[deploy])
        return result

    def apply(self, deploy: Path = BOTH) -> RunResult:
        return self._go(api.apply, deploy)

    def plan(self, deploy: Path = BOTH) -> RunResult:
        return self._go(api.plan, deploy)

    def run(self, host: str, command: str) -> str:
        call = [sys.executable, "-m", "groundwork.cli.lab", "exec", "--json", "--name", NAME, host, "--", command]
        done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
        return str(json.loads(done.stdout)["stdout"]).strip()

    def address(self, host: str) -> str:
        data = json.loads((ROOT / ".lab" / NAME / "inventory.json").read_text())
        return str(next(one["data"]["address"] for one in data["hosts"] if one["name"] == host))

    def reach(self, source: str, target: str, port: int) -> str:
        return self.run(source, TRY.format(address=self.address(target), port=port))

    def listen(self, host: str, *ports: int) -> None:
        for port in ports:
            server = f"/usr/bin/python3 -m http.server --directory /var/empty {port}"
            self.run(host, f"mkdir -p /var/empty; systemd-run -q --collect --unit=listen-{port} {server}")
        time.sleep(1)


def changed(result: RunResult) -> dict[str, list[str]]:
    """Names of the operations that did not leave their host as it was, without those of the deploys."""
    quiet = (OperationStatus.UNCHANGED,)
    return {
        h.name: [op.name.rpartition(" | ")[2] for op in h.operations if op.status not in quiet] for h in result.hosts
    }


def failures(result: RunResult) -> list[str]:
    return [f"{host.name}: {host.reason}" for host in result.hosts if host.failed]


NOTHING: dict[str, list[str]] = {"app": [], "data": []}


@pytest.fixture(scope="module")
def module_stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    before = os.environ.get("GROUNDWORK_LAB")
    os.environ["GROUNDWORK_LAB"] = NAME
    boot_lab(NAME, "chorus", RELEASE, Phases(print))
    stage = Stage(tmp_path_factory.mktemp("project"))
    assert failures(stage.apply()) == []
    stage.listen("data", 6379, 7777)
    yield stage
    if before is None:
        del os.environ["GROUNDWORK_LAB"]
    else:
        os.environ["GROUNDWORK_LAB"] = before
    if not os.environ.get("GROUNDWORK_KEEP_LAB"):
        remove_lab(NAME)


@pytest.fixture
def stage(module_stage: Stage) -> Stage:
    module_stage.reset()
    return module_stage


def test_the_second_run_changes_nothing(stage: Stage) -> None:
    assert failures(stage.apply()) == []
    assert changed(stage.plan()) == NOTHING
    assert changed(stage.apply()) == NOTHING


def test_exactly_the_declared_port_answers(stage: Stage) -> None:
    found = {port: stage.reach("app", "data", port) for port in (22, 6379, 7777, 7778)}
    assert found == {22: "filtered", 6379: "open", 7777: "filtered", 7778: "filtered"}
    assert stage.reach("data", "data", 7777) == "open"
    assert stage.run("app", f"ping -c1 -W1 {stage.address('data')} >/dev/null && echo answers") == "answers"


@pytest.mark.parametrize(
    ("drift", "line"),
    [
        ("nft insert rule inet groundwork input tcp dport 7777 accept", "- chain input: tcp dport 7777 accept"),
        ("nft flush set inet groundwork peers_tcp4", "+ peers_tcp4: "),
        ("nft add element inet groundwork world_tcp4 '{ 7777 }'", "- world_tcp4: 7777"),
        ("nft flush chain inet groundwork published", "+ chain published: "),
        ("nft add chain inet groundwork input '{ policy accept; }'", "policy drop"),
        ("nft delete table inet groundwork", "+ chain input"),
        ("nft flush ruleset", "+ chain input"),
    ],
)
def test_drift_in_the_kernel_is_found_and_put_right(stage: Stage, drift: str, line: str) -> None:
    stage.run("data", drift)
    plan = stage.plan()
    assert "Put the rules into effect" in changed(plan)["data"]
    shown = [row for host in plan.hosts for op in host.operations for row in op.diff]
    assert any(line in row for row in shown), shown
    assert failures(stage.apply()) == []
    assert changed(stage.plan()) == NOTHING
    assert stage.reach("app", "data", 7777) == "filtered"


def test_rules_that_block_ssh_revert_themselves(stage: Stage) -> None:
    result = stage.apply(BLOCKING)
    (reason,) = [text for text in failures(result) if text.startswith("data: ")]
    assert "the new rules were not confirmed: a new connection cannot be made" in reason
    assert "the former rules are back" in reason
    assert "Traceback" not in reason
    assert stage.reach("app", "data", 6379) == "open"
    assert changed(stage.plan()) == NOTHING


# Nothing of a trial is left: neither its folder nor its timer.
TRIAL_LEFT = "ls -d /run/groundwork-firewall 2>/dev/null; systemctl list-timers | grep -c groundwork-firewall"
BLOCKED = "table inet groundwork\\ndelete table inet groundwork\\ntable inet groundwork { chain input { type filter "
BLOCKED += "hook input priority 0; policy drop; ct state established accept; }; }\\n"


def test_a_controller_that_dies_leaves_hosts_that_come_back(stage: Stage) -> None:
    stage.run("data", f"printf '{BLOCKED}' | base64 -w0 | {SWITCH} try 20")
    assert stage.reach("app", "data", 6379) == "filtered"
    deadline = time.monotonic() + 60
    while stage.reach("app", "data", 6379) != "open":
        assert time.monotonic() < deadline
    assert stage.run("data", TRIAL_LEFT) == "0"
    assert changed(stage.plan()) == NOTHING


def test_a_run_takes_over_a_trial_that_another_left(stage: Stage) -> None:
    # The declared rules, loaded and never confirmed: without this run they would be gone again.
    stage.run("data", "nft delete table inet groundwork")
    stage.run("data", f"base64 -w0 {RULES} | {SWITCH} try 120")
    assert changed(stage.plan())["data"] == ["Put the rules into effect"]
    assert failures(stage.apply()) == []
    assert stage.run("data", TRIAL_LEFT) == "0"
    assert changed(stage.plan()) == NOTHING


def test_openings_come_first_and_close_nothing(stage: Stage) -> None:
    opening = {"hosts": "data", "networks": ["0.0.0.0/0"], "port": 7777, "reason": "tried by a test"}
    stage.manifest["firewall"] = {"openings": {"trial": opening}}
    assert failures(stage.apply()) == []
    assert stage.reach("app", "data", 7777) == "open"
    del stage.manifest["firewall"]
    stage.manifest["services"]["redis"]["port"] = 7778
    assert changed(stage.apply(OPEN)) == {"app": [], "data": ["Open what the flows need"]}
    stage.listen("data", 7778)
    assert {port: stage.reach("app", "data", port) for port in (6379, 7777, 7778)} == dict.fromkeys(
        (6379, 7777, 7778), "open"
    )
    assert failures(stage.apply()) == []
    found = {port: stage.reach("app", "data", port) for port in (6379, 7777, 7778)}
    assert found == {6379: "filtered", 7777: "filtered", 7778: "open"}
    stage.reset()
    assert failures(stage.apply()) == []


# Connects at once and asks only when told to: an answer means that the connection lived until then.
TALK = """cat > /run/talk.py <<'END'
import os, socket, time
stream = socket.create_connection(("{address}", 7777))
open("/run/talk.connected", "w").close()
while not os.path.exists("/run/talk.go"):
    time.sleep(0.2)
stream.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
open("/run/talk.answer", "wb").write(stream.recv(100))
END
rm -f /run/talk.[acg]*; systemd-run -q --collect --unit=talk /usr/bin/python3 /run/talk.py
for turn in 1 2 3 4 5 6 7 8 9; do test -e /run/talk.connected && break; sleep 1; done"""


def test_connections_that_exist_survive_closing_their_port(stage: Stage) -> None:
    opening = {"hosts": "data", "networks": ["0.0.0.0/0"], "port": 7777, "reason": "tried by a test"}
    stage.manifest["firewall"] = {"openings": {"trial": opening}}
    assert failures(stage.apply()) == []
    stage.run("app", TALK.format(address=stage.address("data")))
    del stage.manifest["firewall"]
    assert failures(stage.apply()) == []
    assert stage.reach("app", "data", 7777) == "filtered"
    assert stage.run("app", "touch /run/talk.go; sleep 3; cat /run/talk.answer").startswith("HTTP/1.0 200")


def test_tables_of_others_stay_and_published_ports_are_closed(stage: Stage) -> None:
    # What a container engine does: a network of its own, and a port of the host that leads into it.
    inner = "ip netns exec box"
    steps = [
        "ip netns add box && ip link add outer type veth peer name inner netns box",
        "ip addr add 172.31.9.1/24 dev outer && ip link set outer up",
        f"{inner} ip addr add 172.31.9.2/24 dev inner && {inner} ip link set inner up",
        f"{inner} ip route add default via 172.31.9.1 && sysctl -qw net.ipv4.ip_forward=1",
        "systemd-run -q --collect --unit=boxed ip netns exec box python3 -m http.server --directory /var/empty 80",
        "nft add table ip engine && nft add chain ip engine pre '{ type nat hook prerouting priority dstnat; }'",
        "nft add rule ip engine pre fib daddr type local tcp dport 7780 dnat to 172.31.9.2:80",
    ]
    for step in steps:
        stage.run("data", step)
    before = stage.run("data", "nft list table ip engine")
    assert "dnat to 172.31.9.2:80" in before
    assert stage.reach("app", "data", 7780) == "filtered"
    opening = {"hosts": "data", "networks": [stage.address("app")], "port": 7780, "reason": "tried by a test"}
    stage.manifest["firewall"] = {"openings": {"trial": opening}}
    assert failures(stage.apply()) == []
    assert stage.reach("app", "data", 7780) == "open"
    assert stage.run("data", "nft list table ip engine") == before
    stage.run("data", "systemctl stop boxed; nft delete table ip engine; ip netns delete box")
    stage.reset()
    assert failures(stage.apply()) == []


def test_outbound_is_denied_where_declared(stage: Stage) -> None:
    mirrors = {"networks": ["0.0.0.0/0"], "ports": [80, 443], "reason": "package mirrors"}
    stage.manifest["firewall"] = {"outbound": "deny", "destinations": {"mirrors": mirrors}}
    assert failures(stage.apply()) == []
    gateway = stage.run("data", "ip -4 route show default | cut -d' ' -f3")
    refused = stage.run("data", TRY.format(address=gateway, port=22))
    assert refused == "filtered"
    assert stage.reach("app", "data", 6379) == "open"
    assert stage.run("data", "apt-get update >/dev/null 2>&1 && echo works") == "works"
    assert changed(stage.plan()) == NOTHING
    stage.reset()
    assert failures(stage.apply()) == []


@pytest.mark.parametrize(
    "act", ["systemctl restart nftables", "nft flush ruleset; systemctl restart groundwork-firewall"]
)
def test_the_rules_come_back_with_their_unit(stage: Stage, act: str) -> None:
    stage.run("data", act)
    assert stage.reach("app", "data", 7777) == "filtered"
    assert stage.reach("app", "data", 6379) == "open"
    stage.run("data", "systemctl stop nftables; systemctl start groundwork-firewall")
    assert changed(stage.plan()) == NOTHING


def test_controllers_without_us_are_refused_before_anything_changes(stage: Stage) -> None:
    before = stage.run("data", "nft -s list ruleset")
    stage.set_data(controllers=["192.0.2.0/24"])
    reasons = failures(stage.apply())
    assert len(reasons) == 2
    assert all("this run comes from an address that is none of the controllers" in reason for reason in reasons)
    assert stage.run("data", "nft -s list ruleset") == before


def test_another_platforms_firewall_is_not_taken_over(stage: Stage) -> None:
    ledger = "/var/lib/groundwork/ledger/firewall-other.json"
    stage.run("data", f"touch {ledger}")
    assert ["belongs to the platform other" in reason for reason in failures(stage.apply())] == [True]
    stage.run("data", f"rm {ledger}")


def test_hosts_that_are_not_managed_lose_ours_and_keep_others(stage: Stage) -> None:
    stage.run("data", "nft add table inet own")
    stage.set_data(firewall_managed=False)
    assert failures(stage.apply()) == []
    assert stage.run("data", "nft list tables") == "table inet own"
    left = stage.run("data", "ls /etc/groundwork/chorus /usr/local/lib/groundwork/chorus /var/lib/groundwork/ledger")
    assert "firewall" not in left
    assert stage.run("data", "systemctl is-enabled groundwork-firewall 2>&1") == "not-found"
    assert stage.reach("app", "data", 7777) == "open"
    assert changed(stage.plan()) == NOTHING
    stage.run("data", "nft delete table inet own")
    stage.reset()
    assert failures(stage.apply()) == []
    assert stage.reach("app", "data", 7777) == "filtered"
