"""A TCP proxy on 127.0.0.1 that delays what passes, and counts it: netem is not everywhere to be had.

    python delaying_proxy.py MILLISECONDS HOST:PORT...

Prints one port per target, then, at each line it reads, what passed since the last one: bytes of all targets, and the
round trips of the target with the most of them, all its connections together. Half the delay lies on each way. A
connection is made without delay and is not counted as a round trip.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time


class Counts:
    """What passed to one target: bytes, and how often an answer came after a question on the same connection."""

    def __init__(self) -> None:
        self.bytes = 0
        self.trips = 0


async def _relay(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float, seen: list[str], side: str, counts: Counts
) -> None:
    queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def send() -> None:
        while True:
            due, data = await queue.get()
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            if not data:
                writer.close()
                return
            writer.write(data)
            await writer.drain()

    sending = asyncio.create_task(send())
    try:
        while data := await reader.read(65536):
            counts.bytes += len(data)
            if side == "server" and seen[0] == "client":
                counts.trips += 1
            seen[0] = side
            queue.put_nowait((time.monotonic() + delay, data))
    except ConnectionError:
        pass
    queue.put_nowait((time.monotonic() + delay, b""))
    with contextlib.suppress(ConnectionError):
        await sending


async def _serve(delay: float, targets: list[str]) -> None:
    all_counts = [Counts() for _ in targets]

    def handler(host: str, port: int, counts: Counts) -> object:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            far_reader, far_writer = await asyncio.open_connection(host, port)
            seen = [""]
            await asyncio.gather(
                _relay(reader, far_writer, delay, seen, "client", counts),
                _relay(far_reader, writer, delay, seen, "server", counts),
            )

        return handle

    ports = []
    for target, counts in zip(targets, all_counts, strict=True):
        host, _, port = target.rpartition(":")
        server = await asyncio.start_server(handler(host, int(port), counts), "127.0.0.1", 0)  # type: ignore[arg-type]
        ports.append(server.sockets[0].getsockname()[1])
    print(json.dumps(ports), flush=True)
    questions = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(questions)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
    while await questions.readline():
        passed = {"bytes": sum(one.bytes for one in all_counts), "trips": max(one.trips for one in all_counts)}
        print(json.dumps(passed), flush=True)
        for one in all_counts:
            one.bytes = one.trips = 0


if __name__ == "__main__":
    asyncio.run(_serve(float(sys.argv[1]) / 2000, sys.argv[2:]))
