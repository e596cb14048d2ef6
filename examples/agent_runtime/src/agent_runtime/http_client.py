"""A small HTTP client for calls between agents: one request per connection."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from typing import Any

import h11

from agent_runtime.instance import Endpoint
from agent_runtime.tracing import conventions, spans

LARGEST_ANSWER_BYTES = 4_194_304


class CallError(Exception):
    """No usable answer came."""


async def call(
    peer: Endpoint,
    method: str,
    path: str,
    body: dict[str, Any] | None = None,
    *,
    timeout: float = 10.0,
    trace: str = "",
    tls: ssl.SSLContext | None = None,
) -> tuple[int, Any]:
    """Send a request and return the status and the parsed JSON answer.

    With `tls`, the peer's certificate must be for the address that the instance file gives.

    Raises:
        CallError: no connection, no answer within `timeout` seconds, or an answer that is not JSON.
    """
    headers = {"Accept": "application/json"} | ({"X-Request-Id": trace} if trace else {})
    payload = None
    if body is not None:
        headers["Content-Type"] = "application/json"
        payload = json.dumps(body).encode()
    known: conventions.Attributes = {
        conventions.METHOD: method,
        conventions.SERVER_ADDRESS: peer.host,
        conventions.SERVER_PORT: peer.port,
    }
    with spans.span(method, "client", known) as span:
        headers |= spans.carry()
        status, content = await exchange(peer, method, path, payload, headers, timeout=timeout, tls=tls)
        span.set(conventions.STATUS, status)
        if status >= 400:
            span.fail(str(status))
    try:
        return status, json.loads(content) if content else None
    except ValueError as error:
        raise CallError(f"{peer.host}:{peer.port}: {error}") from None


async def exchange(
    peer: Endpoint,
    method: str,
    path: str,
    payload: bytes | None,
    headers: dict[str, str],
    *,
    timeout: float,
    tls: ssl.SSLContext | None,
) -> tuple[int, bytes]:
    """Send a request with these headers and return status and content, whatever they are. Raises CallError."""
    try:
        async with asyncio.timeout(timeout):
            return await _exchange(peer, method, path, payload, headers, tls)
    except TimeoutError:
        raise CallError(f"{peer.host}:{peer.port} has not answered in {timeout:g} s") from None
    except (OSError, EOFError, h11.ProtocolError, ValueError) as error:
        raise CallError(f"{peer.host}:{peer.port}: {error}") from None


async def _exchange(
    peer: Endpoint,
    method: str,
    path: str,
    payload: bytes | None,
    more: dict[str, str],
    tls: ssl.SSLContext | None,
) -> tuple[int, bytes]:
    reader, writer = await asyncio.open_connection(peer.address, peer.port, ssl=tls)
    try:
        headers = [("Host", f"{peer.host}:{peer.port}"), ("Connection", "close"), *more.items()]
        if payload is not None:
            headers.append(("Content-Length", str(len(payload))))
        connection = h11.Connection(h11.CLIENT)
        request = connection.send(h11.Request(method=method, target=path, headers=headers))
        data = connection.send(h11.Data(data=payload)) if payload else b""
        writer.write((request or b"") + (data or b"") + (connection.send(h11.EndOfMessage()) or b""))
        await writer.drain()
        return await _receive(reader, connection)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _receive(reader: asyncio.StreamReader, connection: h11.Connection) -> tuple[int, bytes]:
    status, content = 0, bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(65536))
        elif isinstance(event, h11.Response):
            status = event.status_code
        elif isinstance(event, h11.Data):
            content += event.data
            if len(content) > LARGEST_ANSWER_BYTES:
                raise ValueError(f"the answer is larger than {LARGEST_ANSWER_BYTES} bytes")
        elif isinstance(event, h11.EndOfMessage):
            return status, bytes(content)
        elif isinstance(event, h11.ConnectionClosed):
            raise EOFError("the connection was closed")
