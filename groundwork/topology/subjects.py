"""Which subjects of a NATS service each agent group may use; nothing else is open to it.

Subjects follow docs.nats.io, "Subject-Based Messaging" and "Authorization"; those of JetStream and its key-value
stores follow the NATS architecture decisions ADR-8 (key-value stores) and ADR-31 (direct get).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from groundwork.manifest.agents import AgentGroup, Need
from groundwork.manifest.platform import Platform
from groundwork.manifest.services import NatsService
from groundwork.problems import Problem, ProblemError

INBOX = "_INBOX"
_LONGEST_SUBJECT = 200
_TOKEN = re.compile(r"[A-Za-z0-9_$:/=-]+|\*")
_ALLOWED = "words with dots between, * for a word, > for the rest: agent.*.work, config.>"


@dataclass(frozen=True)
class SubjectRights:
    """What the processes of one agent group may do; answering a message they were sent is always allowed."""

    group: str
    publish: tuple[str, ...]
    subscribe: tuple[str, ...]
    inbox: str
    """Prefix of the subjects on which it receives answers: ``_INBOX.<group>``."""
    buckets: tuple[str, ...]
    """Key-value stores it may read."""


def inbox_prefix(group: str) -> str:
    """The prefix of a group's own inboxes, for a client's option of that name. Other groups cannot read there."""
    return f"{INBOX}.{group}"


def list_subject_rights(platform: Platform, service: str) -> tuple[SubjectRights, ...]:
    """Return the rights of every group that needs a NATS service.

    A group gets the subjects that its needs name, the health subjects of its agents, its own inboxes, and reads
    every declared bucket. It writes to a bucket if its needs publish below ``$KV.<bucket>.``; a bucket that no
    group names so is open to all. ``_INBOX.>`` in a need stands for the group's own inboxes.

    Raises ProblemError for subjects that are none or that would reach into the server's own.
    """
    declared = platform.services[service]
    assert isinstance(declared, NatsService)
    needs = {name: _needs_of_group(name, group, service) for name, group in platform.groups.items()}
    problems = [p for found in needs.values() for p in _check_needs(found, declared.key_value_buckets)]
    if problems:
        raise ProblemError(problems)
    named = [subject for found in needs.values() for need in found.values() for subject in need.publish]
    shared = [b for b in declared.key_value_buckets if not any(s.startswith(f"$KV.{b}.") for s in named)]
    return tuple(
        _group_rights(name, platform.groups[name], list(found.values()), declared.key_value_buckets, shared)
        for name, found in needs.items()
        if found
    )


def _group_rights(
    name: str, group: AgentGroup, needs: list[Need], buckets: list[str], shared: list[str]
) -> SubjectRights:
    inbox = inbox_prefix(name)
    publish = [subject for need in needs for subject in need.publish if not _is_inbox(subject)]
    publish += [f"$KV.{bucket}.>" for bucket in shared]
    publish += [subject for bucket in buckets for subject in _reading(bucket)]
    subscribe = [subject for need in needs for subject in need.subscribe if not _is_inbox(subject)]
    subscribe += [agent.health_subject for agent in group.agents.values() if agent.health_subject]
    subscribe.append(f"{inbox}.>")
    return SubjectRights(
        name, tuple(dict.fromkeys(publish)), tuple(dict.fromkeys(subscribe)), inbox, tuple(dict.fromkeys(buckets))
    )


def stream_name(bucket: str) -> str:
    """The JetStream stream behind a key-value bucket (ADR-8)."""
    return f"KV_{bucket}"


def _reading(bucket: str) -> Iterator[str]:
    """What a client publishes to read and watch a bucket: questions to JetStream about this one stream."""
    stream = stream_name(bucket)
    yield f"$JS.API.STREAM.INFO.{stream}"
    yield f"$JS.API.STREAM.MSG.GET.{stream}"
    yield f"$JS.API.DIRECT.GET.{stream}"
    yield f"$JS.API.DIRECT.GET.{stream}.>"
    yield f"$JS.API.CONSUMER.CREATE.{stream}"
    yield f"$JS.API.CONSUMER.CREATE.{stream}.>"
    yield f"$JS.API.CONSUMER.INFO.{stream}.*"
    yield f"$JS.FC.{stream}.>"


def _needs_of_group(name: str, group: AgentGroup, service: str) -> dict[str, Need]:
    """The group's own needs of the service and its agents', by their place in the manifest."""
    found = {f"groups.{name}.needs.{n}": need for n, need in enumerate(group.needs)}
    for agent_name, agent in group.agents.items():
        found |= {f"groups.{name}.agents.{agent_name}.needs.{n}": need for n, need in enumerate(agent.needs)}
    return {key: need for key, need in found.items() if need.name == service}


def _check_needs(needs: dict[str, Need], buckets: Iterable[str]) -> Iterator[Problem]:
    own = tuple(f"$KV.{bucket}." for bucket in buckets)
    for place, need in needs.items():
        for key, subjects in (("publish", need.publish), ("subscribe", need.subscribe)):
            for number, subject in enumerate(subjects):
                reason = judge_subject(subject, own if key == "publish" else ())
                if reason:
                    yield Problem(reason, key=f"{place}.{key}.{number}", given=repr(subject), allowed=_ALLOWED)


def judge_subject(subject: str, open_prefixes: tuple[str, ...] = ()) -> str:
    """Say why a subject cannot be given to a group; an empty string when it can.

    ``open_prefixes`` are those below ``$`` that may be named.
    """
    tokens = subject.split(".")
    body = tokens[:-1] if tokens[-1] == ">" else tokens
    if len(subject) > _LONGEST_SUBJECT or not all(_TOKEN.fullmatch(token) for token in body):
        return "is no subject"
    if _is_inbox(subject):
        return ""
    if not body or body[0] == "*":
        return "begins with a wildcard and would reach the server's own subjects"
    if body[0] == INBOX:
        return f"is another's inbox; {INBOX}.> stands for the group's own"
    if subject.startswith("$") and not subject.startswith(open_prefixes or ("\0",)):
        return "belongs to the server; declared buckets open what they need"
    return ""


def _is_inbox(subject: str) -> bool:
    return subject == f"{INBOX}.>"
