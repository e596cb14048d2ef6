"""Which subjects of a NATS service each agent group may use; nothing else is open to it.

Subjects follow docs.nats.io, "Subject-Based Messaging" and "Authorization"; those of JetStream and its key-value
stores follow the NATS architecture decisions ADR-8 (key-value stores) and ADR-31 (direct get).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from groundwork.manifest.agents import AgentGroup, Need
from groundwork.manifest.patterns import ALLOWED, INBOX, is_inbox, judge_subject
from groundwork.manifest.platform import Platform
from groundwork.manifest.services import NatsService
from groundwork.manifest.streams import Stream
from groundwork.problems import Problem, ProblemError


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
    group names so is open to all. ``_INBOX.>`` in a need stands for the group's own inboxes. Of a stream that its
    needs name it gets the declared consumers: looking them up, pulling from them, acknowledging. No group makes,
    changes or removes a stream: a stream may take any subjects.

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
        _group_rights(name, platform.groups[name], list(found.values()), declared, shared)
        for name, found in needs.items()
        if found
    )


def _group_rights(
    name: str, group: AgentGroup, needs: list[Need], declared: NatsService, shared: list[str]
) -> SubjectRights:
    inbox, buckets = inbox_prefix(name), declared.key_value_buckets
    publish = [subject for need in needs for subject in need.publish if not is_inbox(subject)]
    publish += [f"$KV.{bucket}.>" for bucket in shared]
    publish += [subject for bucket in buckets for subject in _reading(bucket)]
    for use in (use for need in needs for use in need.streams):
        publish += _taking(use.name, declared.streams[use.name], use.dynamic_consumers)
    subscribe = [subject for need in needs for subject in need.subscribe if not is_inbox(subject)]
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


def _taking(name: str, stream: Stream, dynamic: bool) -> Iterator[str]:
    """What a client publishes to take messages out of a stream through its declared consumers, or any of its own."""
    yield f"$JS.API.STREAM.INFO.{name}"
    consumers = ["*"] if dynamic else list(stream.consumers)
    for consumer in consumers:
        yield f"$JS.API.CONSUMER.INFO.{name}.{consumer}"
        yield f"$JS.API.CONSUMER.MSG.NEXT.{name}.{consumer}"
        yield f"$JS.ACK.{name}.{consumer}.>"
    if dynamic:
        yield f"$JS.API.CONSUMER.DURABLE.CREATE.{name}.*"
        yield f"$JS.API.CONSUMER.DELETE.{name}.*"


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
                    yield Problem(reason, key=f"{place}.{key}.{number}", given=repr(subject), allowed=ALLOWED)
