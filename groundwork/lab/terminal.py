"""Logging in to a lab host: interactively, or for one command."""

from __future__ import annotations

import os
import selectors
import shlex
import shutil
import sys
import termios
import tty
from collections.abc import Sequence

import paramiko

from groundwork.lab.boot import USER, open_session
from groundwork.lab.errors import lab_error
from groundwork.lab.state import LabHost, LabState

_CHUNK = 65536


def find_host(state: LabState, name: str) -> LabHost:
    """Return the lab's host of that name; ProblemError names the hosts there are."""
    spec = state.read_spec()
    hosts = {host.name: host for host in spec.hosts} if spec else {}
    if not hosts:
        raise lab_error(f"no lab named {state.name}", allowed="./gw lab up")
    if name not in hosts:
        raise lab_error("no such host in this lab", key="HOST", given=name, allowed=", ".join(hosts))
    return hosts[name]


def open_host(state: LabState, host: LabHost) -> paramiko.SSHClient:
    """Log in to a host; ProblemError when it does not answer."""
    try:
        return open_session(host.address, state.key_file, state.known_hosts_file)
    except (paramiko.SSHException, OSError) as error:
        raise lab_error(f"no SSH login at {host.address}: {error}", key=host.name) from error


def run_command(state: LabState, host: LabHost, command: Sequence[str]) -> int:
    """Run a command on a host as root, passing its output through; returns its exit status.

    One word is a shell command line; several are passed as they are.
    """
    line = command[0] if len(command) == 1 else shlex.join(command)
    with open_host(state, host) as session:
        transport = session.get_transport()
        if transport is None:
            raise lab_error("the connection closed", key=host.name)
        channel = transport.open_session()
        channel.exec_command(f"sudo -n sh -c {shlex.quote(line)}")
        return _pump(channel, sys.stdin.buffer if not sys.stdin.isatty() else None)


def capture_command(state: LabState, host: LabHost, command: Sequence[str]) -> tuple[int, str, str]:
    """Run a command on a host as root; returns its exit status, output and error output."""
    line = command[0] if len(command) == 1 else shlex.join(command)
    with open_host(state, host) as session:
        _, output, errors = session.exec_command(f"sudo -n sh -c {shlex.quote(line)}")
        text = output.read().decode(errors="replace")
        return output.channel.recv_exit_status(), text, errors.read().decode(errors="replace")


def _pump(channel: paramiko.Channel, source: object) -> int:
    """Copy what the host writes until it ends; input is sent whole first, it is small or none."""
    if source is not None:
        while chunk := source.read(_CHUNK):  # type: ignore[attr-defined]
            channel.sendall(chunk)
    channel.shutdown_write()
    open_ends = True
    while open_ends:
        # Both streams share one window: reading only one could stall the other.
        progressed = False
        while channel.recv_ready():
            sys.stdout.buffer.write(channel.recv(_CHUNK))
            progressed = True
        while channel.recv_stderr_ready():
            sys.stderr.buffer.write(channel.recv_stderr(_CHUNK))
            progressed = True
        sys.stdout.flush()
        sys.stderr.flush()
        if not progressed:
            open_ends = not (channel.exit_status_ready() and channel.eof_received)
            channel.status_event.wait(0.02)
    return channel.recv_exit_status()


def open_shell(state: LabState, host: LabHost) -> int:
    """Open an interactive shell: with the ssh program where there is one, else over paramiko."""
    program = shutil.which("ssh")
    if program:
        options = [f"UserKnownHostsFile={state.known_hosts_file}", "StrictHostKeyChecking=yes", "IdentitiesOnly=yes"]
        flags = [word for option in options for word in ("-o", option)]
        os.execv(program, ["ssh", "-i", str(state.key_file), *flags, f"{USER}@{host.address}"])
    with open_host(state, host) as session:
        size = shutil.get_terminal_size()
        channel = session.invoke_shell(os.environ.get("TERM", "xterm"), size.columns, size.lines)
        return _interact(channel)


def _interact(channel: paramiko.Channel) -> int:
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    try:
        tty.setraw(terminal)
        with selectors.DefaultSelector() as selector:
            selector.register(channel, selectors.EVENT_READ)
            selector.register(terminal, selectors.EVENT_READ)
            while not channel.closed:
                for key, _ in selector.select():
                    if key.fileobj is channel:
                        data = channel.recv(_CHUNK)
                        if not data:
                            return channel.recv_exit_status()
                        os.write(sys.stdout.fileno(), data)
                    elif not channel.closed:
                        channel.sendall(os.read(terminal, _CHUNK))
        return channel.recv_exit_status()
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)
