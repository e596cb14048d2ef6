"""One master and its replicas: who is master is asked of the running servers before anybody starts."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from .settings import Server, Settings
from .wire import Connection, ReplyError

Say = Callable[[str], None]
Role = tuple[str, str]
"""``master`` and nothing, or ``slave`` and ``address:port`` of its master."""


class DisagreementError(Exception):
    """Several servers say that they are the master; which one is right only the operator knows."""


def ask_role(settings: Settings, server: Server, seconds: float = 2.0) -> Role | None:
    """What a server says it is; None where it does not answer."""
    try:
        connection = Connection(settings, server.place, seconds)
    except (OSError, ReplyError):
        return None
    try:
        answer = connection.call("ROLE", seconds=seconds)
        return ("master", "") if answer[0] == "master" else ("slave", f"{answer[1]}:{answer[2]}")
    except (OSError, ReplyError):
        return None
    finally:
        connection.close()


def find_master(settings: Settings, without: Server | None = None) -> Server | None:
    """The running server that is master; None where none answers as one. Raises DisagreementError."""
    roles = {server: ask_role(settings, server) for server in settings.servers if server != without}
    return _choose(settings, roles)


def _choose(settings: Settings, roles: Mapping[Server, Role | None]) -> Server | None:
    masters = [server for server, role in roles.items() if role and role[0] == "master"]
    if len(masters) > 1:
        followed = {role[1] for role in roles.values() if role and role[0] == "slave"}
        masters = [server for server in masters if str(server) in followed] or masters
    if len(masters) > 1:
        raise DisagreementError(f"{' and '.join(map(str, masters))} both are masters of {settings.service}")
    return masters[0] if masters else None


def decide_master(settings: Settings, server: Server, memory: Path) -> Server:
    """Whom ``server`` is to follow when it starts; itself where it is to be the master.

    A running master first, then whom running replicas wait for, which may be this server. Where none runs: as it
    was when this server last started or stopped; where it never ran: as declared. Raises DisagreementError.
    """
    roles = {one: ask_role(settings, one) for one in settings.servers if one != server}
    running = _choose(settings, roles)
    if running:
        return running
    awaited = Counter(role[1] for role in roles.values() if role)
    for place, _ in awaited.most_common():
        for one in settings.servers:
            if str(one) == place:
                return one
    with suppress(OSError, ValueError, LookupError, TypeError, StopIteration):
        remembered = json.loads(memory.read_text())["master"]
        return next(one for one in settings.servers if str(one) == remembered)
    return next(one for one in settings.servers if one.master)


def write_role(settings: Settings, server: Server, target: Path, memory: Path) -> Server:
    """Write what the server's configuration includes: nothing for a master, ``replicaof`` for a replica."""
    master = decide_master(settings, server, memory)
    line = "" if master == server else f"replicaof {master.address} {master.port}\n"
    _replace(target, line)
    remember(master, memory)
    return master


def note_role(settings: Settings, server: Server, memory: Path) -> None:
    """Remember whom a running server follows, before it stops."""
    role = ask_role(settings, server)
    for one in settings.servers:
        if role and str(one) == (role[1] or str(server)):
            remember(one, memory)


def remember(master: Server, memory: Path) -> None:
    """Note who is master, for a start at which nobody can be asked."""
    _replace(memory, json.dumps({"master": str(master)}) + "\n")


def _replace(path: Path, text: str) -> None:
    new = path.with_name(f".{path.name}.new")
    new.write_text(text)
    new.chmod(0o644)
    new.replace(path)


def list_steps(settings: Settings) -> list[str]:
    """What is not as it should be: replicas that follow nobody or somebody else than the master."""
    master = find_master(settings)
    if master is None:
        return ["no server answers as the master"]
    steps = []
    for server in settings.servers:
        role = ask_role(settings, server)
        if server != master and role is not None and role != ("slave", str(master)):
            steps.append(f"{server} follows {master}")
    return steps


def arrange(settings: Settings, say: Say) -> int:
    """Have all follow the one master. Raises DisagreementError."""
    master = find_master(settings)
    if master is None:
        raise DisagreementError(f"no server of {settings.service} answers as the master")
    return _follow(settings, master, say)


def promote(settings: Settings, server: Server, say: Say) -> float:
    """Make a server the master and have the others follow it; return the seconds until it takes writes.

    The old master, where it answers, stops taking writes first and the new one waits until it has all of them.
    """
    begin = time.monotonic()
    old = find_master(settings)
    if old == server:
        return 0.0
    connection = Connection(settings, server.place)
    if old:
        before = Connection(settings, old.place)
        # As FAILOVER does: clients wait while the replica catches up, so nothing acknowledged is lost.
        before.call("FAILOVER", "TO", server.address, server.port, "TIMEOUT", 10_000)
        before.close()
    else:
        connection.call("REPLICAOF", "NO", "ONE")
    end = time.monotonic() + 15
    while connection.call("ROLE")[0] != "master":
        if time.monotonic() > end:
            raise DisagreementError(f"{server} did not become the master within 15 s")
        time.sleep(0.05)
    connection.close()
    took = time.monotonic() - begin
    say(f"{server} is the master after {took:.2f} s")
    _follow(settings, server, say)
    return took


def _follow(settings: Settings, master: Server, say: Say) -> int:
    done = 0
    for server in settings.servers:
        role = ask_role(settings, server)
        if server == master or role is None or role == ("slave", str(master)):
            continue
        connection = Connection(settings, server.place)
        connection.call("REPLICAOF", master.address, master.port)
        connection.close()
        say(f"{server} follows {master}")
        done += 1
    return done
