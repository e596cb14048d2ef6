"""What each agent group may do at Consul: its keys, its own agents as services, and finding everybody."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from groundwork.manifest.agents import Need
from groundwork.manifest.platform import Platform
from groundwork.problems import Problem, ProblemError

# A quote or a line end would be a rule of its own.
_KEY = re.compile(r"[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*(/\*)?")


@dataclass(frozen=True)
class GroupAccess:
    """The rules of one group's policy, in Consul's own language (Consul, ACL rules)."""

    group: str
    rules: str


def list_access(platform: Platform, service: str) -> list[GroupAccess]:
    """Return the access of every group that needs the service.

    A group writes (or, with ``access: read``, reads) the keys that its needs name, below its platform's name where
    they name none; registers its own agents as services; sees all services and servers. Nothing else is open to it.
    Raises ProblemError for keys that are none.
    """
    problems: list[Problem] = []
    found = []
    for name, group in platform.groups.items():
        needs = {f"groups.{name}.needs.{n}": need for n, need in enumerate(group.needs)}
        for agent_name, agent in group.agents.items():
            needs |= {f"groups.{name}.agents.{agent_name}.needs.{n}": need for n, need in enumerate(agent.needs)}
        needs = {place: need for place, need in needs.items() if need.name == service}
        problems += [problem for place, need in needs.items() for problem in _check(place, need)]
        if needs:
            keys = _join(needs.values(), platform.platform)
            found.append(GroupAccess(name, _render(keys, list(group.agents))))
    if problems:
        raise ProblemError(problems)
    return found


def _check(place: str, need: Need) -> Iterator[Problem]:
    for number, key in enumerate(need.keys):
        if not _KEY.fullmatch(key):
            allowed = "a key as ymera/settings, or all below one as ymera/*"
            yield Problem("is no key of Consul", key=f"{place}.keys.{number}", given=repr(key), allowed=allowed)


def _join(needs: Iterable[Need], platform: str) -> dict[str, str]:
    """Each key with what may be done there; of two needs the one that allows more counts."""
    keys: dict[str, str] = {}
    for need in needs:
        policy = "read" if need.access == "read" else "write"
        for key in need.keys or [f"{platform}/*"]:
            keys[key] = "write" if "write" in (policy, keys.get(key)) else policy
    return keys


def _render(keys: dict[str, str], agents: list[str]) -> str:
    lines = []
    for key, policy in sorted(keys.items()):
        kind, name = ("key_prefix", key.removesuffix("*")) if key.endswith("/*") else ("key", key)
        lines.append(f'{kind} "{name}" {{ policy = "{policy}" }}')
    lines += [f'service "{name}" {{ policy = "write" }}' for name in sorted(agents)]
    lines += ['service_prefix "" { policy = "read" }', 'node_prefix "" { policy = "read" }']
    return "\n".join(lines) + "\n"
