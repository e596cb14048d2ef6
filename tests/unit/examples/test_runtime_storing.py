"""Messages on their way into streams, and callers who go on together: no server needed."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from typing import Any

import pytest
from agent_runtime.bus.storing import StoreRefusedError, Storing
from agent_runtime.pace import Pace
from agent_runtime.stores.batches import BatchWriter
from agent_runtime.ymera.messages import INSERT, Message, build_insert
from nats.aio.msg import Msg

STORED = json.dumps({"stream": "inboxes", "seq": 7}).encode()


class Server:
    """Keeps what is sent, and answers when it is told to."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str, str]] = []

    async def publish(self, subject: str, payload: bytes, reply: str, headers: dict[str, str]) -> None:
        self.sent.append((subject, reply, headers["Nats-Msg-Id"]))

    async def answer(self, storing: Storing, number: int, data: bytes, headers: dict[str, str] | None = None) -> None:
        client: Any = None
        await storing.receive(Msg(client, subject=self.sent[number][1], data=data, headers=headers))


async def begin(storing: Storing, count: int) -> list[asyncio.Task[None]]:
    tasks = [asyncio.create_task(storing.store("agent.a.inbox", b"{}", f"m{number}")) for number in range(count)]
    await asyncio.sleep(0)
    return tasks


def test_each_message_gets_its_own_answer_in_any_order() -> None:
    async def run() -> None:
        server = Server()
        storing = Storing("_INBOX.a", server.publish, 5)
        tasks = await begin(storing, 3)
        assert [identifier for _, _, identifier in server.sent] == ["m0", "m1", "m2"]
        assert len({reply for _, reply, _ in server.sent}) == 3
        await server.answer(storing, 2, STORED)
        await server.answer(storing, 0, json.dumps({"error": {"err_code": 10077, "description": "full"}}).encode())
        # An answer that comes twice, or to nobody, changes nothing.
        await server.answer(storing, 2, STORED)
        await server.answer(storing, 1, STORED)
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert done[1:] == [None, None]
        assert isinstance(done[0], StoreRefusedError)
        assert (str(done[0]), done[0].code) == ("full", 10077)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("data", "headers"),
    [
        (b"", {"Status": "503"}),
        (b"no JSON", None),
        (b"[]", None),
        (b"{}", None),
        (b'{"error": {"description": "\\"seq\\": 7"}}', None),
    ],
)
def test_what_is_no_confirmation_counts_as_none(data: bytes, headers: dict[str, str] | None) -> None:
    async def run() -> None:
        server = Server()
        storing = Storing("_INBOX.a", server.publish, 5)
        (task,) = await begin(storing, 1)
        await server.answer(storing, 0, data, headers)
        with pytest.raises(StoreRefusedError):
            await task

    asyncio.run(run())


def test_a_stream_of_that_name_is_no_error() -> None:
    async def run() -> None:
        server = Server()
        storing = Storing("_INBOX.a", server.publish, 5)
        (task,) = await begin(storing, 1)
        await server.answer(storing, 0, b'{"stream":"error","seq":1}')
        await task

    asyncio.run(run())


def test_silence_ends_each_wait_at_its_own_time() -> None:
    async def run() -> None:
        server = Server()
        storing = Storing("_INBOX.a", server.publish, 0.1)
        first = await begin(storing, 1)
        await asyncio.sleep(0.06)
        second = await begin(storing, 1)
        done, waiting = await asyncio.wait([*first, *second], return_when=asyncio.FIRST_COMPLETED)
        assert done == set(first)
        assert waiting == set(second)
        for task in (*first, *second):
            with pytest.raises(TimeoutError):
                await task
        # The next one has a timer again.
        (third,) = await begin(storing, 1)
        with pytest.raises(TimeoutError):
            await third

    asyncio.run(run())


def test_callers_who_come_close_go_on_together() -> None:
    async def run() -> None:
        pace, times = Pace(0.05), []
        loop = asyncio.get_running_loop()

        async def call(delay: float) -> None:
            await asyncio.sleep(delay)
            await pace.wait()
            times.append(loop.time())

        began = loop.time()
        await asyncio.gather(*(call(delay) for delay in (0.0, 0.01, 0.02, 0.03)))
        assert times[0] - began < 0.04  # alone: at once
        assert min(times[1:]) - times[0] >= 0.03
        assert max(times[1:]) - min(times[1:]) < 0.03

    asyncio.run(run())


def test_rows_that_come_close_are_written_together() -> None:
    async def run() -> None:
        written: list[list[int]] = []

        async def write(rows: list[int]) -> None:
            written.append(rows)
            await asyncio.sleep(0.01)

        writer = BatchWriter(write, gather=0.05)

        async def add(row: int, delay: float) -> None:
            await asyncio.sleep(delay)
            await writer.add(row)

        await asyncio.gather(*(add(number, 0.002 * number) for number in range(12)))
        assert sorted(row for rows in written for row in rows) == list(range(12))
        assert len(written) <= 4

    asyncio.run(run())


def test_no_value_can_leave_the_statement_it_is_in() -> None:
    evil = "'); DROP TABLE message_history; --\\'\"$$\u2028{rows}"
    message = Message("0" * 32, "load", "ann", ("bob",), evil, {evil: evil}, 1.5, {}).with_status("delivered")
    before, literal, after = build_insert([message, message]).split("'")[:3]
    assert re.fullmatch(r"[A-Za-z0-9+/=]+", literal)
    assert before + after == INSERT.split("'")[0] + INSERT.split("'")[2]
    rows = json.loads(base64.b64decode(literal))
    assert rows == [message.describe()] * 2
