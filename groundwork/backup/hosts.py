"""Calls the program that the role ``backup`` installed on hosts, and reads its answers."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from typing import Any

from groundwork.backup import layout
from groundwork.engine.asking import run_command
from groundwork.inventory import InventoryHost
from groundwork.problems import Problem, ProblemError
from groundwork.site import Site
from groundwork.topology.backups import Job

SILENCE = 6 * 3600.0
"""Seconds that a backup, a check or a restore may go without a word."""
MISSING = 127


def call(site: Site, host: str, words: Sequence[str], silence: float = SILENCE) -> list[dict[str, Any]]:
    """Run one verb on a host and return its answers, one for each item.

    Raises UnreachableError, and ProblemError where the program is not there, or said what is wrong.
    """
    platform = site.platform.platform
    command = shlex.join(layout.command(platform, *words))
    # Its exit status tells of findings too; what went wrong stands in its answers.
    missing = shlex.quote(f"{layout.library(platform)}/__main__.py")
    script = f"test -f {missing} || exit {MISSING}; {command} 2>&1; true"
    output = run_command(site.inventory.host(host), script, silence=silence)
    answers, rest = [], []
    for line in output.splitlines():
        try:
            answers.append(dict(json.loads(line)))
        except (ValueError, TypeError):
            rest.append(line)
    if not answers:
        raise ProblemError([Problem((rest or ["said nothing"])[-1][:400], key=host)])
    return answers


def call_one(site: Site, job: Job, *words: str) -> dict[str, Any]:
    """Run one verb for one job and return its answer. Raises ProblemError with the reason where it failed."""
    settings = layout.job_settings(site.platform.platform, job.item)
    answer = call(site, job.host, [words[0], settings, *words[1:]])[-1]
    if "error" in answer:
        raise ProblemError([Problem(str(answer["error"]), key=f"{job.item} on {job.host}")])
    return answer


def start_job(site: Site, job: Job) -> dict[str, Any]:
    """Start a job's unit, wait for its end, and return what it wrote down. Raises ProblemError."""
    platform = site.platform.platform
    unit = shlex.quote(layout.job_instance(platform, job.item, "command"))
    last = shlex.quote(f"{layout.state_folder(platform)}/{job.item}/last.json")
    template = f"/etc/systemd/system/{layout.job_units(platform, job.item)[0]}"
    script = (
        f"test -f {shlex.quote(template)} || {{ echo 'no backup is set up here: groundwork apply' >&2; exit 1; }}; "
        f"rm -f {last}; systemctl start {unit} 2>&1; cat {last} 2>/dev/null || "
        f"{{ systemctl status --no-pager --lines=3 {unit} >&2; exit 1; }}"
    )
    output = run_command(site.inventory.host(job.host), script, silence=SILENCE)
    try:
        return dict(json.loads(output.splitlines()[-1]))
    except (ValueError, IndexError):
        raise ProblemError([Problem("the backup left no result", key=f"{job.item} on {job.host}")]) from None


def hosts_of(site: Site, names: Sequence[str]) -> list[InventoryHost]:
    """The hosts of these names, in the inventory's order."""
    return [host for host in site.inventory.hosts if host.name in names]
