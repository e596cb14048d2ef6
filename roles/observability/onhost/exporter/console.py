"""PgBouncer's administration database, asked without a driver."""

from __future__ import annotations

import re
import socket
import ssl
import struct
from collections.abc import Iterator
from typing import Any

TIMEOUT = 5.0
"""Seconds for each answer."""


class UnreadableError(Exception):
    """What a target says is not what it should be."""


class Console:
    """PgBouncer's administration database, asked in PostgreSQL's protocol (version 3.0) over TLS."""

    def __init__(self, target: dict[str, Any], context: ssl.SSLContext) -> None:
        plain = socket.create_connection((target["address"], int(target["port"])), TIMEOUT)
        try:
            plain.sendall(struct.pack("!ii", 8, 80877103))
            if plain.recv(1) != b"S":
                raise UnreadableError("does not offer TLS")
            self._stream = context.wrap_socket(plain, server_hostname=target["address"])
        except BaseException:
            plain.close()
            raise
        parameters = b"user\0%s\0database\0pgbouncer\0\0" % target["user"].encode()
        self._stream.sendall(struct.pack("!ii", len(parameters) + 8, 196608) + parameters)
        self._read_until_ready()

    def close(self) -> None:
        """End the session."""
        self._stream.close()

    def ask(self, question: str) -> list[dict[str, str]]:
        """Rows of an answer, by column."""
        text = question.encode() + b"\0"
        self._stream.sendall(b"Q" + struct.pack("!i", len(text) + 4) + text)
        columns: list[str] = []
        rows: list[dict[str, str]] = []
        for kind, body in self._read_until_ready():
            if kind == b"T":
                columns = list(self._split_columns(body))
            elif kind == b"D":
                rows.append(dict(zip(columns, self._split_values(body), strict=True)))
        return rows

    def _read_until_ready(self) -> list[tuple[bytes, bytes]]:
        messages: list[tuple[bytes, bytes]] = []
        while not messages or messages[-1][0] != b"Z":
            kind, length = struct.unpack("!ci", self._take(5))
            body = self._take(length - 4)
            if kind == b"E":
                reason = re.search(rb"\0M([^\0]*)", b"\0" + body)
                raise UnreadableError(reason[1].decode(errors="replace") if reason else "an error without a reason")
            if kind == b"R" and struct.unpack("!i", body[:4])[0] != 0:
                raise UnreadableError("wants a password")
            messages.append((kind, body))
        return messages

    def _take(self, count: int) -> bytes:
        taken = b""
        while len(taken) < count:
            piece = self._stream.recv(count - len(taken))
            if not piece:
                raise UnreadableError("ends the connection")
            taken += piece
        return taken

    @staticmethod
    def _split_columns(body: bytes) -> Iterator[str]:
        position = 2
        for _ in range(struct.unpack("!h", body[:2])[0]):
            end = body.index(b"\0", position)
            yield body[position:end].decode()
            position = end + 19

    @staticmethod
    def _split_values(body: bytes) -> Iterator[str]:
        position = 2
        for _ in range(struct.unpack("!h", body[:2])[0]):
            (length,) = struct.unpack("!i", body[position : position + 4])
            position += 4
            yield body[position : position + length].decode() if length >= 0 else ""
            position += max(length, 0)
