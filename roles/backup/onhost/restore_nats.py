"""NATS JetStream: each stream is deleted and made again from its snapshot; what was there is saved beside first."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

from .nats import CHUNK, DATA, STATE, count_state, list_streams, save_stream
from .nats_client import Client
from .settings import JobError, Settings

SETTLING = 60.0
"""Seconds in which a cluster agrees on who leads a stream that was just made."""


def describe_loss(settings: Settings, description: dict[str, Any]) -> str:
    """What a restore would overwrite."""
    saved = _saved_streams(description)
    found = []
    try:
        client = Client(settings, settings.servers[0])
        for name in list_streams(client):
            now = client.ask(f"$JS.API.STREAM.INFO.{name}")["state"]["messages"]
            told = f"the set {saved[name]['messages']}" if name in saved else "which the set has not: it stays"
            found.append(f"{name} has {now} messages, {told}")
    except JobError as error:
        found.append(str(error))
    return f"everything published or acknowledged since {description['started']}: {'; '.join(found) or 'no streams'}"


def _saved_streams(description: dict[str, Any]) -> dict[str, dict[str, Any]]:
    counts: dict[str, dict[str, Any]] = description["counts"]
    return {name: one for name, one in counts.items() if name != "objects" and "left_out" not in one}


def place(settings: Settings, description: dict[str, Any], tree: Path) -> dict[str, Any]:
    """Replace every stream of the set."""
    client = Client(settings, settings.servers[0])
    root = tree / str(settings.staging).lstrip("/")
    before = Path(settings.state) / settings.item / "before" / str(description["set"])
    placed: dict[str, Any] = {}
    present = list_streams(client)
    for name, counts in _saved_streams(description).items():
        if name in present:
            _set_aside(client, name, before / name)
            client.ask(f"$JS.API.STREAM.DELETE.{name}")
        restore_stream(client, name, root / name)
        placed[name] = {"messages": counts["messages"], "before": str(before / name) if name in present else ""}
    return placed


def _set_aside(client: Client, name: str, folder: Path) -> None:
    """Save a stream as it is now; a restore that is taken up again keeps the first of these."""
    if folder.exists():
        return
    fresh = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(0o700, parents=True)
    save_stream(client, name, fresh)
    fresh.rename(folder)


def restore_stream(client: Client, name: str, folder: Path) -> None:
    """Make a stream, which must not be there, from its snapshot. Raises JobError when the server refuses."""
    described = json.loads((folder / STATE).read_text())
    answer = client.ask(f"$JS.API.STREAM.RESTORE.{name}", described)
    subject = str(answer["deliver_subject"])
    inbox = f"{client.inbox}.restore"
    with (folder / DATA).open("rb") as file:
        while chunk := file.read(CHUNK):
            client.publish(subject, chunk, inbox)
            # Each piece is acknowledged by an empty message; anything else is the reason why not.
            _await(client, name, inbox)
    client.publish(subject, b"", inbox)
    final = _await(client, name, inbox)
    if not final:
        raise JobError(f"NATS: the restore of {name} was not confirmed")


def _await(client: Client, name: str, inbox: str) -> dict[str, Any]:
    while True:
        message = client.receive()
        if message.subject == inbox:
            break
    answer: dict[str, Any] = json.loads(message.content) if message.content else {}
    if "error" in answer:
        raise JobError(f"NATS: the restore of {name}: {answer['error'].get('description', answer['error'])}")
    return answer


def compare(settings: Settings, description: dict[str, Any], tree: Path) -> dict[str, Any]:
    """Messages, sequences, bytes and consumers are those of the set. Raises JobError."""
    client = Client(settings, settings.servers[0])
    found: dict[str, Any] = {}
    end = time.monotonic() + SETTLING
    for name, counts in _saved_streams(description).items():
        while differing := _differences(client, name, counts):
            if time.monotonic() > end:
                raise JobError(f"NATS: stream {name} is not as it was saved: {differing}")
            time.sleep(0.5)
        found[name] = counts
    return found


def _differences(client: Client, name: str, counts: dict[str, Any]) -> str:
    """How a stream differs from its counts; an empty string where it does not."""
    try:
        now = count_state(client.ask(f"$JS.API.STREAM.INFO.{name}")["state"])
    except JobError as error:
        return str(error)
    return ", ".join(f"{key} {now[key]} in place of {value}" for key, value in counts.items() if now[key] != value)
