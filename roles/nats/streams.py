"""The streams and consumers of JetStream as its own interface names them (ADR-8 for those behind buckets)."""

from __future__ import annotations

from collections.abc import Iterator

from groundwork.manifest.services import NatsService
from groundwork.manifest.streams import Consumer, Stream
from groundwork.problems import Problem

MAXIMUM_REPLICAS = 3
_NANOSECONDS = 1_000_000_000
_UNLIMITED = -1
_RETENTION = {"limits": "limits", "work_queue": "workqueue", "interest": "interest"}
_DISCARD = {"drop_oldest": "old", "refuse": "new"}


def list_streams(declared: NatsService, members: int) -> list[dict[str, object]]:
    """The streams of a service with ``members`` servers, those behind its buckets first.

    Buckets share half of JetStream's disk space evenly; the other half is the streams', and what is left of it
    belongs to those that were declared before.
    """
    buckets = list(dict.fromkeys(declared.key_value_buckets))
    space = declared.jetstream.file_max // 2 // len(buckets) if declared.jetstream and buckets else 0
    copies = min(MAXIMUM_REPLICAS, members)
    found = [_describe_bucket(bucket, space, copies) for bucket in buckets]
    return found + [_describe_stream(name, stream, copies) for name, stream in declared.streams.items()]


def list_consumers(declared: NatsService) -> list[dict[str, object]]:
    """The durable consumers of all streams, each with the stream's name."""
    return [
        {"stream": name, "config": _describe_consumer(consumer, one)}
        for name, stream in declared.streams.items()
        for consumer, one in stream.consumers.items()
    ]


def check_streams(declared: NatsService, key: str, members: int) -> Iterator[Problem]:
    """Yield what JetStream would refuse of a service with ``members`` servers."""
    if declared.jetstream is None:
        if declared.key_value_buckets or declared.streams:
            message = "buckets and streams are kept by JetStream, which is not declared"
            yield Problem(message, key=f"{key}.jetstream", allowed="{memory_max: SIZE, file_max: SIZE}")
        return
    reserved = sum(stream.maximum_bytes or 0 for stream in declared.streams.values())
    half = declared.jetstream.file_max // 2
    if reserved > half:
        yield Problem(
            "the streams' maximum_bytes are more than half of jetstream.file_max, which is theirs",
            key=f"{key}.streams",
            given=str(reserved),
            allowed=f"{half} bytes",
        )
    for name, stream in declared.streams.items():
        if stream.replicas and stream.replicas > members:
            place = f"{key}.streams.{name}.replicas"
            yield Problem("is more than there are servers", key=place, given=str(stream.replicas), allowed=str(members))


def _describe_bucket(bucket: str, space: int, replicas: int) -> dict[str, object]:
    return {
        "name": f"KV_{bucket}",
        "subjects": [f"$KV.{bucket}.>"],
        "retention": "limits",
        "discard": "new",
        "storage": "file",
        "max_msgs_per_subject": 5,
        "max_bytes": space,
        "num_replicas": replicas,
        "allow_rollup_hdrs": True,
        "allow_direct": True,
        "deny_delete": True,
    }


def _describe_stream(name: str, stream: Stream, replicas: int) -> dict[str, object]:
    age = round((stream.maximum_age or 0) * _NANOSECONDS)
    window = round(stream.duplicate_window * _NANOSECONDS)
    return {
        "name": name,
        "description": stream.description,
        "subjects": stream.subjects,
        "retention": _RETENTION[stream.retention],
        "discard": _DISCARD[stream.when_full],
        "storage": "file",
        "max_age": age,
        "max_msgs": stream.maximum_messages or _UNLIMITED,
        "max_msgs_per_subject": stream.maximum_messages_per_subject or _UNLIMITED,
        # With one subject's limit reached, its senders are refused as with the whole stream's.
        "discard_new_per_subject": stream.when_full == "refuse" and stream.maximum_messages_per_subject is not None,
        "max_bytes": stream.maximum_bytes or _UNLIMITED,
        "max_msg_size": stream.maximum_message_size or _UNLIMITED,
        # The server refuses to remember identifiers for longer than it keeps messages.
        "duplicate_window": min(window, age) if age else window,
        "num_replicas": stream.replicas or replicas,
    }


def _describe_consumer(name: str, consumer: Consumer) -> dict[str, object]:
    return {
        "durable_name": name,
        "filter_subject": consumer.filter or "",
        "deliver_policy": "all",
        "ack_policy": "explicit",
        "replay_policy": "instant",
        "ack_wait": round(consumer.acknowledge_within * _NANOSECONDS),
        "max_deliver": consumer.maximum_deliveries or _UNLIMITED,
        "max_ack_pending": consumer.maximum_unacknowledged,
        "max_waiting": consumer.maximum_waiting,
    }
