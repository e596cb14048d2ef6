"""The shells of one host: one for each identity that commands run as."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from paramiko import SSHException
from pyinfra.api.command import StringCommand
from pyinfra.connectors.util import make_unix_command_for_host

from groundwork.connector.changes import count_changes
from groundwork.connector.context import Identity
from groundwork.connector.shell import NotRunError, RemoteShell, ShellError, starting_command

if TYPE_CHECKING:
    from groundwork.connector.ssh import GroundworkConnector

MOST_SHELLS = 4
"""Shells of one host: sshd allows 10 sessions on a connection by default, and file transfers need one, too."""
MOST_FAILURES = 3
"""Attempts to start one identity's shell; each one after something has changed on the hosts."""

Key = tuple[Identity, str]


class Shells:
    """Starts shells, hands them out, and remembers for whom there is none."""

    def __init__(self, connector: GroundworkConnector) -> None:
        self._connector = connector
        self._running: dict[Key, RemoteShell] = {}
        self._failed: dict[Key, list[int]] = {}

    def get(self, identity: Identity, arguments: Mapping[str, Any]) -> RemoteShell | None:
        """An idle shell for an identity; None where a command needs a channel of its own.

        Args:
            identity: whom its commands run as.
            arguments: the connector arguments of a command, for what it takes to become that.
        """
        password = self._password(identity, arguments)
        if password is None:
            return None
        key = (identity, password)
        shell = self._running.get(key)
        if shell is not None and not shell.is_usable:
            self.discard(shell)
            shell = None
        if shell is None:
            return self._start(key, arguments)
        return None if shell.is_busy else shell

    @contextmanager
    def keeping(self, shell: RemoteShell) -> Iterator[None]:
        """Use a shell; it is dropped where it is not known how far it got."""
        shell.is_busy = True
        try:
            yield
        except NotRunError:
            raise
        except BaseException:
            self.discard(shell)
            raise
        finally:
            shell.is_busy = False

    def note_failure(self, shell: RemoteShell) -> None:
        """A shell did not come up: do not try again before something has changed."""
        for key, running in list(self._running.items()):
            if running is shell:
                self._fail(key)
        self.discard(shell)

    def discard(self, shell: RemoteShell) -> None:
        """Drop a shell."""
        self._running = {key: running for key, running in self._running.items() if running is not shell}
        shell.close()

    def close(self) -> None:
        """Drop all of them; failures are forgotten, too."""
        for shell in list(self._running.values()):
            self.discard(shell)
        self._failed.clear()

    def _start(self, key: Key, arguments: Mapping[str, Any]) -> RemoteShell | None:
        connector = self._connector
        transport = connector.client.get_transport() if connector.client is not None else None
        if transport is None or not transport.is_active() or len(self._running) >= MOST_SHELLS:
            return None
        failures = self._failed.get(key, [])
        if failures and (len(failures) >= MOST_FAILURES or failures[-1] == count_changes(connector.state)):
            return None
        becoming = dict(key[0]) | {name: arguments.get(name) for name in ("_sudo_password", "_temp_dir")}
        command = make_unix_command_for_host(
            connector.state, connector.host, StringCommand(starting_command()), **becoming
        )
        try:
            shell = RemoteShell.start(transport, command.get_raw_value())
        except (SSHException, OSError, EOFError, ShellError):
            self._fail(key)
            return None
        self._running[key] = shell
        return shell

    def _fail(self, key: Key) -> None:
        self._failed.setdefault(key, []).append(count_changes(self._connector.state))

    def _password(self, identity: Identity, arguments: Mapping[str, Any]) -> str | None:
        """The password that becoming the identity takes, empty without one; None where no shell can become it.

        A login shell reads a command twice, and su without a password would read ours as one.
        """
        names = dict(identity)
        if names.get("_use_sudo_login") or names.get("_use_su_login"):
            return None
        if names.get("_su_user") and self._connector.data["ssh_user"] != "root":
            return None
        if not names.get("_sudo"):
            return ""
        given = arguments.get("_sudo_password") or self._connector.host.connector_data.get("prompted_sudo_password")
        return str(given or "")
