"""Operations of ``base`` that pyinfra lacks, or that it does less safely."""

from __future__ import annotations

from collections.abc import Generator, Sequence

from pyinfra import host
from pyinfra.api import QuoteString, StringCommand, operation
from pyinfra.api.command import PyinfraCommand
from pyinfra.facts.files import FileContents
from pyinfra.facts.server import Locales, Users

from groundwork.operations.validated_files import validated_file
from roles.base.plan import place_host_lines


@operation()
def host_lines(lines: Sequence[str], path: str = "/etc/hosts") -> Generator[PyinfraCommand, None, None]:
    """
    Keep a block of lines at the head of the hosts file; all other lines stay.

    + lines: the block's lines, as they stand in the file
    + path: the file

    pyinfra's own ``server.etc_hosts`` writes line by line and ``files.block`` is not atomic.
    """
    current = "\n".join(host.get_fact(FileContents, path=path) or [])
    yield from validated_file._inner(path, place_host_lines(current, lines))


@operation()
def end_sessions(users: Sequence[str]) -> Generator[PyinfraCommand, None, None]:
    """
    End what these accounts have running in login sessions, so that the accounts can be removed.

    + users: account names; those that do not exist are left out
    """
    present = [name for name in users if name in (host.get_fact(Users) or {})]
    for name in present:
        slice_name = StringCommand("user-$(id -u ", QuoteString(name), ").slice", _separator="")
        yield StringCommand("systemctl kill --signal=KILL", slice_name, "2>/dev/null; systemctl stop", slice_name)
    if not present:
        host.noop("nobody leaves")


@operation()
def compiled_locale(locale: str) -> Generator[PyinfraCommand, None, None]:
    """
    Make a locale available that Debian does not have built in; its package ``locales`` must be installed.

    + locale: for example ``en_GB.UTF-8``

    pyinfra's own ``server.locale`` cannot be planned before that package is there.
    """
    known = {name.lower().replace("-", "") for name in host.get_fact(Locales) or []}
    if locale.lower().replace("-", "") in known:
        host.noop(f"{locale} is available")
        return
    line = QuoteString(f"{locale} UTF-8")
    yield StringCommand("grep -qxF", line, "/etc/locale.gen || echo", line, ">> /etc/locale.gen")
    yield StringCommand("locale-gen")
