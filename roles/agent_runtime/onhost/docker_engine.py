"""The few questions to the Docker engine that supervising a container takes, over its local socket."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlencode

SOCKET = "/run/docker.sock"
ANSWER_SECONDS = 30.0
# A frame of a log stream: one byte which stream, three unused, four its length (Docker Engine API, "attach").
_FRAME_HEAD = 8


class EngineGoneError(Exception):
    """The engine does not answer: it restarts, or is stopped. Its containers may run all the same."""


class EngineError(Exception):
    """The engine refused a request; the message is its own."""


class _LocalConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float | None) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path
        self._timeout = timeout

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self._timeout)
        self.sock.connect(self._path)


class Engine:
    """The engine behind ``path``."""

    def __init__(self, path: str = SOCKET) -> None:
        self._path = path

    def _open(self, method: str, path: str, timeout: float | None) -> http.client.HTTPResponse:
        connection = _LocalConnection(self._path, timeout)
        try:
            connection.request(method, path, headers={"Connection": "close"})
            return connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise EngineGoneError(str(error)) from None

    def _ask(self, method: str, path: str, timeout: float = ANSWER_SECONDS) -> tuple[int, Any]:
        response = self._open(method, path, timeout)
        try:
            body = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise EngineGoneError(str(error)) from None
        finally:
            response.close()
        try:
            return response.status, json.loads(body) if body else None
        except ValueError:
            return response.status, body.decode(errors="replace")

    def _order(self, method: str, path: str, timeout: float = ANSWER_SECONDS) -> None:
        status, told = self._ask(method, path, timeout)
        if status >= 400 and status != 404:
            raise EngineError(told.get("message", "") if isinstance(told, dict) else str(told))

    def inspect(self, name: str) -> dict[str, Any] | None:
        """All about a container, or None where there is none."""
        status, told = self._ask("GET", f"/containers/{quote(name)}/json")
        return told if status == 200 else None

    def read_user_offset(self) -> int:
        """What the engine adds to user ids of containers: 0 without user namespaces (userns-remap)."""
        status, told = self._ask("GET", "/info")
        if status != 200 or not any(option.startswith("name=userns") for option in told["SecurityOptions"] or []):
            return 0
        # With a mapping the engine's data lie in a folder named by it: /var/lib/docker/100000.100000.
        return int(str(told["DockerRootDir"]).rpartition("/")[2].partition(".")[0])

    def start(self, name: str) -> None:
        """Start a container. Raises EngineError with the engine's reason."""
        status, told = self._ask("POST", f"/containers/{quote(name)}/start")
        if status >= 400:
            raise EngineError(told.get("message", "") if isinstance(told, dict) else str(told))

    def stop(self, name: str, seconds: float) -> None:
        """Ask a container's process to end, and end it after ``seconds``."""
        self._order("POST", f"/containers/{quote(name)}/stop?t={int(seconds)}", seconds + ANSWER_SECONDS)

    def remove(self, name: str) -> None:
        """Remove a container, whether it runs or not."""
        self._order("DELETE", f"/containers/{quote(name)}?force=true&v=true")

    def remove_network(self, name: str) -> bool:
        """Remove a network that no container uses any more; tells whether it is gone."""
        return bool(self._ask("DELETE", f"/networks/{quote(name)}")[0] in (204, 404))

    def follow_logs(self, name: str, since: float) -> Iterator[tuple[int, bytes]]:
        """Yield what the container writes from ``since`` (seconds since 1970) on: 1 or 2 for the stream, and bytes."""
        query = urlencode({"follow": 1, "stdout": 1, "stderr": 1, "since": f"{since:.9f}"})
        response = self._open("GET", f"/containers/{quote(name)}/logs?{query}", None)
        try:
            while len(head := response.read(_FRAME_HEAD)) == _FRAME_HEAD:
                yield head[0], response.read(int.from_bytes(head[4:], "big"))
        except (OSError, http.client.HTTPException) as error:
            raise EngineGoneError(str(error)) from None
        finally:
            response.close()
