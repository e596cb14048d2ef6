"""The connector ``@groundwork/host``: pyinfra's SSH connector, with commands over a shell that stays."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

from pyinfra import logger
from pyinfra.api.command import StringCommand
from pyinfra.api.exceptions import InventoryError
from pyinfra.api.host import Host
from pyinfra.api.output import echo
from pyinfra.api.state import State
from pyinfra.connectors.base import DataMeta
from pyinfra.connectors.ssh import ConnectorData as SSHConnectorData
from pyinfra.connectors.ssh import SSHConnector
from pyinfra.connectors.ssh import connector_data_meta as ssh_data_meta
from pyinfra.connectors.util import CommandOutput, make_unix_command_for_host
from typing_extensions import override

from groundwork.connector.asking import ask_shortly, asks_fact
from groundwork.connector.changes import note_change, watch_commands
from groundwork.connector.context import Request, split_command
from groundwork.connector.facts import FactAnswers
from groundwork.connector.lines import Collector
from groundwork.connector.quicker import make_quicker
from groundwork.connector.shell import (
    GreetingError,
    NotRunError,
    NotSentError,
    RemoteShell,
    ShellError,
    ShellStaleError,
)
from groundwork.connector.shells import Shells
from groundwork.connector.transport import QuickTransport
from groundwork.connector.uploads import read_upload

NO_SNAPSHOT = "GROUNDWORK_NO_SNAPSHOT"
"""Environment variable that, when set, has every fact asked when it is needed."""


class ConnectorData(SSHConnectorData):
    """Host data of the connector: those of pyinfra's, and whether facts may be asked ahead of time."""

    groundwork_snapshot: bool


