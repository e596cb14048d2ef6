"""Messages that the communication agent carries, and how they are kept in `message_history`."""

from __future__ import annotations

import base64
import json
import re
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from agent_runtime.stores.batches import BatchWriter
from agent_runtime.stores.database import Database
from agent_runtime.work.entries import PermanentError

# One token of a NATS subject.
AGENT_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
TYPE_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
LARGEST_SUBJECT, MOST_RECIPIENTS = 1000, 100
KEYS = {"message_id", "type", "sender", "recipients", "subject", "payload", "created_at", "metadata"}

# One statement with its rows inside, as one message of PostgreSQL's simple protocol: it is a transaction of its own
# (PostgreSQL, "Message Flow"), and takes one round trip through PgBouncer where parameters and BEGIN ... COMMIT take
# four. Base 64 has no character that could end the literal.
INSERT = """
INSERT INTO message_history (message_id, type, sender, recipients, subject, payload, status, created_at, metadata)
SELECT m.message_id, m.type, m.sender, m.recipients, m.subject, m.payload, m.status, to_timestamp(m.created_at),
       m.metadata
FROM jsonb_to_recordset(convert_from(decode('{rows}', 'base64'), 'UTF8')::jsonb)
     AS m (message_id uuid, type text, sender text, recipients jsonb, subject text, payload jsonb, status text,
           created_at double precision, metadata jsonb)
ON CONFLICT (message_id, created_at) DO NOTHING
"""
# The time of creation, which is the partition's key, is not known to whoever asks; the primary key's index serves it
# in each partition.
SELECT = """
SELECT message_id::text, type, sender, recipients::text, subject, payload::text, status,
       extract(epoch FROM created_at)::double precision AS created_at, metadata::text
FROM message_history WHERE message_id = $1::text::uuid
"""


@dataclass(frozen=True)
class Message:
    """One message. `created_at` is in seconds since the epoch and comes from the sender, so that a message which is
    carried twice is kept once."""

    message_id: str
    type: str
    sender: str
    recipients: tuple[str, ...]
    subject: str
    payload: dict[str, Any]
    created_at: float
    metadata: dict[str, Any]
    status: str = "pending"

    def with_status(self, status: str, **metadata: Any) -> Message:
        """Return the message with another status, and more metadata."""
        return replace(self, status=status, metadata={**self.metadata, **metadata})

    def describe(self) -> dict[str, Any]:
        """Return the message for JSON."""
        return {**vars(self), "recipients": list(self.recipients)}


def read_message(content: object) -> Message:
    """Check a message.

    Raises:
        PermanentError: with every problem found.
    """
    if not isinstance(content, dict):
        raise PermanentError("message: an object is needed")
    problems = [f"{key}: unknown" for key in sorted(content.keys() - KEYS)[:10]]
    created = content.get("created_at", 0)
    identifier = ""
    try:
        identifier = str(uuid.UUID(str(content.get("message_id"))))
    except ValueError:
        problems.append("message_id: a UUID is needed")
    if not isinstance(created, int | float) or isinstance(created, bool) or not 0 < created < time.time() + 86400:
        problems.append("created_at: seconds since the epoch, not in the future, are needed")
    recipients = content.get("recipients")
    if not isinstance(recipients, list) or not 1 <= len(recipients) <= MOST_RECIPIENTS:
        problems.append(f"recipients: 1 to {MOST_RECIPIENTS} agents are needed")
        recipients = []
    names = [content.get("sender"), *recipients]
    if not all(isinstance(name, str) and AGENT_PATTERN.fullmatch(name) for name in names):
        problems.append("sender, recipients: 1 to 64 letters, digits, dashes or underscores are needed")
    if not isinstance(content.get("type"), str) or not TYPE_PATTERN.fullmatch(content["type"]):
        problems.append("type: 1 to 64 letters, digits, dots, dashes or underscores are needed")
    subject, payload, metadata = content.get("subject", ""), content.get("payload", {}), content.get("metadata", {})
    if not isinstance(subject, str) or len(subject) > LARGEST_SUBJECT:
        problems.append(f"subject: at most {LARGEST_SUBJECT} characters")
    if not isinstance(payload, dict) or not isinstance(metadata, dict):
        problems.append("payload, metadata: objects are needed")
    if "\\u0000" in json.dumps([subject, payload, metadata]):
        problems.append("a null character cannot be stored")
    if problems:
        raise PermanentError("; ".join(problems))
    return Message(
        identifier, content["type"], content["sender"], tuple(recipients), subject, payload, float(created), metadata
    )


def build_insert(messages: Sequence[Message]) -> str:
    """Return the statement that keeps these messages; those that are kept already stay as they are."""
    rows = json.dumps([message.describe() for message in messages], separators=(",", ":"))
    return INSERT.format(rows=base64.b64encode(rows.encode()).decode())


class History:
    """What was carried, in PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._writer = BatchWriter(self._insert)

    async def _insert(self, messages: list[Message]) -> None:
        await self._database.execute_repeatedly(build_insert(messages))

    async def add(self, message: Message) -> None:
        """Keep a message; returns once it is committed. The first status of a message is the one that stays.

        Raises:
            DatabaseError: PostgreSQL did not answer in several tries.
        """
        await self._writer.add(message)

    async def find(self, identifier: str) -> Message | None:
        """Return a message, or None if it has not been carried.

        Raises:
            DatabaseError: PostgreSQL did not answer.
        """
        row = await self._database.run(lambda connection: connection.fetchrow(SELECT, identifier))
        if row is None:
            return None
        values = dict(row)
        for key in ("recipients", "payload", "metadata"):
            values[key] = json.loads(values[key])
        return Message(**{**values, "recipients": tuple(values["recipients"])})
