"""Operations of ``redis``: a password that never leaves its host, and the access list that knows it by its hash."""

from __future__ import annotations

import posixpath
from collections.abc import Generator, Mapping, Sequence

from pyinfra import host, logger, state
from pyinfra.api import QuoteString, StringCommand, operation
from pyinfra.api.command import PyinfraCommand
from pyinfra.api.exceptions import OperationError
from pyinfra.api.operation import OperationMeta

from groundwork.facts.placed_files import ChangeTimes, PlacedFile
from groundwork.facts.systemd_units import UnitStates
from groundwork.operations.secret_files import secret_file
from groundwork.secrets.value import SecretValue
from roles.redis.access import Access, hash_password, render_access
from roles.redis.facts import ChangedSettings, DueSteps, PasswordHash, SlotCount

# Moving 16384 slots with a few million keys; far more than any arrangement on the lab took.
ARRANGE_SECONDS = 3600
# What is planned with before the host has made its password.
_UNKNOWN = "0" * 64


@operation()
def local_password(path: str) -> Generator[PyinfraCommand, None, None]:
    """
    Have the host make up a password of 256 bits that only its root can read.

    + path: absolute path of the file, which holds 64 hexadecimal digits and no line end
    """
    current = host.get_fact(PlacedFile, path=path)
    if current and current["kind"] == "file" and current["digest"] not in ("", hash_password("")):
        if (current["user"], current["group"], current["mode"]) == ("root", "root", 0o600):
            host.noop(f"{path} is there")
            return
        yield StringCommand("chown root:root --", QuoteString(path), "&& chmod 0600 --", QuoteString(path))
        return
    folder, new = QuoteString(posixpath.dirname(path)), QuoteString(f"{path}.new")
    yield StringCommand(
        "umask 077 && { test -d", folder, "|| ( umask 022; mkdir -p -m 0700 --", folder, "); } &&",
        "head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \\n' >", new, "&&",
        "test \"$(wc -c <", new, ")\" = 64 && mv -fT --", new, QuoteString(path),
    )  # fmt: skip


@operation()
def access_list(
    dest: str,
    access: Sequence[Access],
    passwords: Mapping[str, SecretValue],
    operator_password: str,
    check: Sequence[str],
) -> Generator[PyinfraCommand, None, None]:
    """
    Write the access list of one server; passwords enter it as hashes.

    + dest: absolute path
    + access: the clients with their rules
    + passwords: each client's password
    + operator_password: path of the password that ``local_password`` had the host make
    + check: what must accept the file, as in ``secret_file``
    """
    hashes = {client: hash_password(value.reveal()) for client, value in passwords.items()}
    operator_hash = host.get_fact(PasswordHash, path=operator_password) or _UNKNOWN
    content = SecretValue(render_access(access, hashes, operator_hash))
    yield from secret_file._inner(
        dest, content, user="root", group="redis", mode="0640", check=list(check), check_user="redis"
    )


@operation()
def arranged(
    command: Sequence[str], verb: str, after: Sequence[OperationMeta] = ()
) -> Generator[PyinfraCommand, None, None]:
    """
    Have the helper on the host do what is due among the servers of a service.

    + command: the helper's argument vector up to its verb
    + verb: ``leave`` (empty and forget servers that are declared no more) or ``arrange``
    + after: results of the operations that tell the helper about the servers, so that a plan shows what follows
    """
    steps = host.get_fact(DueSteps, command=list(command), verb="leave-plan" if verb == "leave" else "plan")
    planned = not state.is_executing and any(meta._maybe_is_change for meta in after)
    unknown = steps is None and verb == "arrange"
    if steps or planned or unknown:
        yield StringCommand(*[QuoteString(word) for word in [*command, verb]], _timeout=ARRANGE_SECONDS)
    else:
        host.noop("the servers are arranged")


@operation()
def emptied(instance: str, password: str) -> Generator[PyinfraCommand, None, None]:
    """
    Fail where a server still holds slots of a cluster.

    + instance: the server's name on the host
    + password: path of the password of its local operator
    """
    slots = host.get_fact(SlotCount, instance=instance, password=password)
    if state.is_executing and slots:
        message = f"{instance} still holds {slots} slots of a cluster that goes on elsewhere: let the new servers join"
        raise OperationError(f"{message} in one apply and take this one away in the next")
    host.noop(f"{instance} holds nothing")
    yield from ()


@operation()
def settings_in_effect(
    unit: str, helper: str, configuration: str, socket: str, password: str
) -> Generator[PyinfraCommand, None, None]:
    """
    Have a running server go by its configuration file where somebody told it otherwise; restart it where it must.

    + unit: the unit's name
    + helper: path of ``redis-settings``
    + configuration: path of the server's configuration file
    + socket: path of its local socket
    + password: path of the password of its local operator
    """
    paths = {"helper": helper, "configuration": configuration, "socket": socket, "password": password}
    differences = host.get_fact(ChangedSettings, **paths)
    if not differences:
        host.noop(f"{unit} goes by its configuration")
        return
    if state.config.DIFF:
        for line in differences:
            host.log(f"Redis runs with {line}", logger.info)
    words = [QuoteString(word) for word in (configuration, socket, password)]
    yield StringCommand(QuoteString(helper), "restore", *words, "|| systemctl restart --", QuoteString(unit))


@operation()
def filter_in_effect(unit: str, dropin: str) -> Generator[PyinfraCommand, None, None]:
    """
    Have systemd apply a drop-in's addresses to a running unit, which reading the drop-in alone does not.

    + unit: the unit's name
    + dropin: path of the drop-in with its IPAddressAllow=
    """
    marker = f"/run/groundwork/{unit}.filter"
    unit_state = host.get_fact(UnitStates, units=[unit]).get(unit)
    times = host.get_fact(ChangeTimes, paths=[dropin, marker])
    if not unit_state or not unit_state.is_active:
        host.noop(f"{unit} will start with its addresses")
        return
    if times.get(dropin, 0.0) <= max(unit_state.started, times.get(marker, 0.0)):
        host.noop("the addresses are in effect")
        return
    # Adding one address makes systemd install all anew; what that leaves behind is one that is there anyway.
    left = f"/run/systemd/system.control/{unit}.d/50-IPAddressAllow.conf"
    yield StringCommand(
        "systemctl daemon-reload && systemctl set-property --runtime", QuoteString(unit), "IPAddressAllow=127.0.0.1",
        "&& rm -f --", QuoteString(left), "&& systemctl daemon-reload",
        "&& mkdir -p /run/groundwork && touch --", QuoteString(marker),
    )  # fmt: skip