class GroundworkConnector(SSHConnector):
    """Connect to hosts over SSH, with one remote shell that stays and facts asked ahead of time.

    .. code:: shell

        pyinfra @groundwork/my-host.net ...

    Takes the same host data as ``@ssh``, and ``groundwork_snapshot`` (default true).
    """

    data_cls: type[Any] = ConnectorData
    data_meta = {
        **ssh_data_meta,
        "groundwork_snapshot": DataMeta("Whether facts may be asked ahead of time, in one go", True),
    }
    data: Any

    def __init__(self, state: State, host: Host) -> None:
        super().__init__(state, host)
        self._shells = Shells(self)
        ahead = bool(self.data["groundwork_snapshot"]) and not os.environ.get(NO_SNAPSHOT)
        self._facts = FactAnswers(state, host, self._shells, ahead)
        watch_commands()
        make_quicker()

    @override
    @staticmethod
    def make_names_data(name: str | None) -> Iterator[tuple[str, dict[str, Any], list[str]]]:
        """One host, called what stands after ``@groundwork/``."""
        if not name:
            raise InventoryError("No host given: @groundwork/my-host.net")
        yield name, {"ssh_hostname": name}, []

    @override
    def make_paramiko_kwargs(self) -> dict[str, Any]:
        """What pyinfra connects with, over a transport that waits for less; host data may name another one."""
        return super().make_paramiko_kwargs() | {"transport_factory": QuickTransport}

    @override
    def connect(self) -> None:
        """Connect as pyinfra does."""
        self._shells.close()
        super().connect()

    @override
    def disconnect(self) -> None:
        """End the shells and write down which facts were asked."""
        self.remember()
        self._shells.close()
        super().disconnect()

    def remember(self) -> None:
        """Write down which facts were asked, for the next run."""
        self._facts.save()

    @override
    def run_shell_command(
        self, command: StringCommand, print_output: bool = False, print_input: bool = False, **arguments: Any
    ) -> tuple[bool, CommandOutput]:
        """Execute a command; arguments, result and errors are those of pyinfra's SSH connector."""
        if asks_fact():
            return self._run(command, print_output, print_input, arguments, is_fact=True)
        note_change(self.state)
        try:
            return self._run(command, print_output, print_input, arguments, is_fact=False)
        finally:
            note_change(self.state)

    @override
    def put_file(
        self,
        filename_or_io: Any,
        remote_filename: str,
        remote_temp_filename: str | None = None,
        print_output: bool = False,
        print_input: bool = False,
        **arguments: Any,
    ) -> bool:
        """Upload a file, as pyinfra's SSH connector; what is not large goes to its place over the shell that stays."""
        note_change(self.state)
        try:
            # Whoever wants to see the commands of an upload gets them.
            if not print_input and self._write(filename_or_io, remote_filename, arguments):
                if print_output:
                    echo(f"{self.host.print_prefix}file uploaded: {remote_filename}", err=True)
                return True
            return super().put_file(
                filename_or_io, remote_filename, remote_temp_filename, print_output, print_input, **arguments
            )
        finally:
            note_change(self.state)

    @override
    def rsync(self, *args: Any, **arguments: Any) -> Any:
        """Upload files with rsync, as pyinfra's SSH connector."""
        note_change(self.state)
        try:
            return super().rsync(*args, **arguments)
        finally:
            note_change(self.state)

    def _write(self, source: Any, path: str, arguments: dict[str, Any]) -> bool:
        """Whether a file was written over a shell; where not, for whatever reason, it can be written another way."""
        data = read_upload(source)
        rest = {name: value for name, value in arguments.items() if name not in ("_timeout", "_success_exit_codes")}
        request = split_command("true", rest)
        known = self.data["ssh_file_transfer_protocol"] in ("sftp", "scp")
        if data is None or request is None or not known or not path.startswith("/") or "\0" in path:
            return False
        # A second time where the first shell was out of date.
        for _ in range(2):
            shell = self._shells.get(request.identity, rest)
            if shell is None:
                return False
            try:
                with self._shells.keeping(shell):
                    shell.greet()
                    shell.write(path, data)
                return True
            except ShellStaleError:
                continue
            except GreetingError:
                self._shells.note_failure(shell)
                return False
            except ShellError as error:
                logger.debug("%s: an upload of its own for %s: %s", self.host.name, path, error)
                return False
        return False

    def _run(
        self, command: StringCommand, print_output: bool, print_input: bool, arguments: dict[str, Any], is_fact: bool
    ) -> tuple[bool, CommandOutput]:
        def plain() -> tuple[bool, CommandOutput]:
            return super(GroundworkConnector, self).run_shell_command(
                command, print_output=print_output, print_input=print_input and request is None, **arguments
            )

        request: Request | None = None
        rest = dict(arguments)
        timeout, codes = rest.pop("_timeout", None), rest.pop("_success_exit_codes", None)
        if rest.pop("_get_pty", False) or rest.pop("_stdin", None):
            return plain()
        request = split_command(command, rest)
        if request is None:
            return plain()
        if print_input:
            shown = make_unix_command_for_host(self.state, self.host, command, **rest)
            echo(f"{self.host.print_prefix}>>> {shown}", err=True)
        deadline = time.monotonic() + timeout if timeout else None
        collector = Collector(self.host, print_output)
        status = self._answer(request, rest, deadline, is_fact, collector)
        if status is None:
            return plain()
        output = collector.finish()
        return (status in codes if codes else status == 0), output

    def _answer(
        self, request: Request, arguments: dict[str, Any], deadline: float | None, is_fact: bool, collector: Collector
    ) -> int | None:
        """The exit status, with the output in ``collector``; None where the command was not run at all."""

        def get_shell() -> RemoteShell | None:
            return self._shells.get(request.identity, arguments)

        if is_fact:
            answer = self._facts.find(request, get_shell, deadline)
            if answer is not None:
                collector.take("O", answer.output)
                collector.take("E", answer.errors)
                return answer.status
        # A second time where the first shell was out of date.
        for _ in range(2):
            shell = get_shell()
            if shell is None:
                return None
            moment = self._facts.now()
            try:
                with self._shells.keeping(shell):
                    shell.greet()
                    short = ask_shortly(shell, request, deadline) if is_fact else None
                    if short is None:
                        status = shell.run(request.shell, request.text, collector.take, deadline)
                    else:
                        collector.take("O", short.output)
                        collector.take("E", short.errors)
                        status = 0
            except ShellStaleError:
                continue
            except (GreetingError, NotRunError, NotSentError) as error:
                logger.debug("%s: a channel of its own for this command: %s", self.host.name, error)
                if isinstance(error, GreetingError):
                    self._shells.note_failure(shell)
                return None
            except ShellError as error:
                # Whether it ran is not known; a fact can be asked again.
                if is_fact and not collector.size:
                    return None
                collector.take("E", f"{error} while the command ran\n".encode())
                return -1
            if is_fact and status == 0:
                self._facts.keep(request, moment, collector)
            return status
        return None
