"""A run that is killed at any moment is completed by the next one."""

from __future__ import annotations

import os
import random
import re
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from site_lab import NOTHING, SiteLab

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
# A plan of fresh hosts lists more than is changed, because later operations see what earlier ones did.
FIRST_SHARE = 0.5
MARGIN = 0.95
QUICK = 3


def choose_points(count: int, seed: int) -> list[float]:
    """Shares of a whole run: one at random in each of ``count`` equal parts, so that none is left out."""
    generator = random.Random(seed)
    points = [(part + generator.random()) / count for part in range(count)]
    generator.shuffle(points)
    return points


def kill_after(site: SiteLab, changes: int, part: float, output: Path) -> str:
    """Start an apply and kill its process group when so many operations have changed something, and ``part`` of the
    time that one took on average later; returns the last line it printed.

    Counted, not timed, so that how busy the machine is does not move the point.
    """
    process = site.start_apply(output)
    began = None
    deadline = time.monotonic() + 1200
    while count_changes(output) < changes:
        assert process.poll() is None and time.monotonic() < deadline, output.read_text(errors="replace")
        if began is None and "\nexecute: " in output.read_text(errors="replace"):
            began = time.monotonic()
        time.sleep(0.05)
    time.sleep(part * (time.monotonic() - (began or time.monotonic())) / changes)
    assert process.poll() is None, output.read_text(errors="replace")
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    # The worker has a session of its own; it ends by itself when its parent is gone.
    deadline = time.monotonic() + 10
    while workers := list_workers(site):
        assert time.monotonic() < deadline, f"the worker outlives its parent: {workers}"
        time.sleep(0.1)
    return output.read_text(errors="replace").splitlines()[-1]


def count_changes(output: Path) -> int:
    """How many operations have changed something, as a run says that is no terminal's."""
    return len(re.findall(r"\(changed\)$", output.read_text(errors="replace"), re.MULTILINE))


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
    parts = random.Random(SEED + 1)
    whole = 0.0
    for number, point in enumerate(points):
        # Fresh hosts for the first: packages too.
        if number:
            reset_hosts(site_lab)
        planned = [len(changes) for changes in site_lab.plan().values()]
        assert min(planned) > 10
        changes = max(1, int(point * (whole or FIRST_SHARE * sum(planned))))
        output = tmp_path / f"killed-{number}.log"
        last = kill_after(site_lab, changes, parts.random(), output)
        print(f"{number}: killed at {point:.0%}, after {count_changes(output)} changes, at: {last}")
        assert any(site_lab.plan().values())
        rest = sum(len(changed) for changed in site_lab.apply().values())
        assert site_lab.plan() == NOTHING
        if number in (0, len(points) - 1):
            assert site_lab.verify() == []
        if number == 0:
            # How many changes a run on reset hosts makes; the others are killed at a share of these.
            reset_hosts(site_lab)
            whole = MARGIN * sum(len(changed) for changed in site_lab.apply().values())
            print(f"the first run had {rest} left to change; one on reset hosts makes {whole / MARGIN:.0f} changes")
