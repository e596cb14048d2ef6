"""Every kind of drift that is done to hosts by hand is found, with its time; what is declared is mended by an apply."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from drifts import ALL, Drift
from site_lab import SiteLab
from test_site_drift import OPERATOR

from groundwork.preflight.questions import build_script, parse_answers

Finding = dict[str, Any]


@pytest.fixture(scope="module")
def drifting(site_lab: SiteLab) -> Iterator[SiteLab]:
    """The site as declared, with one operator, and baselines of its hosts."""
    site_lab.reset()
    site_lab.make_secrets()
    site_lab.host_data.update(OPERATOR)
    # A folder of this test's own: a baseline makes every apply of the tests after this one read the hosts twice.
    site_lab.host_data["state_folder"] = str(site_lab.project / "state")
    site_lab.write_inventory(INVENTORY)
    site_lab.declare()
    site_lab.apply()
    yield site_lab
    site_lab.reset()


# Host data of the inventory goes before group data; this test's state folder must win.
INVENTORY = """\
from groundwork.lab.inventory import load_groups

for _name, _hosts in load_groups().items():
    globals()[_name] = [(host, {key: data[key] for key in data if key != "state_folder"}) for host, data in _hosts]
"""


def look(site: SiteLab, *options: str, codes: tuple[int, ...] = (0, 2)) -> Finding:
    done = site.groundwork("drift", "lab", "--json", *options)
    assert done.returncode in codes, done.stdout[-3000:] + done.stderr[-3000:]
    document: Finding = json.loads(done.stdout)
    return document


def matching(report: Finding, drift: Drift) -> dict[str, Finding]:
    """The findings about one drift, by what found it."""
    words = drift.subject.replace("*", "").split("//") if "*" in drift.subject else [drift.subject]
    return {
        found["source"]: found
        for found in report["drifts"]
        if found["host"] == drift.host and any(word in found["subject"] for word in words)
    }


def probe(site: SiteLab) -> dict[Drift, str]:
    """The state of everything that drifts, with one connection to each host."""
    states: dict[Drift, str] = {}
    for host in ("app", "data"):
        own = {f"drift-{number}": drift for number, drift in enumerate(ALL) if drift.host == host}
        # What a host says comes back stripped, which an empty answer in the last line would not outlive.
        script = build_script({name: drift.probe for name, drift in own.items()} | {"last": "echo ."}, 60)
        answers = parse_answers(site.run(host, "sh -s", script))
        assert set(answers.texts) == {*own, "last"}
        states |= {drift: answers.text(name) for name, drift in own.items()}
    return states


def do(site: SiteLab, commands: dict[Drift, str]) -> None:
    """Run each drift's command, one after the other, with one connection to each host."""
    for host in ("app", "data"):
        lines = [
            f"( {command}\n) </dev/null >/dev/null 2>&1" for drift, command in commands.items() if drift.host == host
        ]
        site.run(host, "sh -s", "\n".join(lines))


def test_nothing_has_drifted_at_first(drifting: SiteLab) -> None:
    report = look(drifting)
    assert report["drifts"] == []
    assert set(report["baselines"].values()) == {report["time"]}
    assert look(drifting, "--quick", codes=(0,))["drifts"] == []


