"""A run that is killed at any moment is completed by the next one."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from site_lab import NOTHING, SiteLab

# Takes away what the slow operations lay down, so that a killed run has work from its first to its last operation;
# packages stay, since fetching them again ten times would cost an hour. Data folders and accounts stay, as the
# roles leave them.
RESET = """
systemctl stop 'chorus*' 'groundwork*' nginx 'redis-server@*' --all
rm -rf /opt/groundwork /etc/groundwork /usr/local/lib/groundwork /var/lib/groundwork /srv/www /srv/groundwork
rm -rf /etc/systemd/system/chorus* /etc/systemd/system/groundwork* /etc/systemd/system/nginx.service.d
rm -rf /etc/systemd/system/redis-server@*.d /etc/redis/*chorus* /etc/systemd/journald.conf.d/*groundwork*
rm -f /etc/apt/apt.conf.d/*groundwork* /etc/sysctl.d/*groundwork*
systemctl disable nginx; systemctl daemon-reload
dpkg --force-depends -r unattended-upgrades >/dev/null 2>&1
"""
SEED = int(os.environ.get("GROUNDWORK_TEST_SEED") or datetime.now(UTC).timetuple().tm_yday)
POINTS = 10
QUICK = 3


def choose_points(count: int, seed: int) -> list[float]:
    """Moments, as shares of a whole run: one at random in each of ``count`` equal parts, so that none is left out."""
    generator = random.Random(seed)
    points = [(part + generator.random()) / count for part in range(count)]
    generator.shuffle(points)
    return points


def kill_at(site: SiteLab, seconds: float, output: Path) -> str:
    """Start an apply, kill its process group and its worker's after so many seconds; returns its last line."""
    process = site.start_apply(output)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(seconds)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    # The worker has a session of its own; it ends by itself when its parent is gone.
    deadline = time.monotonic() + 10
    while workers := list_workers(site):
        assert time.monotonic() < deadline, f"the worker outlives its parent: {workers}"
        time.sleep(0.1)
    lines = output.read_text(errors="replace").splitlines()
    return lines[-1] if lines else "nothing was printed yet"


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
    site_lab: SiteLab, tmp_path: Path, record_property: pytest.RecordProperty
) -> None:
    everything = bool(os.environ.get("GROUNDWORK_TEST_ALL"))
    points = choose_points(POINTS if everything else QUICK, SEED)
    print(f"seed {SEED} (GROUNDWORK_TEST_SEED repeats it): killed at {[f'{point:.0%}' for point in points]} of a run")
    record_property("seed", SEED)
    site_lab.reset()
    site_lab.make_secrets()
    site_lab.renew()
    whole = 0.0
    for number, point in enumerate(points):
        # The first run is on fresh hosts: packages too. How long a run is, those before have shown.
        if number:
            reset_hosts(site_lab)
            assert min(len(changes) for changes in site_lab.plan().values()) > 10
        output = tmp_path / f"killed-{number}.log"
        seconds = 2 + point * (whole or 40.0)
        last = kill_at(site_lab, seconds, output)
        changed = len(re.findall(r"\(changed\)$", output.read_text(errors="replace"), re.MULTILINE))
        print(f"{number}: killed after {seconds:.1f} s and {changed} changes, at: {last}")
        site_lab.apply()
        assert site_lab.plan() == NOTHING
        if number in (0, len(points) - 1):
            assert site_lab.verify() == []
        if number == 0 and len(points) > 1:
            reset_hosts(site_lab)
            started = time.monotonic()
            site_lab.apply()
            whole = time.monotonic() - started
            print(f"a whole run takes {whole:.1f} s")
