"""Brings a cluster to what is declared, step by step, while it serves."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import suppress

from .planning import Place, RefusalError, Step, next_steps
from .settings import Server, Settings
from .sight import SLOTS, Sight, parse_nodes
from .wire import Connection, ReplyError

KEYS_AT_ONCE = 100
# For what the servers tell each other; a cluster of 16 servers agrees within seconds.
AGREE_SECONDS = 60.0
MIGRATE_MILLISECONDS = 10_000
Say = Callable[[str], None]


class Cluster:
    """The servers of one cluster."""

    def __init__(self, settings: Settings, say: Say) -> None:
        self.settings = settings
        self.say = say
        self._connections: dict[Place, Connection] = {}

    def ask(self, place: Place, *words: object) -> object:
        """Send a command to one server, over a connection that is kept. Raises OSError, ReplyError."""
        if place not in self._connections:
            self._connections[place] = Connection(self.settings, place)
        try:
            return self._connections[place].call(*words)
        except OSError:
            self._connections.pop(place).close()
            raise

    def look(self, servers: Iterable[Server]) -> dict[Place, Sight]:
        """What each server says; those that cannot be asked are left out."""
        sights: dict[Place, Sight] = {}
        for server in servers:
            with suppress(OSError):
                keys = self.ask(server.place, "DBSIZE")
                sights[server.place] = parse_nodes(str(self.ask(server.place, "CLUSTER", "NODES")), int(str(keys)))
        return sights

    def members(self) -> tuple[Server, ...]:
        """The declared servers that are in a cluster with slots already."""
        sights = self.look(self.settings.servers)
        in_it = {
            member.place
            for sight in sights.values()
            if any(other.slots for other in sight.members.values())
            for member in sight.members.values()
        }
        return tuple(server for server in self.settings.servers if server.place in in_it)

    def plan(self, servers: tuple[Server, ...]) -> list[Step]:
        """The next steps. Raises RefusalError."""
        return next_steps(servers, self.look(servers), self.settings.replicas)

    def arrange(self, servers: tuple[Server, ...]) -> int:
        """Do steps until none is left and all servers agree; return how many were done. Raises RefusalError."""
        done = 0
        self._wait("the servers' answers", lambda: len(self.look(servers)) == len(servers))
        while steps := self.plan(servers):
            if done > 100 * len(servers):
                raise RefusalError(f"no end after {done} steps; the next would be {steps[0]}")
            if any(step.verb == "move" for step in steps):
                # A server that joined a moment ago takes nothing until it has found the cluster complete.
                self._wait("cluster_state:ok", lambda: all(self._is_ok(server.place) for server in servers))
            for step in steps:
                self.say(str(step))
                self._do(step, servers)
                done += 1
            self._wait("agreement", lambda: self._agree(servers))
        self._wait("cluster_state:ok", lambda: all(self._is_ok(server.place) for server in servers))
        return done

    def _do(self, step: Step, servers: tuple[Server, ...]) -> None:
        if step.verb == "meet":
            address, port = step.other.split()
            self.ask(step.server, "CLUSTER", "MEET", address, port)
        elif step.verb == "reset":
            self.ask(step.server, "CLUSTER", "RESET", "SOFT")
            self.ask(step.server, "CLUSTER", "MEET", *next(s.place for s in servers if s.place != step.server))
        elif step.verb == "stable":
            self.ask(step.server, "CLUSTER", "SETSLOT", step.slots[0], "STABLE")
        elif step.verb == "assign":
            self.ask(step.server, "CLUSTER", "ADDSLOTS", *step.slots)
        elif step.verb == "replicate":
            self.ask(step.server, "CLUSTER", "REPLICATE", step.other)
        elif step.verb == "forget":
            for server in servers:
                # Who never heard of it has nothing to forget.
                with suppress(ReplyError):
                    self.ask(server.place, "CLUSTER", "FORGET", step.other)
        elif step.verb == "move":
            self._move(step, servers)

    def _move(self, step: Step, servers: tuple[Server, ...]) -> None:
        sights = self.look(servers)
        taker = sights[step.server].own
        members = sights[step.server].members
        giver = members[step.other].place
        masters = [members[name].place for name in members if not members[name].master and not members[name].failed]
        for slot in step.slots:
            with suppress(ReplyError):
                self.ask(step.server, "CLUSTER", "SETSLOT", slot, "IMPORTING", step.other)
            self.ask(giver, "CLUSTER", "SETSLOT", slot, "MIGRATING", taker)
            while keys := self.ask(giver, "CLUSTER", "GETKEYSINSLOT", slot, KEYS_AT_ONCE):
                self._migrate(giver, step.server, keys)
            # The taker first: were the giver told and both then lost, nobody would own the slot.
            for place in dict.fromkeys([step.server, giver, *masters]):
                try:
                    self.ask(place, "CLUSTER", "SETSLOT", slot, "NODE", taker)
                except (ReplyError, OSError):
                    # The others hear of it from the taker, too.
                    if place in (step.server, giver):
                        raise

    def _migrate(self, giver: Place, taker: Place, keys: object) -> None:
        assert isinstance(keys, list)
        # REPLACE: what the taker has of a key that the giver still owns is left over from an attempt that failed.
        words = ["MIGRATE", *taker, "", 0, MIGRATE_MILLISECONDS, "REPLACE", "AUTH2"]
        for attempt in range(5):
            try:
                self.ask(giver, *words, self.settings.user, self.settings.password, "KEYS", *keys)
                return
            except ReplyError as error:
                if attempt == 4 or not str(error).startswith(("IOERR", "TRYAGAIN", "ERR Target instance")):
                    raise
                time.sleep(0.5)

    def _is_ok(self, place: Place) -> bool:
        return "cluster_state:ok" in str(self.ask(place, "CLUSTER", "INFO"))

    def _agree(self, servers: tuple[Server, ...]) -> bool:
        """Whether all know each other, and say the same of masters and slots."""
        sights = self.look(servers)
        if len(sights) < len(servers):
            return False
        own = {sight.own for sight in sights.values()}
        # On an open slot they may differ until it is closed.
        unsettled = {slot for sight in sights.values() for slot in (*sight.taking, *sight.moving)}
        opinions = []
        for sight in sights.values():
            if not own <= sight.members.keys():
                return False
            if not all(sight.members[name].connected for name in own):
                return False
            opinions.append({name: (sight.members[name].master, sight.members[name].slots - unsettled) for name in own})
        return all(opinion == opinions[0] for opinion in opinions)

    def _wait(self, what: str, test: Callable[[], bool]) -> None:
        end = time.monotonic() + AGREE_SECONDS
        while True:
            with suppress(OSError):
                if test():
                    return
            if time.monotonic() > end:
                raise RefusalError(f"no {what} within {AGREE_SECONDS:.0f} s")
            time.sleep(0.2)


def describe(cluster: Cluster) -> list[str]:
    """One line per declared server."""
    sights = cluster.look(cluster.settings.servers)
    lines = []
    for server in cluster.settings.servers:
        sight = sights.get(server.place)
        if sight is None:
            lines.append(f"{server} cannot be asked")
            continue
        itself = sight.itself
        master = sight.members.get(itself.master)
        role = f"replica of {master.place[0]}:{master.place[1]}" if master else "master"
        lines.append(f"{server} {role}, {len(itself.slots)} of {SLOTS} slots, {sight.keys} keys")
    return lines