@pytest.mark.slow
def test_every_drift_is_found_and_what_is_declared_is_mended(drifting: SiteLab) -> None:
    before = probe(drifting)
    # What ends with its process goes first: the others stop it.
    running = [drift for drift in ALL if drift.running]
    do(drifting, {drift: drift.breaking for drift in running})
    early = look(drifting, codes=(2,))
    broken = {drift: state for drift, state in probe(drifting).items() if drift.running}
    drifting.apply()
    after = {drift: state for drift, state in probe(drifting).items() if drift.running}
    lasting = [drift for drift in ALL if not drift.running]
    do(drifting, {drift: drift.breaking for drift in lasting})
    broken = probe(drifting) | broken
    assert [drift.kind for drift in ALL if broken[drift] == before[drift]] == []

    first = look(drifting, codes=(2,))
    drifting.apply()
    second = look(drifting, codes=(2,))
    after = probe(drifting) | after
    do(drifting, {drift: drift.undo for drift in ALL if not drift.declared})
    third = look(drifting, "--quick")

    print("| drift | plan | verify | baseline | mended by an apply |")
    print("|---|---|---|---|---|")
    reports = {drift: early if drift.running else first for drift in ALL}
    for drift in ALL:
        found = matching(reports[drift], drift)
        ticks = ["yes" if source in found else "-" for source in ("plan", "verify", "baseline")]
        mended = ("yes" if after[drift] == before[drift] else "NO") if drift.declared else "not declared"
        print(f"| {drift.kind} | {' | '.join(ticks)} | {mended} |")
    assert len({drift.kind for drift in ALL}) >= 60
    assert [drift.kind for drift in ALL if not matching(reports[drift], drift)] == []
    assert [drift.kind for drift in ALL if drift.declared and after[drift] != before[drift]] == []
    assert [one for one in second["drifts"] if one["source"] != "baseline"] == []
    stays = [drift for drift in ALL if not drift.declared]
    assert [drift.kind for drift in stays if "baseline" not in matching(second, drift)] == []
    times = {one["first_seen"] for one in second["drifts"] if one["subject"].endswith("mallory")}
    assert times == {first["time"]}
    assert len(second["ended"]) > 30
    assert len(third["ended"]) > 30


def test_accepting_takes_the_hosts_for_right(drifting: SiteLab) -> None:
    drifting.run("data", "touch /usr/local/bin/wanted")
    assert [one["subject"] for one in look(drifting, "--quick", codes=(2,))["drifts"] if "wanted" in one["subject"]]
    assert drifting.groundwork("drift", "lab", "--accept").returncode == 0
    assert look(drifting, "--quick", codes=(0,))["drifts"] == []
    drifting.run("data", "rm /usr/local/bin/wanted")
    found = look(drifting, "--quick", "--limit", "data", codes=(2,))["drifts"]
    assert [(one["subject"], one["now"]) for one in found] == [("/usr/local/bin/wanted", "absent")]


def test_the_audit_log_tells_who_did_it(drifting: SiteLab) -> None:
    """auditd needs a kernel of its own: its log is laid down as the kernel writes it, and read by the real ausearch."""
    drifting.run("app", "DEBIAN_FRONTEND=noninteractive apt-get -q -y install auditd")
    drifting.run("app", "echo one > /etc/watched")
    assert drifting.groundwork("drift", "lab", "--accept", "--limit", "app").returncode == 0
    drifting.run("app", "echo two > /etc/watched")
    drifting.run(
        "app",
        "cat > /tmp/log; mkdir -p /var/log/audit; sed s/TIME/$(date +%s)/ /tmp/log > /var/log/audit/audit.log",
        AUDIT,
    )
    try:
        found = look(drifting, "--quick", "--limit", "app", codes=(2,))["drifts"]
        assert [one["subject"] for one in found] == ["/etc/watched"]
        (act,) = found[0]["by"]
        assert act.endswith("debian as root: opened-file with /usr/bin/tee")
    finally:
        drifting.run(
            "app", "rm -r /etc/watched /var/log/audit; DEBIAN_FRONTEND=noninteractive apt-get -q -y purge auditd"
        )


AUDIT = """\
type=SYSCALL msg=audit(TIME.123:501): arch=c000003e syscall=257 success=yes exit=3 a0=ffffff9c a1=55d a2=441 a3=1b6 \
items=2 ppid=900 pid=901 auid=1000 uid=0 gid=0 euid=0 suid=0 fsuid=0 egid=0 sgid=0 fsgid=0 tty=pts0 ses=3 comm="tee" \
exe="/usr/bin/tee" subj=unconfined key="watched"
type=CWD msg=audit(TIME.123:501): cwd="/root"
type=PATH msg=audit(TIME.123:501): item=0 name="/etc/" inode=131 dev=fd:01 mode=040755 ouid=0 ogid=0 rdev=00:00 \
nametype=PARENT cap_fp=0 cap_fi=0 cap_fe=0 cap_fver=0 cap_frootid=0
type=PATH msg=audit(TIME.123:501): item=1 name="/etc/watched" inode=132 dev=fd:01 mode=0100644 ouid=0 ogid=0 \
rdev=00:00 nametype=NORMAL cap_fp=0 cap_fi=0 cap_fe=0 cap_fver=0 cap_frootid=0
type=PROCTITLE msg=audit(TIME.123:501): proctitle=746565
"""
