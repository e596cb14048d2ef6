"""Restores onto the hosts that the data came from: fetch, stop, place, compare, start; each step may be repeated."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

from groundwork.backup import archiving, hosts, stopping
from groundwork.backup.reports import ERROR, FINDINGS, GOOD
from groundwork.backup.restore_state import RestoreState, read_state, write_state
from groundwork.backup.run import choose_jobs
from groundwork.engine.asking import ask_hosts
from groundwork.engine.inspection import UnreachableError
from groundwork.inventory import InventoryHost
from groundwork.manifest.services import RedisService
from groundwork.problems import Problem, ProblemError
from groundwork.site import Site
from groundwork.topology.archives import Archive
from groundwork.topology.backups import Job

PARTS: dict[str, tuple[str, ...]] = {
    "config": ("configuration",),
    "files": ("files", "volumes"),
    "redis": ("redis",),
    "nats": ("nats",),
    "postgresql": (),
}
"""What ``--only`` names: the kinds of items behind each word, in the order in which they are restored."""
Say = Callable[[str], None]


class Restored(BaseModel):
    """What came of a restore."""

    model_config = ConfigDict(frozen=True)

    environment: str
    outcome: str
    """``restored``; ``would restore`` where nothing was changed; ``unfinished`` where it must be taken up again."""
    items: dict[str, dict[str, Any]] = {}
    """By item and host: the set, what would be or was lost, what was compared."""
    stopped: dict[str, list[str]] = {}
    """Units of agents that were stopped for it, by host."""
    problems: list[dict[str, object]] = []
    phases: dict[str, float] = {}
    """Seconds of each phase."""

    @property
    def exit_code(self) -> int:
        """0: restored; 2: it says what it would do; 1: an error, or unfinished."""
        return {"restored": GOOD, "would restore": FINDINGS}.get(self.outcome, ERROR)


def check_parts(site: Site, only: Sequence[str]) -> list[Job]:
    """The jobs behind the words of ``--only``. Raises ProblemError for what cannot be restored."""
    problems = []
    for word in only:
        if word not in PARTS:
            problems.append(Problem("is nothing to restore", key="--only", given=word, allowed=", ".join(PARTS)))
    if not only:
        allowed = ", ".join(PARTS)
        told = "a whole site is not restored in one go by this version: name the parts"
        problems.append(Problem(told, key="--only", allowed=allowed))
    if problems:
        raise ProblemError(problems)
    kinds = [kind for word in PARTS if word in only for kind in PARTS[word]]
    jobs = [job for kind in kinds for job in choose_jobs(site, kinds=[kind])]
    if not jobs and not archiving.choose_parts(site, only):
        raise ProblemError([Problem("the policy has no item of this kind", key="--only", given=", ".join(only))])
    for job in jobs:
        service = site.platform.services.get(job.service)
        if isinstance(service, RedisService) and service.mode == "replicated":
            told = "this version restores no replicated Redis: its servers hand the master's part over when stopped"
            problems.append(Problem(told, key=f"services.{job.service}.mode", given=service.mode))
    if problems:
        raise ProblemError(dict.fromkeys(problems))
    return jobs


def restore(site: Site, only: Sequence[str], at: datetime | None, overwrite: bool, resume: bool, say: Say) -> Restored:
    """Restore parts of a site onto the same hosts.

    Args:
        site: the environment.
        only: words of ``PARTS``.
        at: restore the newest sets that are not newer; the newest of all where None.
        overwrite: replace live data. Without it, sets are fetched and verified, and it is said what would be lost.
        resume: take up a restore that did not finish; ``only`` and ``at`` are then that one's.
        say: is told each step.

    Raises:
        ProblemError: what is asked for cannot be restored, or another restore is not finished.
    """
    state = read_state(site)
    if state.unfinished and not resume:
        allowed = f"groundwork restore {site.environment} --resume"
        told = f"a restore of {', '.join(state.only)} is not finished, so nothing else is begun"
        raise ProblemError([Problem(told, key="restore", given=f"begun {state.begun}", allowed=allowed)])
    if resume:
        if not state.unfinished:
            raise ProblemError([Problem("there is no restore to take up", key="--resume")])
        return _Restore(site, check_parts(site, state.only), state, say).finish()
    jobs = check_parts(site, only)
    begun = datetime.now(UTC).isoformat(timespec="seconds")
    state = RestoreState(only=list(only), at=at.isoformat() if at else "", begun=begun)
    run = _Restore(site, jobs, state, say)
    found = run.fetch()
    if found is not None or not overwrite:
        return found or run.report("would restore")
    return run.finish()


class _Restore:
    """One restore under way."""

    def __init__(self, site: Site, jobs: list[Job], state: RestoreState, say: Say) -> None:
        self.site, self.jobs, self.state, self.say = site, jobs, state, say
        self.archives = archiving.choose_parts(site, state.only)
        self.items: dict[str, dict[str, Any]] = {}
        self.phases: dict[str, float] = {}

    def report(self, outcome: str, problems: Sequence[Problem] = ()) -> Restored:
        """What came of it so far."""
        plain = [one.as_dict() for one in problems]
        return Restored(
            environment=self.site.environment, outcome=outcome, items=self.items, stopped=self.state.stopped,
            problems=plain, phases=self.phases,
        )  # fmt: skip

    def _on_jobs(self, phase: str, verb: Callable[[Job], dict[str, Any]]) -> list[Problem]:
        """Carry one step out for every job, hosts side by side."""
        self.say(phase)
        started = time.monotonic()

        def question(host: InventoryHost) -> dict[str, dict[str, Any]]:
            return {job.item: verb(job) for job in self.jobs if job.host == host.name}

        found, problems = ask_hosts(hosts.hosts_of(self.site, [job.host for job in self.jobs]), question)
        for host, answers in found.items():
            for item, answer in answers.items():
                self.items.setdefault(f"{item} on {host}", {}).update(answer)
        self.phases[phase] = round(time.monotonic() - started, 1)
        return problems

    def fetch(self) -> Restored | None:
        """Fetch and verify every set; a report where one cannot be had. Live data are not touched."""
        words = ["--at", self.state.at] if self.state.at else []
        problems = self._on_jobs("fetch", lambda job: hosts.call_one(self.site, job, "fetch", *words))
        found, untold = archiving.describe_losses(self.site, self.archives, self.state.at)
        self.items |= found
        problems += untold
        for job in self.jobs:
            if job.kind == "redis":
                counts = self.items.get(f"{job.item} on {job.host}", {}).get("counts", {})
                self.state.masters[job.host] = [name for name in counts if name != "objects"]
        return self.report("nothing was changed", problems) if problems else None

    def finish(self) -> Restored:
        """Stop, place, compare, start. Wherever it ends early, agents stay down, and it is noted as unfinished."""
        self.state.unfinished = True
        write_state(self.site, self.state)
        started = time.monotonic()
        try:
            self.say("stop what uses the data")
            users = [*self.jobs, *archiving.list_as_jobs(self.archives)]
            stopping.stop_agents(self.site, users, self.state)
            stopping.stop_replicas(self.site, self.jobs, self.state)
        except ProblemError as error:
            return self.report("unfinished", error.problems)
        self.phases["stop"] = round(time.monotonic() - started, 1)
        for phase in ("place", "compare"):
            if problems := self._on_jobs(phase, lambda job, verb=phase: self._step(job, verb)):  # type: ignore[misc]
                return self.report("unfinished", problems)
        for archive in self.archives:
            self.say(f"recover {archive.service}")
            try:
                self._recover(archive)
            except (OSError, ProblemError, UnreachableError) as error:
                told = error.problems if isinstance(error, ProblemError) else [Problem(str(error), key=archive.service)]
                return self.report("unfinished", told)
        started = time.monotonic()
        self.say("start it again")
        try:
            stopping.start_again(self.site, self.state)
        except ProblemError as error:
            return self.report("unfinished", error.problems)
        self.phases["start"] = round(time.monotonic() - started, 1)
        self.state.unfinished = False
        write_state(self.site, self.state)
        return self.report("restored")

    def _recover(self, archive: Archive) -> None:
        """Put one PostgreSQL back, unless an earlier attempt has."""
        started = time.monotonic()
        if archive.item not in self.state.archives:
            done = archiving.recover(self.site, archive, self.state.at, self.state.begun)
            name = f"{archive.item} on {archive.database.host}"
            self.items.setdefault(name, {}).update(set=done["label"], reached=done["reached"], steps=done["seconds"])
            self.state.archives.append(archive.item)
            write_state(self.site, self.state)
        self.phases[f"recover {archive.service}"] = round(time.monotonic() - started, 1)

    def _step(self, job: Job, verb: str) -> dict[str, Any]:
        """One step of one job, unless an earlier attempt has come further."""
        state = hosts.call_one(self.site, job, "state")
        if state.get("phase") == "done" or (verb == "place" and state.get("phase") == "placed"):
            return {"set": state.get("set", "")}
        return hosts.call_one(self.site, job, verb)
