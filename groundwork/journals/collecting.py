"""Asks the log host for the journals of all hosts, or each host for its own."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from groundwork.engine.asking import ask_hosts, run_command
from groundwork.inventory import InventoryHost
from groundwork.journals.lines import Line, drop_repeated, format_time, merge_lines, read_line
from groundwork.journals.question import Question
from groundwork.problems import Problem, ProblemError
from groundwork.site import Site
from groundwork.topology.identities import find_journal_store
from groundwork.topology.journals import file_pattern, store_folder

READER = Path(__file__).with_name("host_reader.py")
SILENT_AFTER = 900.0
"""Seconds after which a host is missed: each has a mark in its journal every five minutes."""
Origin = Literal["store", "hosts"]


@dataclass(frozen=True)
class Collected:
    """The lines, where they are from, and what is missing."""

    lines: tuple[Line, ...]
    origin: Origin
    hosts: tuple[str, ...]
    """Those whose lines were asked for."""
    missing: tuple[Problem, ...]
    """Hosts whose lines are not there, or not to the end, with the reason."""
    cut: bool
    """Whether there are more lines than these, which are the newest."""


def choose_origin(site: Site, wanted: str | None = None) -> Origin:
    """Where to ask: where nothing else is wanted, the log host where the platform has one.

    Raises ProblemError when the store is wanted where none is declared.
    """
    declared = find_journal_store(site.platform.observability)
    if wanted == "store" and declared is None:
        message = "this platform keeps no journals on a log host"
        raise ProblemError([Problem(message, key="--from", given="store", allowed="hosts")])
    if wanted in ("store", "hosts"):
        return "store" if wanted == "store" else "hosts"
    if wanted is not None:
        raise ProblemError([Problem("is no place to ask", key="--from", given=wanted, allowed="store, hosts")])
    return "store" if declared else "hosts"


def collect(site: Site, question: Question, hosts: Sequence[str], origin: Origin, now: float) -> Collected:
    """Return the lines of some hosts.

    Raises ProblemError when nobody can be asked, or when journalctl refuses the question.
    """
    answers, missing = (_ask_store if origin == "store" else _ask_each)(site, question, hosts)
    found: list[list[Line]] = []
    cut = False
    for host, answer in answers.items():
        found.append(drop_repeated([read_line(host, entry) for entry in lines] for lines in answer["lines"]))
        cut = cut or any(len(lines) >= question.lines for lines in answer["lines"])
        why = _why_missing(answer, origin, now)
        missing += [Problem(why, key=host)] if why else []
    merged = merge_lines(found, question.lines)
    cut = cut or len(merged) < sum(map(len, found))
    return Collected(tuple(merged), origin, tuple(hosts), tuple(missing), cut)


def _why_missing(answer: dict[str, Any], origin: Origin, now: float) -> str:
    if answer["error"]:
        return str(answer["error"])
    last = answer["last"] / 1e6
    if origin == "store" and now - last > SILENT_AFTER:
        return f"the log host has heard nothing of it since {format_time(last)}"
    return ""


def _ask_store(site: Site, question: Question, hosts: Sequence[str]) -> tuple[dict[str, dict[str, Any]], list[Problem]]:
    declared = find_journal_store(site.platform.observability)
    assert declared is not None
    folder = store_folder(site.platform.platform)
    sources = {host: {"folder": folder, "names": file_pattern(host)} for host in hosts}
    keeper = site.inventory.group(declared.hosts)[0]
    answers, problems = _ask([keeper], question, sources)
    if problems:
        allowed = "--from hosts asks every host itself"
        raise ProblemError([Problem(f"the log host {one.message}", key=one.key, allowed=allowed) for one in problems])
    return answers[keeper.name], []


def _ask_each(site: Site, question: Question, hosts: Sequence[str]) -> tuple[dict[str, dict[str, Any]], list[Problem]]:
    chosen = [site.inventory.host(name) for name in hosts]
    answers, problems = _ask(chosen, question, {"": {}})
    if chosen and not answers:
        raise ProblemError(problems)
    return {name: found[""] for name, found in answers.items()}, problems


def _ask(
    hosts: Iterable[InventoryHost], question: Question, sources: dict[str, dict[str, str]]
) -> tuple[dict[str, dict[str, dict[str, Any]]], list[Problem]]:
    """The reader's answers by host and source. Raises ProblemError where a pattern is one that journalctl refuses."""
    task = {"sources": sources, "queries": question.list_queries(), "lines": question.lines}
    command = f"python3 -c {shlex.quote(READER.read_text('utf-8'))}"

    def put(host: InventoryHost) -> dict[str, dict[str, Any]]:
        answer: dict[str, dict[str, Any]] = json.loads(run_command(host, command, json.dumps(task)))
        return answer

    answers, problems = ask_hosts(hosts, put)
    errors = {one["error"] for found in answers.values() for one in found.values()}
    refused = next((text for text in errors if "pattern" in text.lower()), "")
    if refused:
        raise ProblemError([Problem(f"journalctl refuses it: {refused}", key="--grep", given=question.grep)])
    return answers, problems
