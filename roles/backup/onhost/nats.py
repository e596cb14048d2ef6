"""NATS JetStream: every stream by the server's own snapshots, with its consumers.

Protocol: docs.nats.io, "JetStream wire API reference", ``STREAM.SNAPSHOT`` and ``STREAM.RESTORE``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .collected import Collected
from .nats_client import Client
from .settings import JobError, Settings

CHUNK = 128 * 1024
"""Bytes of one message of a snapshot; every acknowledged one frees the next."""
DATA, STATE = "data.tar.s2", "stream.json"


def collect(settings: Settings) -> Collected:
    """Save every stream that lies on the disk; one server speaks for the whole cluster."""
    client = Client(settings, settings.servers[0])
    collected = Collected([str(settings.staging)], tools={"nats": client.version})
    settings.staging.mkdir(0o700, parents=True, exist_ok=True)
    for name in list_streams(client):
        config = client.ask(f"$JS.API.STREAM.INFO.{name}")["config"]
        if config.get("storage") == "memory":
            collected.counts[name] = {"left_out": "lies in memory: JetStream makes no snapshot of it"}
            continue
        folder = settings.staging / name
        folder.mkdir(0o700)
        collected.counts[name] = save_stream(client, name, folder)
    # An account without streams is saved as such: the description says that there were none.
    (settings.staging / "streams.json").write_text(json.dumps(sorted(collected.counts)))
    return collected


def list_streams(client: Client) -> list[str]:
    """Names of all streams; JetStream gives them in pages."""
    names: list[str] = []
    while True:
        answer = client.ask("$JS.API.STREAM.NAMES", {"offset": len(names)})
        page = answer.get("streams") or []
        names += page
        if not page or len(names) >= answer["total"]:
            return sorted(names)


def save_stream(client: Client, name: str, folder: Path) -> dict[str, Any]:
    """Write one stream's snapshot into a folder and return its counts."""
    inbox = f"{client.inbox}.chunks"
    question = {"deliver_subject": inbox, "chunk_size": CHUNK, "no_consumers": False, "jsck": True}
    answer = client.ask(f"$JS.API.STREAM.SNAPSHOT.{name}", question)
    with (folder / DATA).open("wb") as file:
        while True:
            message = client.receive()
            if message.subject != inbox:
                continue
            if not message.content:
                break
            file.write(message.content)
            if message.reply:
                client.publish(message.reply)
    # The last message is empty; what went wrong stands in its header.
    if message.headers and b" 2" not in message.headers.split(b"\r\n")[0]:
        raise JobError(
            f"NATS: the snapshot of {name} ended early: {message.headers.decode('utf-8', 'replace').strip()}"
        )
    (folder / STATE).write_text(json.dumps({"config": answer["config"], "state": answer["state"]}))
    return count_state(answer["state"])


def count_state(state: dict[str, Any]) -> dict[str, Any]:
    """What a restore is compared with."""
    names = ("messages", "first_seq", "last_seq", "bytes", "consumer_count")
    return {name: int(state.get(name, 0)) for name in names}
