"""One HTTP server per agent, all in one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Iterator

import uvicorn
from starlette.applications import Starlette

BACKLOG = 512
LARGEST_CONNECTIONS = 1000


class AgentServer(uvicorn.Server):
    """A server that leaves signals to the launcher and sleeps until it is told to stop."""

    def __init__(self, app: Starlette, stop_seconds: float, tls: ssl.SSLContext | None = None) -> None:
        config = uvicorn.Config(
            app,
            http="h11",
            ws="none",
            loop="asyncio",
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            # The trace identifier comes from a header, the client's address from nowhere.
            proxy_headers=False,
            limit_concurrency=LARGEST_CONNECTIONS,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=max(1, int(stop_seconds)),
        )
        config.load()
        # uvicorn would make a context of its own from files; this one follows their changes.
        config.ssl = tls
        super().__init__(config)
        self._stop = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take no signals: several servers share this process."""
        yield

    async def main_loop(self) -> None:
        """Wait for `stop`. uvicorn itself looks ten times a second, which adds up with many agents."""
        while not self._stop.is_set():
            # The tick renews the Date header.
            await self.on_tick(0)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await self._stop.wait()

    def stop(self) -> None:
        """Accept no more connections, finish the open requests, then return from `serve`."""
        self.should_exit = True
        self._stop.set()


def bind_socket(address: str, port: int) -> socket.socket:
    """Open a listening socket.

    Raises:
        OSError: the address is not this host's, or the port is taken.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener
