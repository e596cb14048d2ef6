"""The subjects and streams of one agent. `README.md` lists the permissions that they need."""

from __future__ import annotations

from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StreamConfig

DEAD_KEPT = 10_000
DUPLICATE_SECONDS = 120.0
WORKERS = "workers"
INBOXES = "inboxes"


def request_subject(agent: str) -> str:
    """Where requests to an agent go."""
    return f"agent.{agent}.request"


def inbox_subject(agent: str) -> str:
    """Where messages for an agent wait until it reads them."""
    return f"agent.{agent}.inbox"


def dead_subject(agent: str) -> str:
    """Where an agent's requests go that were set aside."""
    return f"agent.{agent}.dead"


def request_stream(agent: str) -> str:
    """Name of the stream of an agent's requests."""
    return f"requests_{agent}"


def describe_requests(agent: str, backlog: int) -> StreamConfig:
    """The stream of an agent's requests: each until it is acknowledged, refused beyond `backlog`."""
    return StreamConfig(
        name=request_stream(agent),
        subjects=[request_subject(agent)],
        retention=RetentionPolicy.WORK_QUEUE,
        storage=StorageType.FILE,
        discard=DiscardPolicy.NEW,
        max_msgs=backlog,
        duplicate_window=DUPLICATE_SECONDS,
    )


def describe_dead(agent: str) -> StreamConfig:
    """The stream of requests that were set aside, the last 10,000."""
    return StreamConfig(
        name=f"dead_{agent}",
        subjects=[dead_subject(agent)],
        retention=RetentionPolicy.LIMITS,
        storage=StorageType.FILE,
        discard=DiscardPolicy.OLD,
        max_msgs=DEAD_KEPT,
        duplicate_window=DUPLICATE_SECONDS,
    )


def describe_inboxes(queue_size: int) -> StreamConfig:
    """All agents' inboxes: `queue_size` messages for each, then its senders are refused."""
    return StreamConfig(
        name=INBOXES,
        subjects=[inbox_subject("*")],
        retention=RetentionPolicy.WORK_QUEUE,
        storage=StorageType.FILE,
        discard=DiscardPolicy.NEW,
        discard_new_per_subject=True,
        max_msgs_per_subject=queue_size,
        duplicate_window=DUPLICATE_SECONDS,
    )
