"""Connects testinfra to a host the way pyinfra connects to it: same address, user, key and known hosts."""

from __future__ import annotations

import functools
import shlex
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import paramiko
import testinfra
from pyinfra.connectors.sshuserclient import SSHClient
from testinfra.backend.paramiko import ParamikoBackend
from testinfra.host import Host as Inspected

from groundwork.connector.shell import (
    Answer,
    GreetingError,
    NotRunError,
    NotSentError,
    RemoteShell,
    ShellError,
    ShellStaleError,
    starting_command,
)
from groundwork.connector.shells import MOST_SHELLS
from groundwork.connector.transport import QuickTransport
from groundwork.inventory import InventoryHost

CONNECT_TIMEOUT = 10
"""Seconds for each step of a connection; an unreachable host costs this much once per session."""

COMMAND_TIMEOUT = 120
"""Seconds that a command may stay silent."""


class UnreachableError(Exception):
    """A host cannot be inspected, with the reason."""


class SecureBackend(ParamikoBackend):  # type: ignore[misc]
    """testinfra's paramiko backend, over pyinfra's SSH client.

    testinfra's own only warns about an unknown host key. This one refuses it (unless the inventory says
    otherwise), never prompts, and has one remote shell per user run all commands.
    """

    def __init__(self, name: str, data: Mapping[str, Any]) -> None:
        self._data = data
        super().__init__(
            hostspec=name.replace("@", "").replace(":", "_"),
            timeout=CONNECT_TIMEOUT,
            sudo=bool(data.get("_sudo")),
            sudo_user=data.get("_sudo_user"),
        )
        self.hostname = name
        self._shells: dict[str | None, RemoteShell | None] = {}
        self._choosing = threading.Lock()

    @functools.cached_property
    def client(self) -> paramiko.SSHClient:
        """The connection, made on first use. Raises UnreachableError."""
        data = self._data
        client = SSHClient()
        settings: dict[str, Any] = {
            "username": data.get("ssh_user"),
            "port": int(data.get("ssh_port") or 22),
            "password": data.get("ssh_password"),
            "transport_factory": QuickTransport,
            "timeout": CONNECT_TIMEOUT,
            "banner_timeout": CONNECT_TIMEOUT,
            "auth_timeout": CONNECT_TIMEOUT,
            "channel_timeout": CONNECT_TIMEOUT,
            "allow_agent": bool(data.get("ssh_allow_agent", not data.get("ssh_key"))),
            "look_for_keys": bool(data.get("ssh_look_for_keys", not data.get("ssh_key"))),
        }
        if data.get("ssh_key"):
            settings["key_filename"] = str(Path(str(data["ssh_key"])).expanduser())
            settings["passphrase"] = data.get("ssh_key_password")
        try:
            client.connect(
                str(data.get("ssh_hostname") or self.hostname),
                _pyinfra_ssh_config_file=data.get("ssh_config_file"),
                _pyinfra_ssh_known_hosts_file=data.get("ssh_known_hosts_file"),
                _pyinfra_ssh_strict_host_key_checking=data.get("ssh_strict_host_key_checking", "yes"),
                _pyinfra_ssh_paramiko_connect_kwargs=data.get("ssh_paramiko_connect_kwargs"),
                **{key: value for key, value in settings.items() if value is not None},
            )
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise UnreachableError(str(error) or type(error).__name__) from error
        return client

    def get_sudo_command(self, command: str, sudo_user: str | None) -> str:
        """The command through sudo, which fails rather than asks for a password."""
        user = f"-u {shlex.quote(sudo_user)} " if sudo_user else ""
        return f"sudo -n {user}/bin/sh -c {shlex.quote(command)}"

    def _exec_command(self, command: bytes) -> tuple[int, bytes, bytes]:
        """Run a command over the shell that stays; where there is none, over a channel of its own."""
        user, text = self._split_sudo(command.decode())
        # A second time where the first shell was out of date.
        for _ in range(2):
            with self._choosing:
                shell = self._shell(user)
                # Another thread's command is under way there.
                if shell is None or shell.is_busy:
                    break
                shell.is_busy = True
            answer = Answer()
            try:
                shell.greet()
                answer.close(shell.run("sh", text, answer.take, None))
                return answer.status or 0, answer.output, answer.errors
            except (GreetingError, NotRunError, NotSentError):
                self._shells[user] = None
                shell.close()
            except BaseException as error:
                del self._shells[user]
                shell.close()
                if not isinstance(error, ShellError):
                    raise
                if not isinstance(error, ShellStaleError):
                    answer.close(-1)
                    return -1, answer.output, f"{error} while the command ran".encode()
            finally:
                shell.is_busy = False
        return self._exec_alone(command)

    def _split_sudo(self, command: str) -> tuple[str | None, str]:
        """Whom ``get_sudo_command`` has a command run as (None: who is logged in) and the command itself."""
        if command.startswith("sudo -n "):
            words = shlex.split(command)
            user = words[3] if words[2] == "-u" else ""
            if command == self.get_sudo_command(words[-1], user or None):
                return user, words[-1]
        return None, command

    def _shell(self, user: str | None) -> RemoteShell | None:
        """The shell of a user (empty: root by sudo), started on first use; None where it cannot be."""
        shell = self._shells.get(user)
        if user in self._shells and (shell is None or shell.is_usable):
            return shell
        transport = self.client.get_transport()
        if transport is None or not transport.is_active() or len(self._shells) >= MOST_SHELLS:
            return None
        starting = starting_command()
        command = starting if user is None else self.get_sudo_command(starting, user or None)
        try:
            shell = RemoteShell.start(transport, command)
            shell.silence = COMMAND_TIMEOUT
        except (paramiko.SSHException, ShellError):
            shell = None
        self._shells[user] = shell
        return shell

    def _exec_alone(self, command: bytes) -> tuple[int, bytes, bytes]:
        transport = self.client.get_transport()
        if transport is None:
            raise UnreachableError("the connection is closed")
        channel = transport.open_session()
        channel.settimeout(COMMAND_TIMEOUT)
        channel.exec_command(command)
        output = b"".join(channel.makefile("rb"))
        errors = b"".join(channel.makefile_stderr("rb"))
        return channel.recv_exit_status(), output, errors


def inspect_host(host: InventoryHost) -> Inspected:
    """A connected testinfra host for a host of the inventory.

    Raises:
        UnreachableError: it refuses, hangs, has another host key, or is reached by other means than SSH.
    """
    if host.name == "@local":
        return testinfra.get_host("local://", sudo=bool(host.data.get("_sudo")))
    if host.name.startswith("@") and not host.name.startswith("@ssh/"):
        raise UnreachableError(f"{host.name}: only hosts over SSH and @local can be verified")
    backend = SecureBackend(host.name.removeprefix("@ssh/"), host.data)
    inspected = Inspected(backend)
    backend.set_host(inspected)
    connected = backend.client  # connects now, so that the reason is known here
    assert connected is not None
    return inspected
