"""A run that is killed at any moment is completed by the next one."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from site_lab import NOTHING, SiteLab, describe

# Takes away what the slow operations lay down, so that a killed run has work from its first to its last operation;
# packages stay, since fetching them again ten times would cost an hour. Data folders and accounts stay, as the
# roles leave them.
RESET = """
systemctl stop 'chorus*' 'groundwork*' nginx 'redis-server@*' --all
rm -rf /opt/groundwork /etc/groundwork /usr/local/lib/groundwork /var/lib/groundwork 
rm -rf /etc/systemd/system/chorus* /etc/systemd/system/groundwork* /etc/systemd/system/nginx.service.d
rm -rf /etc/systemd/system/redis-server@*.d /etc/redis/*chorus* /etc/systemd/journald.conf.d/*groundwork*
rm -f /etc/apt/apt.conf.d/*groundwork* /etc/sysctl.d/*groundwork*
systemctl disable nginx; systemctl daemon-reload
dpkg --force-depends -r unattended-upgrades >/dev/null 2>&1
"""
SEED = int(os.environ.get("GROUNDWORK_TEST_SEED") or datetime.now(UTC).timetuple().tm_yday)
POINTS = 10
# Of the operations on fresh hosts; fetching packages alone takes longer on any machine.
FIRST_SECONDS = 15.0
QUICK = 3


def choose_points(count: int, seed: int) -> list[float]:
    """Moments, as shares of a whole run: one at random in each of ``count`` equal parts, so that none is left out."""
    generator = random.Random(seed)
    points = [(part + generator.random()) / count for part in range(count)]
    generator.shuffle(points)
    return points


def kill_at(site: SiteLab, seconds: float, output: Path) -> str:
    """Start an apply and kill its process group so many seconds after its first operation began; returns the last
    line it printed. (Before that it only reads.)"""
    process = site.start_apply(output)
    deadline = time.monotonic() + 300
    while "\nexecute: " not in output.read_text(errors="replace"):
        assert process.poll() is None and time.monotonic() < deadline, output.read_text(errors="replace")
        time.sleep(0.05)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(seconds)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    # The worker has a session of its own; it ends by itself when its parent is gone.
    deadline = time.monotonic() + 10
    while workers := list_workers(site):
        assert time.monotonic() < deadline, f"the worker outlives its parent: {workers}"
        time.sleep(0.1)
    return output.read_text(errors="replace").splitlines()[-1]


def measure(site: SiteLab) -> float:
    """How many seconds the operations of a whole run on reset hosts take."""
    done = site.groundwork("apply", "lab", "--json")
    assert done.returncode == 0, describe(done)
    return float(json.loads(done.stdout)["stage_seconds"]["execute"])


def list_workers(site: SiteLab) -> list[int]:
    """Processes that work on this lab now."""
    mine = f"GROUNDWORK_ROOT={site.project}".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mine in (folder / "environ").read_bytes() and b"engine.worker" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def reset_hosts(site: SiteLab) -> None:
    for host in NOTHING:
        site.run(host, RESET)


def test_killed_runs_are_completed_by_the_next(
    site_lab: SiteLab, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    everything = bool(os.environ.get("GROUNDWORK_TEST_ALL"))
    points = choose_points(POINTS if everything else QUICK, SEED)
    print(f"seed {SEED} (GROUNDWORK_TEST_SEED repeats it): killed at {[f'{point:.0%}' for point in points]} of a run")
    record_property("seed", SEED)
    site_lab.reset()
    site_lab.make_secrets()
    site_lab.renew()
    # Fresh hosts for the first: packages too. How long a run on reset hosts is, is measured after it.
    whole = FIRST_SECONDS
    for number, point in enumerate(points):
        if number:
            reset_hosts(site_lab)
            assert min(len(changes) for changes in site_lab.plan().values()) > 10
        output = tmp_path / f"killed-{number}.log"
        last = kill_at(site_lab, point * whole, output)
        changed = len(re.findall(r"\(changed\)$", output.read_text(errors="replace"), re.MULTILINE))
        print(f"{number}: killed {point * whole:.1f} s into the operations and after {changed} changes, at: {last}")
        assert any(site_lab.plan().values())
        site_lab.apply()
        assert site_lab.plan() == NOTHING
        if number in (0, len(points) - 1):
            assert site_lab.verify() == []
        if number == 0:
            reset_hosts(site_lab)
            # A margin, so that a run that is quicker than the measured one is still killed.
            whole = 0.9 * measure(site_lab)
            print(f"the operations of a run on reset hosts take {whole / 0.9:.1f} s")
