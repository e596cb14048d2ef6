"""Streams of NATS: messages that are kept, for how long, and who takes them out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from groundwork.manifest.patterns import ALLOWED, covers, judge_subject, overlap
from groundwork.manifest.values import Count, Duration, Flag, Model, Name, Size
from groundwork.problems import Problem


class Consumer(Model):
    """Where one kind of reader stands in a stream. It is pulled from, and each message is acknowledged."""

    filter: str | None = None
    """Subject of the messages it is for; all of the stream where left out."""
    acknowledge_within: Duration = 30.0
    """A message that is not acknowledged for so long comes again."""
    maximum_deliveries: Count | None = None
    """How often a message comes at most; without end where left out."""
    maximum_unacknowledged: Count = 1000
    """Messages at most that are handed out and not yet acknowledged."""
    maximum_waiting: Count = 512
    """Open pulls at most, of all readers together."""


class Stream(Model):
    """Messages of some subjects that JetStream keeps on disk."""

    description: str = ""
    subjects: Annotated[list[str], Field(min_length=1)]
    """Subjects whose messages it takes; no other stream may take them too."""
    retention: Literal["limits", "work_queue", "interest"] = "limits"
    """``limits``: until a limit is reached. ``work_queue``: until acknowledged. ``interest``: until all consumers have
    acknowledged."""
    when_full: Literal["drop_oldest", "refuse"] = "drop_oldest"
    """What happens to a message that exceeds a limit: it displaces the oldest, or its sender is refused."""
    maximum_age: Duration | None = None
    maximum_messages: Count | None = None
    maximum_messages_per_subject: Count | None = None
    maximum_bytes: Size | None = None
    """Reserved on the disk; all streams together at most half of ``jetstream.file_max``, the rest is the buckets'."""
    maximum_message_size: Size | None = None
    duplicate_window: Duration = 120.0
    """For so long a message with the same identifier counts once."""
    replicas: Annotated[int, Field(strict=True, ge=1, le=5)] | None = None
    """Copies in a cluster; three where left out, or as many as there are servers."""
    consumers: dict[Name, Consumer] = {}
    """Durable consumers by name."""


class StreamUse(Model):
    """A stream whose messages an agent group takes out, through the consumers that are declared."""

    name: Name
    dynamic_consumers: Flag = False
    """Lets the group make and remove consumers of any name on this stream. Whoever may do that reads all of its
    messages, and can have them delivered to subjects that it may not publish to itself: only for groups that are
    trusted with the whole service."""


def check_streams(key: str, streams: dict[str, Stream]) -> Iterator[Problem]:
    """Yield what NATS would refuse of one service's streams, and subjects that no stream may take."""
    names = list(streams)
    for number, name in enumerate(names):
        stream, here = streams[name], f"{key}.{name}"
        for index, subject in enumerate(stream.subjects):
            place = f"{here}.subjects.{index}"
            if reason := judge_subject(subject) or _judge_own(subject):
                yield Problem(reason, key=place, given=repr(subject), allowed=ALLOWED)
                continue
            others = [(name, other) for other in stream.subjects[:index]]
            others += [(earlier, other) for earlier in names[:number] for other in streams[earlier].subjects]
            for owner, other in others:
                if overlap(subject, other):
                    yield Problem(f"stream {owner} takes such messages already: {other}", key=place, given=subject)
        yield from _check_consumers(f"{here}.consumers", stream)


def _judge_own(subject: str) -> str:
    return "is an inbox, whose messages no stream may take" if subject.startswith("_INBOX.") else ""


def _check_consumers(key: str, stream: Stream) -> Iterator[Problem]:
    seen: dict[str, str] = {}
    for name, consumer in stream.consumers.items():
        place = f"{key}.{name}.filter"
        if consumer.filter is not None:
            if reason := judge_subject(consumer.filter):
                yield Problem(reason, key=place, given=repr(consumer.filter), allowed=ALLOWED)
                continue
            if not any(covers(subject, consumer.filter) for subject in stream.subjects):
                allowed = ", ".join(stream.subjects)
                yield Problem("is outside of the stream's subjects", key=place, given=consumer.filter, allowed=allowed)
        # Each message of a work queue is one reader's (docs.nats.io, "Streams", retention policies).
        for other, taken in seen.items() if stream.retention == "work_queue" else ():
            if overlap(taken, consumer.filter or ">"):
                message = f"consumer {other} of this work queue takes such messages already"
                yield Problem(message, key=place, given=consumer.filter or "all", allowed="a filter of its own")
        seen[name] = consumer.filter or ">"
