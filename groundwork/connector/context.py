"""Splits a command's arguments into whom it runs as, which a shell keeps, and the command itself."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pyinfra.api.command import StringCommand
from pyinfra.connectors.util import make_unix_command

# What decides whom a command runs as; equal values share a shell.
IDENTITY = (
    "_sudo",
    "_sudo_user",
    "_use_sudo_login",
    "_preserve_sudo_env",
    "_su_user",
    "_use_su_login",
    "_su_shell",
    "_preserve_su_env",
    "_doas",
    "_doas_user",
    "_dzdo",
    "_dzdo_user",
)
# Decided here or when the shell is started; passwords never leave pyinfra's own way of handing them over.
KNOWN = {
    *IDENTITY,
    "_env",
    "_chdir",
    "_shell_executable",
    "_sudo_password",
    "_su_password",
    "_temp_dir",
    "_retries",
    "_retry_delay",
    "_retry_until",
}
_SHELL = re.compile(r"[A-Za-z0-9_./-]+")

Identity = tuple[tuple[str, str | bool], ...]


@dataclass(frozen=True)
class Request:
    """A command as a persistent shell takes it."""

    identity: Identity
    shell: str
    text: str
    """What follows ``-c``: the command with its directory and environment, secrets in plain text."""
    is_plain: bool
    """Whether it has no hidden values, no environment and no password, so that it may be written down."""


def split_command(command: StringCommand | str, arguments: Mapping[str, Any]) -> Request | None:
    """What a persistent shell runs for pyinfra's command with these connector arguments.

    None where only a channel of its own gives the same result: arguments that are not known here, no shell, or one
    that is more than a program's name.
    """
    if any(name not in KNOWN and value for name, value in arguments.items()):
        return None
    shell = arguments.get("_shell_executable", "sh")
    if not isinstance(shell, str) or not _SHELL.fullmatch(shell):
        return None
    identity = tuple((name, arguments[name]) for name in IDENTITY if arguments.get(name))
    if not all(isinstance(value, str | bool) for _, value in identity):
        return None
    whole = command if isinstance(command, StringCommand) else StringCommand(command)
    inner = make_unix_command(whole, _env=arguments.get("_env"), _chdir=arguments.get("_chdir"), _shell_executable=None)
    text = inner.get_raw_value()
    if "\0" in text:
        return None
    hidden = text != inner.get_masked_value()
    secret = hidden or bool(arguments.get("_env") or arguments.get("_sudo_password") or arguments.get("_su_password"))
    return Request(identity, shell, text, not secret)
