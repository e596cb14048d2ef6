"""What is asked of hosts and how the answers are judged; the script itself runs in a real shell."""

from __future__ import annotations

import subprocess
import time

import pytest

from groundwork.preflight.findings import Finding, Severity, Status
from groundwork.preflight.network import PortUse, check_ports, parse_listeners
from groundwork.preflight.questions import Answers, build_script, parse_answers
from groundwork.preflight.run import Gathered, check_host, host_script, preflight
from groundwork.preflight.versions import check_version, parse_version
from tests.unit.preflight.projects import Project

GOOD = {
    "user": "0",
    "release": "debian trixie 13",
    "architecture": "amd64",
    "kernel": "6.12.0",
    "cores": "2",
    "memory": "1000000",
    "space": "overlay 20000000000 1 15000000000 1% /\ntmpfs 1000 1 999 1% /tmp",
    "inodes": "overlay 1000 1 999 1% /",
    "init": "systemd",
    "systemd": "257",
    "cgroup": "cgroup2fs",
    "namespaces": "100",
    "sources": "http://deb.example/debian/ deb.example:80 resolved open",
    "listening": "tcp 192.0.2.2:6379 redis-server@chorus-redis-1.service redis-server\ntcp 0.0.0.0:22 ssh.service sshd",
    "version_redis-server": "5:8.0.2-3\n5:8.0.2-3",
    "redis_overcommit": "1",
    "firewall_kernel": "yes",
    "backup_data": "100000000",
    "backup_room_0": "overlay 20000000000 1 15000000000 1% /",
}


def ask(questions: dict[str, str]) -> Answers:
    done = subprocess.run(["sh", "-s"], input=build_script(questions), capture_output=True, text=True, check=True)
    return parse_answers("Welcome to this host\n" + done.stdout)


def test_every_question_is_answered_by_itself() -> None:
    hard = "printf 'two\\nlines with \"quotes\" and \\047apostrophes\\047'; exit 3"
    answers = ask({"hard": hard, "silent": ":", "broken": "(((", "number": "echo 42", "noise": "echo x >&2"})
    assert answers.lines("hard") == ["two", "lines with \"quotes\" and 'apostrophes'"]
    assert answers.statuses["hard"] == 3
    assert answers.ok("silent")
    assert answers.text("silent") == answers.text("noise") == answers.text("never asked") == ""
    assert not answers.ok("broken")
    assert answers.number("number") == 42
    assert answers.number("hard") == 0


def test_a_question_that_hangs_does_not_hold_up_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    script = build_script({"hangs": "sleep 60", "next": "echo here"}).replace("timeout 10", "timeout 1")
    started = time.monotonic()
    done = subprocess.run(["sh", "-s"], input=script, capture_output=True, text=True, check=True)
    assert time.monotonic() - started < 30
    answers = parse_answers(done.stdout)
    assert answers.statuses == {"hangs": 124, "next": 0}


def test_the_script_of_a_host_is_shell_that_writes_nothing(project: Project) -> None:
    script = host_script(project.load(), "app")
    subprocess.run(["sh", "-n"], input=script, text=True, check=True)
    words = (" rm ", " mv ", "install ", "apt-get update", "mkdir", "sed -i", "tee ")
    assert [word for word in words if word in script] == []
    targets = {part.split()[0].strip("\"';)") for part in script.split(">")[1:] if part.split()}
    assert targets <= {"/dev/null", "&2", "&1"}, targets


def judged(project: Project, **changes: str) -> dict[str, Finding]:
    texts = GOOD | changes
    now = time.time()
    texts.setdefault("time", f"{now:.3f}")
    answers = Answers(texts, dict.fromkeys(texts, 0) | {"base_zone": 0})
    findings = check_host(project.load(), "data", Gathered(answers, now, now + 0.1))
    return {finding.id: finding for finding in findings if finding.status is Status.FAILED}


def test_a_good_host_passes(project: Project) -> None:
    assert judged(project) == {}


