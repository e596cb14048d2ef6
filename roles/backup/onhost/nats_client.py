"""A small client of NATS with the standard library alone: requests to JetStream, and messages with a reply."""

from __future__ import annotations

import json
import secrets
import socket
import ssl
from dataclasses import dataclass
from typing import Any

from .settings import JobError, Settings

# A server that makes a snapshot sends nothing while it checks a large stream.
PATIENCE = 120.0


@dataclass(frozen=True)
class Message:
    """One message: where to, the subject of its reply, its headers and its content."""

    subject: str
    reply: str
    headers: bytes
    content: bytes


class Client:
    """One connection, by the certificate of the server's own host: its rights are the server's own."""

    def __init__(self, settings: Settings, server: dict[str, Any]) -> None:
        self.inbox = f"_INBOX.backup.{secrets.token_hex(8)}"
        address, port = str(server["address"]), int(server["port"])
        try:
            raw = socket.create_connection((address, port), 10)
            info = raw.makefile("rb", buffering=0).readline()
            if not info.startswith(b"INFO "):
                raise JobError(f"{address}:{port} is no NATS server")
            self.version = str(json.loads(info[5:])["version"])
            context = ssl.create_default_context(cafile=settings.authority)
            context.load_cert_chain(server["certificate"], server["key"])
            secure = context.wrap_socket(raw, server_hostname=address)
        except OSError as error:
            raise JobError(f"NATS at {address}:{port}: {error}") from None
        secure.settimeout(PATIENCE)
        self._stream = secure.makefile("rwb")
        options = {
            "verbose": False, "pedantic": False, "protocol": 1, "headers": True, "no_responders": True,
            "lang": "python", "version": "1", "name": "groundwork-backup", "tls_required": True,
        }  # fmt: skip
        self._send(f"CONNECT {json.dumps(options)}\r\nSUB {self.inbox}.* 1\r\n".encode())

    def _send(self, content: bytes) -> None:
        try:
            self._stream.write(content)
            self._stream.flush()
        except OSError as error:
            raise JobError(f"NATS closed the connection: {error}") from None

    def publish(self, subject: str, content: bytes = b"", reply: str = "") -> None:
        """Publish one message."""
        head = f"PUB {subject} {reply} {len(content)}" if reply else f"PUB {subject} {len(content)}"
        self._send(head.encode() + b"\r\n" + content + b"\r\n")

    def receive(self) -> Message:
        """The next message to one of our inboxes. Raises JobError when none comes in time."""
        while True:
            try:
                line = self._stream.readline().decode()
                words = line.split()
                verb = words[0].upper() if words else ""
                if verb == "PING":
                    self._send(b"PONG\r\n")
                elif verb in ("MSG", "HMSG"):
                    return self._read(verb, words)
                elif verb in ("", "-ERR"):
                    raise JobError(f"NATS: {line.strip() or 'the server closed the connection'}")
            except OSError as error:
                raise JobError(f"NATS: no answer: {error}") from None

    def _read(self, verb: str, words: list[str]) -> Message:
        total = int(words[-1])
        content = self._stream.read(total + 2)[:-2]
        if len(content) != total:
            raise JobError("NATS: the connection ended within a message")
        headers = int(words[-2]) if verb == "HMSG" else 0
        reply = words[3] if len(words) == (6 if verb == "HMSG" else 5) else ""
        return Message(words[1], reply, content[:headers], content[headers:])

    def ask(self, subject: str, question: object = None, reply: str = "ask") -> dict[str, Any]:
        """Ask JetStream. Raises JobError with its reason when it refuses."""
        inbox = f"{self.inbox}.{reply}"
        self.publish(subject, b"" if question is None else json.dumps(question).encode(), inbox)
        while True:
            message = self.receive()
            if message.subject != inbox:
                continue
            if message.headers:
                raise JobError(f"NATS: {subject}: JetStream does not answer")
            answer: dict[str, Any] = json.loads(message.content)
            if "error" in answer:
                raise JobError(f"NATS: {subject}: {answer['error'].get('description', answer['error'])}")
            return answer
