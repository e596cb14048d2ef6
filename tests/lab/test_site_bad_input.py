"""Hosts that refuse, hang, are full or are not what was declared, and packages and values that only a host can judge:
the others go on, the error is one and clear, and once the cause is gone the next run finishes the work."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from site_lab import NOTHING, SiteLab

# Work for each host, so that "the others go on" can be seen.
WORK = {
    "app": ("rm -f /etc/apt/apt.conf.d/51-groundwork-defaults", "cat /etc/apt/apt.conf.d/51-groundwork-defaults"),
    "data": (
        "rm -f /etc/apt/apt.conf.d/51-groundwork-defaults /usr/local/lib/groundwork/chorus/redis-try "
        "/usr/local/lib/groundwork/chorus/redis-reload",
        "cat /etc/apt/apt.conf.d/51-groundwork-defaults",
    ),
}


@pytest.fixture
def site(site_lab: SiteLab) -> Iterator[SiteLab]:
    """The site as declared, and as declared again in the end."""
    site_lab.reset()
    site_lab.make_secrets()
    site_lab.apply()
    yield site_lab
    site_lab.reset()
    assert NOTHING.keys() == site_lab.apply().keys()
    assert site_lab.plan() == NOTHING


def give_work(site: SiteLab, *hosts: str) -> None:
    for host in hosts:
        site.run(host, WORK[host][0])


def has_done_its_work(site: SiteLab, host: str) -> bool:
    return site.run(host, WORK[host][1]) != ""


def apply_and_fail(site: SiteLab, host: str, seconds: float) -> str:
    """Apply; exactly ``host`` must fail, within so many seconds. Returns why."""
    started = time.monotonic()
    done = site.groundwork("apply", "lab")
    took = time.monotonic() - started
    print(done.stdout[-1500:])
    assert done.returncode == 1, done.stdout + done.stderr
    assert took < seconds
    assert f"retry the failed hosts with: groundwork apply lab --limit {host}\n" in done.stdout
    reasons = [line for line in done.stdout.splitlines() if line.startswith(f"{host} failed (")]
    assert len(reasons) == 1
    assert "Traceback" not in done.stdout + done.stderr
    return done.stdout[done.stdout.index(reasons[0]) :]


def retry(site: SiteLab, host: str) -> None:
    done = site.groundwork("apply", "lab", "--limit", host, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert site.plan() == NOTHING


def test_a_host_that_refuses_ssh(site: SiteLab) -> None:
    give_work(site, "app", "data")
    site.container("data").exec_run(["systemctl", "stop", "ssh.socket", "ssh.service"])
    try:
        reason = apply_and_fail(site, "data", 180)
        assert has_done_its_work(site, "app")
    finally:
        site.container("data").exec_run(["systemctl", "start", "ssh.service"])
    assert reason.startswith("data failed (connect): ")
    assert "refused" in reason.lower() or "could not connect" in reason.lower() or "unable to connect" in reason.lower()
    retry(site, "data")


def test_a_host_that_does_not_answer(site: SiteLab) -> None:
    give_work(site, "app", "data")
    site.container("data").pause()
    try:
        reason = apply_and_fail(site, "data", 180)
        assert has_done_its_work(site, "app")
    finally:
        site.container("data").unpause()
    assert reason.startswith("data failed (connect): ")
    retry(site, "data")


def test_a_host_that_falls_silent_in_the_middle(site: SiteLab, tmp_path: Path) -> None:
    give_work(site, "app", "data")
    output = tmp_path / "apply.log"
    process = site.start_apply(output)
    try:
        deadline = time.monotonic() + 120
        while "data: Prepare the host | Set apt's defaults (changed)" not in output.read_text():
            assert process.poll() is None and time.monotonic() < deadline, output.read_text()
            time.sleep(0.05)
        site.container("data").pause()
        started = time.monotonic()
        assert process.wait(180) == 1
        print(f"given up after {time.monotonic() - started:.0f} s")
    finally:
        process.kill()
        site.container("data").unpause()
    said = output.read_text()
    assert "data failed (execute): " in said
    assert "no sign of life for 60 s" in said
    assert "--limit data\n" in said
    assert has_done_its_work(site, "app")
    retry(site, "data")


def test_another_release_than_declared(site: SiteLab) -> None:
    give_work(site, "app", "data")
    other = {"trixie": "bookworm", "bookworm": "trixie"}[site.release]
    lines = "from groundwork.lab.inventory import load_groups\n\ngroups = load_groups()\n"
    site.write_inventory(f"{lines}groups['data'][0][1]['release'] = {other!r}\nglobals().update(groups)\n")
    reason = apply_and_fail(site, "data", 180)
    assert f"given: {site.release}" in reason or f"given {site.release}" in reason
    assert other in reason.splitlines()[0]
    assert has_done_its_work(site, "app")
    assert not has_done_its_work(site, "data")


def test_a_full_disk(site: SiteLab) -> None:
    give_work(site, "data")
    running = site.run("app", "systemctl show --property=MainPID --value 'chorus-agent-predictor@1'")
    site.run("app", "mount -t tmpfs -o size=1m full /opt/groundwork")
    try:
        reason = apply_and_fail(site, "app", 300)
    finally:
        site.run("app", "umount -l /opt/groundwork")
    assert "No space left on device" in reason
    assert has_done_its_work(site, "data")
    assert site.run("app", "systemctl show --property=MainPID --value 'chorus-agent-predictor@1'") == running
    retry(site, "app")
    assert site.run("app", "findmnt -n /opt/groundwork") == ""


def test_a_disk_that_is_full_everywhere(site: SiteLab) -> None:
    """Not even a candidate of a small file fits."""
    give_work(site, "app", "data")
    for folder in ("/etc/apt/apt.conf.d", "/usr/local/lib/groundwork/chorus"):
        site.run("data", f"mount -t tmpfs -o size=4k,nr_inodes=3 full {folder}; head -c 8192 /dev/zero > {folder}/full")
    try:
        reason = apply_and_fail(site, "data", 180)
    finally:
        for folder in ("/etc/apt/apt.conf.d", "/usr/local/lib/groundwork/chorus"):
            site.run("data", f"umount -l {folder}")
    assert "No space left on device" in reason
    assert has_done_its_work(site, "app")
    retry(site, "data")


@pytest.fixture
def mark(site: SiteLab) -> str:
    """A command that lists what has changed on app since now."""
    site.run("app", "touch /run/mark")
    return "find /etc/groundwork /opt/groundwork /etc/systemd/system -newer /run/mark | head"


def test_a_corrupt_wheel(site: SiteLab, mark: str) -> None:
    wheel = site.project / "platforms/agent_runtime-0.9.0-py3-none-any.whl"
    wheel.write_bytes(b"PK\x03\x04 not a wheel")
    site.manifest["runtime"]["package"] = {"wheel": wheel.name}
    site.declare()
    done = site.groundwork("apply", "lab", "--json")
    assert done.returncode == 1
    assert wheel.name in done.stdout
    assert done.stdout.count("the wheel cannot be used") == 1
    assert site.run("app", mark) == ""


def test_a_value_that_only_the_host_can_judge(site: SiteLab, mark: str) -> None:
    configuration = site.manifest["groups"]["prediction"]["configuration"]
    # With its schema it is refused before a host is asked.
    configuration["values"]["TRUST_INITIAL"] = 900
    site.declare()
    done = site.groundwork("apply", "lab")
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1
    assert "TRUST_INITIAL" in done.stderr
    del configuration["schema"]
    site.declare()
    reason = apply_and_fail(site, "app", 180)
    assert "TRUST_INITIAL: given 900; allowed: a number from 0 to 100" in reason
    assert site.run("app", "cat /etc/groundwork/chorus/prediction.env").count("TRUST_INITIAL=100") == 1


def test_nothing_is_contacted_for_a_mistake_in_the_manifest(site: SiteLab) -> None:
    """Every host hangs, and the answer is there at once all the same."""
    site.manifest["groups"]["prediction"]["hosts"] = "nowhere"
    site.declare()
    for host in NOTHING:
        site.container(host).pause()
    try:
        for command in ("validate", "plan", "apply", "verify"):
            started = time.monotonic()
            done = site.groundwork(command, "lab")
            assert time.monotonic() - started < 10
            check_refusal(done)
    finally:
        for host in NOTHING:
            site.container(host).unpause()


def check_refusal(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 1
    assert done.stdout == "" or json.loads(done.stdout)["problems"]
    assert all(line.startswith("error: platforms/chorus.yaml:") for line in done.stderr.splitlines()), done.stderr
    assert "nowhere" in done.stderr
