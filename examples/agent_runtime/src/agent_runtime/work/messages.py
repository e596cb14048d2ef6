"""Requests between agents, their results, and the names of the keys they are kept under."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from agent_runtime.stores.redis_store import RedisStore
from agent_runtime.tracing.spans import pick_headers

GROUP = "workers"
NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
IDENTIFIER_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
LARGEST_BODY_BYTES = 1_048_576


@dataclass(frozen=True)
class Keys:
    """The names of the keys of one agent's requests, all under the prefix that the platform's user may use."""

    store: RedisStore
    agent: str

    def _name(self, kind: str, rest: str) -> str:
        return f"{self.store.prefix}{kind}:{self.store.scope(self.agent)}{rest}"

    def stream(self) -> str:
        """Requests that wait or are being handled."""
        return self._name("work", self.agent)

    def retries(self) -> str:
        """Requests that wait for their next try, by the time it is due."""
        return self._name("retry", self.agent)

    def dead(self) -> str:
        """Requests that were set aside."""
        return self._name("dead", self.agent)

    def result(self, identifier: str) -> str:
        """Outcome of a request."""
        return self._name("result", identifier)

    def replies(self, requester: str) -> str:
        """Identifiers of the requests of one requester that have ended."""
        return self._name("replies", requester)


@dataclass(frozen=True)
class Work:
    """A request from one agent to another."""

    agent: str
    body: dict[str, Any]
    identifier: str
    submitted: float  # seconds since the epoch
    requester: str = ""
    trace: str = ""
    tries: int = 0
    carrier: Mapping[str, str] = field(default_factory=dict)
    """Headers with the context of its requester's span, where there are traces."""

    def encode(self) -> dict[str, str]:
        """Return the fields of the stream entry."""
        return {
            "id": self.identifier,
            "body": json.dumps(self.body, separators=(",", ":")),
            "submitted": repr(self.submitted),
            "requester": self.requester,
            "trace": self.trace,
            "tries": str(self.tries),
            **self.carrier,
        }

    def describe(self) -> dict[str, Any]:
        """Return the request for a JSON message; how often it was tried the queue counts."""
        return {
            "id": self.identifier,
            "body": self.body,
            "submitted": self.submitted,
            "requester": self.requester,
            "trace": self.trace,
        }

    def try_again(self) -> Work:
        """Return the same request after one more failed try."""
        return replace(self, tries=self.tries + 1)


def decode_work(agent: str, fields: dict[str, str]) -> Work:
    """Read a stream entry's fields.

    Raises:
        ValueError: the entry was not written by this package.
    """
    try:
        body = json.loads(fields["body"])
        if not isinstance(body, dict) or not IDENTIFIER_PATTERN.fullmatch(fields["id"]):
            raise ValueError("the body is no object or the identifier is malformed")
        return Work(
            agent=agent,
            body=body,
            identifier=fields["id"],
            submitted=float(fields["submitted"]),
            requester=fields.get("requester", ""),
            trace=fields.get("trace", ""),
            tries=int(fields.get("tries", "0")),
            carrier=pick_headers(fields),
        )
    except KeyError as error:
        raise ValueError(f"field {error} is missing") from None


def read_work(agent: str, payload: bytes, tries: int) -> Work:
    """Read a request that came as a JSON message.

    Raises:
        ValueError: the message was not written by this package.
    """
    content = json.loads(payload)
    if not isinstance(content, dict) or not isinstance(content.get("body"), dict):
        raise ValueError("no object with a body")
    identifier, requester, trace = (content.get(key, "") for key in ("id", "requester", "trace"))
    if not all(isinstance(text, str) for text in (identifier, requester, trace)):
        raise ValueError("id, requester or trace is no text")
    if not IDENTIFIER_PATTERN.fullmatch(identifier):
        raise ValueError("the identifier is malformed")
    return Work(agent, content["body"], identifier, float(content.get("submitted", 0)), requester, trace, tries)


def pair_fields(flat: list[str]) -> dict[str, str]:
    """Turn the alternating names and values of a stream entry into a mapping."""
    return dict(zip(flat[::2], flat[1::2], strict=True))


def flatten_fields(fields: dict[str, str]) -> list[str]:
    """Turn a mapping into alternating names and values."""
    return [part for pair in fields.items() for part in pair]


def new_identifier() -> str:
    """Return an identifier that nobody has used."""
    return uuid.uuid4().hex


@dataclass(frozen=True)
class Outcome:
    """How a request ended."""

    done: bool
    body: dict[str, Any]
    error: str = ""

    def encode(self) -> str:
        """Return the text that is stored."""
        return json.dumps({"done": self.done, "body": self.body, "error": self.error}, separators=(",", ":"))


def decode_outcome(text: str) -> Outcome:
    """Read a stored outcome."""
    content = json.loads(text)
    return Outcome(bool(content["done"]), content["body"], content["error"])
