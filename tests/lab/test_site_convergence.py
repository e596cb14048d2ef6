"""The whole site on real hosts: from nothing to verified, and quiet ever after, with the command and without."""

from __future__ import annotations

import json
import re

import pytest
from site_lab import HOSTS, NOTHING, SiteLab

from groundwork.lab.lifecycle import remove_lab


def count_changes(output: str) -> dict[str, str]:
    """What plain pyinfra's last table says would change, by operation."""
    rows = re.findall(r"^ {4}(\S.*? \| .*?) {2,}(\S.*)$", output, re.MULTILINE)
    assert len(rows) > 20, output[-2000:]
    return {name: cells for name, cells in rows if cells.split()[0] != "-"}


def test_one_command_brings_it_up_from_nothing(site_lab: SiteLab) -> None:
    remove_lab(site_lab.name)
    done = site_lab.groundwork("lab", "up", "--name", site_lab.name, "--release", site_lab.release, "--json")
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    result = json.loads(done.stdout)
    print(result["phases"])
    assert {"image", "hosts", "secrets", "apply", "verify"} <= set(result["phases"])
    outcome = result["outcome"]
    assert (outcome["failed"], outcome["problems"]) == (0, [])
    assert outcome["passed"] > 50
    assert min(outcome["changed"][host] for host in HOSTS) > 10


def test_a_second_run_changes_nothing_anywhere(site_lab: SiteLab) -> None:
    assert site_lab.apply() == NOTHING
    done = site_lab.groundwork("plan", "lab")
    assert done.returncode == 0, done.stdout
    assert "2 hosts, 0 operations would change" in done.stdout
    assert site_lab.verify() == []


@pytest.mark.slow
def test_lab_up_again_says_so_in_its_table(site_lab: SiteLab) -> None:
    done = site_lab.groundwork("lab", "up", "--name", site_lab.name)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    for host in HOSTS:
        row = next(line for line in done.stdout.splitlines() if line.startswith("│") and f" {host} " in line)
        assert "kept" in row
        assert " 0 " in row
    assert "https://" in done.stdout


def test_plain_pyinfra_plans_without_the_command(site_lab: SiteLab) -> None:
    for options in (["--dry"], ["--dry", "--diff", "--limit", "app"]):
        done = site_lab.pyinfra(*options)
        assert done.returncode == 0, done.stderr
        assert count_changes(done.stdout + done.stderr) == {}
        assert ("[data]" in done.stdout + done.stderr) == ("--limit" not in options)


def test_plain_pyinfra_runs_without_the_command(site_lab: SiteLab) -> None:
    done = site_lab.pyinfra("--diff", "-y", "--limit", "app")
    assert done.returncode == 0, done.stderr
    total = re.search(r"Grand total +(\S+) +(\S+) +(\S+) +(\S+)", done.stdout + done.stderr)
    assert total is not None, done.stdout + done.stderr
    operations, changed, failed, unchanged = total.groups()
    assert (changed, failed) == ("-", "-")
    assert int(operations) == int(unchanged) > 20
