"""Keeps one silent host from holding up the run.

pyinfra's ``_timeout`` covers reading a command's output. It does not cover opening a channel, moving a file
or waiting for the exit status, and it knows nothing of a host that stopped answering altogether. The guard
puts a limit on every call of a host's connector and asks the SSH server for signs of life.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import gevent
from gevent import Greenlet
from paramiko import SSHException, Transport
from pyinfra.api.exceptions import ConnectError
from pyinfra.api.host import Host
from pyinfra.api.state import State, StateStage

from groundwork.engine.errors import HostLostError
from groundwork.engine.request import Timeouts

GRACE = 5.0
"""Seconds beyond pyinfra's own timeout after which the guard steps in."""

_CALLS = ("run_shell_command", "put_file", "get_file", "rsync")


class HostGuard:
    """Limits what a host's connector may take; install one per host before it is connected."""

    def __init__(self, state: State, host: Host, timeouts: Timeouts) -> None:
        self._state = state
        self._host = host
        self._timeouts = timeouts
        self._under_way: list[Greenlet] = []
        self._watcher: Greenlet | None = None
        self.lost = ""
        """Why the host counts as lost; empty while it answers."""
        self.timed_out = ""
        """What the last command that took too long was given; read and emptied with ``take_note``."""

    def install(self) -> None:
        """Put the guard between pyinfra and the host's connector."""
        connector: Any = self._host.connector
        connector.connect = self._limit_connect(connector.connect)
        for name in _CALLS:
            setattr(connector, name, self._limit_call(getattr(connector, name)))

    def take_note(self) -> str:
        """Why the last command was cut off, once."""
        note, self.timed_out = self.timed_out, ""
        return note

    def watch(self) -> None:
        """Begin to ask the host's SSH server for signs of life; does nothing for a host without one."""
        if self._watcher is None and self._transport() is not None:
            self._watcher = gevent.spawn(self._watch)

    def close(self) -> None:
        """Stop watching and drop the connection."""
        if self._watcher is not None:
            self._watcher.kill(block=False)
        transport = self._transport()
        if transport is not None:
            transport.close()

    def _transport(self) -> Transport | None:
        client = getattr(self._host.connector, "client", None)
        return client.get_transport() if client is not None else None

    def _limit_connect(self, connect: Callable[[], None]) -> Callable[[], None]:
        def guarded() -> None:
            limit = self._timeouts.connect
            error = ConnectError(f"no SSH session within {limit:g} s: the host does not answer")
            with gevent.Timeout(limit, error):
                connect()
            transport = self._transport()
            if transport is not None and isinstance(transport.sock, socket.socket):
                # For hosts of pyinfra's own connector: 4 ms a command instead of 48, a delayed acknowledgement.
                transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        return guarded

    def _limit_call(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(*args: Any, **arguments: Any) -> Any:
            if self.lost:
                raise HostLostError(self.lost)
            preparing = self._state.current_stage < StateStage.Execute
            limit = float(arguments.get("_timeout") or self._timeouts.operation)
            if preparing:
                limit = min(limit, self._timeouts.fact)
            if call.__name__ == "run_shell_command":
                arguments["_timeout"] = limit
            current = gevent.getcurrent()
            self._under_way.append(current)
            try:
                with gevent.Timeout(limit + GRACE, HostLostError(f"no answer within {limit:g} s")):
                    outcome = call(*args, **arguments)
            except TimeoutError:
                self.timed_out = f"the command did not end within {limit:g} s"
                if preparing:
                    raise HostLostError(self.timed_out) from None
                raise
            except (SSHException, EOFError, OSError) as error:
                if self._connection_broke():
                    raise HostLostError(f"the connection broke: {error}") from error
                raise
            finally:
                self._under_way.remove(current)
            succeeded = outcome[0] if isinstance(outcome, tuple) else outcome
            if not succeeded and self._connection_broke():
                raise HostLostError("the connection broke while a command ran")
            return outcome

        return guarded

    def _connection_broke(self) -> bool:
        transport = self._transport()
        return transport is not None and not transport.is_active()

    def _watch(self) -> None:
        silence = self._timeouts.silence
        while not self.lost:
            gevent.sleep(min(10.0, silence / 2))
            transport = self._transport()
            # A host that is being rebooted is disconnected for a while, by intention.
            if transport is None or not transport.is_active() or not self._host.connected:
                continue
            with gevent.Timeout(silence, False):
                # The server refuses the request; that refusal is the sign of life.
                transport.global_request("keepalive@groundwork", wait=True)
                continue
            if transport.is_active() and self._host.connected:
                self._lose(f"the host stopped answering: no sign of life for {silence:g} s")
                transport.close()

    def _lose(self, reason: str) -> None:
        self.lost = reason
        for greenlet in list(self._under_way):
            greenlet.kill(HostLostError(reason), block=False)