@pytest.mark.parametrize(
    ("changes", "check"),
    [
        ({"user": "1000"}, "host.root"),
        ({"release": "ubuntu noble 24.04"}, "host.release"),
        ({"release": "debian bullseye 11"}, "host.release"),
        ({"architecture": "i386"}, "host.architecture"),
        ({"init": "tini"}, "host.systemd"),
        ({"systemd": "247"}, "host.systemd"),
        ({"failed_units": "cron.service"}, "host.units"),
        ({"packages": "The following packages are only half configured"}, "host.packages"),
        ({"cgroup": "tmpfs"}, "host.kernel"),
        ({"namespaces": "0"}, "host.namespaces"),
        ({"cores": "1"}, "machine.cores"),
        ({"memory": "400000"}, "machine.memory"),
        ({"memory": "400000"}, "capacity.real_memory"),
        ({"space": "overlay 5000000000 1 4000000000 1% /"}, "machine.disk"),
        ({"space": "overlay 20000000000 1 100000000 99% /"}, "host.space"),
        ({"space": "overlay 20000000000 1 100000000 99% /"}, "capacity.disk"),
        ({"inodes": "overlay 1000 999 1 99% /"}, "host.inodes"),
        ({"time": "1000000000.0"}, "host.clock"),
        ({"sources": "http://deb.example/debian/ deb.example:80 unknown closed"}, "network.dns"),
        ({"sources": "http://deb.example/debian/ deb.example:80 resolved closed"}, "network.sources"),
        ({"sources": ""}, "network.sources"),
        ({"routes": "192.0.2.1"}, "network.routes"),
        ({"listening": "tcp 0.0.0.0:6379 - nc"}, "network.ports"),
        ({"version_redis-server": "(none)\n5:5.0.14-1"}, "redis.version"),
        ({"version_redis-server": ""}, "redis.version"),
        ({"backup_room_0": "overlay 20000000000 1 50000000 1% /"}, "backup.room"),
        ({"base_lock": "1: FLOCK  ADVISORY  WRITE 5 08:01:77 0 EOF"}, "base.apt_lock"),
        ({"firewall_others": "ufw.service"}, "firewall.rivals"),
        ({"firewall_kernel": "no"}, "firewall.kernel"),
    ],
)
def test_each_fault_of_a_host_is_found(project: Project, changes: dict[str, str], check: str) -> None:
    found = judged(project, **changes)
    assert check in found
    assert found[check].remedy
    assert found[check].evidence


def test_a_bare_host_is_not_blamed_for_what_an_apply_brings(project: Project) -> None:
    bare = {"version_redis-server": "", "package_lists": "0", "firewall_kernel": "unknown", "redis_overcommit": "0"}
    assert judged(project, **bare) == {}


def test_gpus_are_counted(project: Project) -> None:
    project.manifest["machines"]["data"]["gpus"] = [{"model": "NVIDIA H100", "count": 2}]
    assert "host.gpu" in judged(project, gpus="0000:01:00.0", gpu_driver="NVIDIA H100, 570.1")
    assert "host.gpu" not in judged(project, gpus="0000:01:00.0\n0000:02:00.0")


def test_ports_collide_only_where_they_meet() -> None:
    lines = ["tcp 127.0.0.1:80 - other", "tcp [::]:443 nginx.service nginx", "udp 0.0.0.0:53 - named", "nonsense"]
    assert len(parse_listeners(lines)) == 3
    answers = Answers({"listening": "\n".join(lines)}, {"listening": 0})

    def held(port: int, address: str = "", protocol: str = "tcp") -> bool:
        use = PortUse(port, ("nginx.service",), "site", address, protocol)
        return next(iter(check_ports("app", answers, [use]))).status is Status.FAILED

    assert not held(443)
    assert held(80)
    assert not held(80, "192.0.2.1")
    assert not held(53)
    assert held(53, "192.0.2.1", "udp")
    unknown = Answers({"listening": ""}, {"listening": 3})
    assert [one.status for one in check_ports("app", unknown, [])] == [Status.SKIPPED]


def test_versions_are_compared_by_number() -> None:
    assert parse_version("8.0.2-3+deb13u1") == (8, 0, 2)
    assert parse_version("none") == ()
    answers = Answers({"version_x": "(none)\n1:10.2-1"}, {})
    assert check_version("x.version", "app", answers, "x", "9.9", "key").status is Status.PASSED
    assert check_version("x.version", "app", answers, "x", "10.3", "key").status is Status.FAILED


def test_a_host_that_cannot_be_reached_is_a_finding(project: Project) -> None:
    project.data |= {"ssh_hostname": "127.0.0.1", "ssh_port": 1, "ssh_user": "nobody"}
    result = preflight(project.complete())
    unreachable = [one for one in result.failed(Severity.ERROR) if one.id == "host.reachable"]
    assert [one.host for one in unreachable] == ["app", "data"]
    assert result.exit_code() == 2
