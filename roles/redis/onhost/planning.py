"""What to do next so that a cluster becomes the declared one. Pure: it looks at what the servers said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .placing import choose_masters, place_replicas
from .settings import Server
from .sight import SLOTS, Member, Sight

Place = tuple[str, int]


class RefusalError(Exception):
    """Why nothing is done."""


@dataclass(frozen=True)
class Step:
    """One thing to do. ``verb``: meet, stable, reset, assign, move, replicate or forget."""

    verb: str
    server: Place
    """Whom to tell; for ``move`` who takes the slots."""
    other: str = ""
    """Identifier of whom it is about; for ``move`` of who gives the slots."""
    slots: tuple[int, ...] = ()

    def __str__(self) -> str:
        counted = f" {len(self.slots)} slots" if self.slots else ""
        return f"{self.verb} {self.server[0]}:{self.server[1]}{counted}{' ' if self.other else ''}{self.other[:8]}"


def next_steps(servers: tuple[Server, ...], sights: Mapping[Place, Sight], replicas: int) -> list[Step]:
    """Return the steps of the first thing that is not as declared; none when all is.

    Raises RefusalError for what nobody but the operator can decide: a server that cannot be asked, two clusters,
    keys that no cluster knows, and slots whose servers are gone.
    """
    absent = [str(server) for server in servers if server.place not in sights]
    if absent:
        raise RefusalError(f"{', '.join(absent)} cannot be asked")
    own = {sights[server.place].own: server for server in servers}
    seed = _find_seed(servers, sights)
    known = sights[seed.place].members
    # Knowing each other goes both ways: a server that was reset knows nobody, though all still know it.
    hub = sights[seed.place].own
    strangers = [s for s in servers if sights[s.place].own not in known or hub not in sights[s.place].members]
    for server in strangers:
        sight = sights[server.place]
        if sight.itself.slots:
            raise RefusalError(f"{server} is in another cluster than {seed}")
        if sight.keys and not sight.itself.master:
            raise RefusalError(f"{server} holds {sight.keys} keys that are not in the cluster")
    if strangers:
        return [Step("meet", seed.place, f"{server.address} {server.port}") for server in strangers]
    masters_wanted = len(servers) // (1 + replicas)
    if masters_wanted < 3:
        raise RefusalError(f"a cluster needs 3 masters; {len(servers)} servers make {masters_wanted}")
    foreign = {name: member for name, member in known.items() if name not in own}
    for member in foreign.values():
        if member.slots and member.failed:
            where = f"{member.place[0]}:{member.place[1]}"
            raise RefusalError(f"{where} is gone and has {len(member.slots)} slots that no other server holds")
    return (
        _close_slots(own, sights, known)
        or _arrange_slots(own, known, foreign, sights, masters_wanted)
        or _arrange_replicas(own, known)
        or [Step("forget", seed.place, name) for name in sorted(foreign)]
    )


def _find_seed(servers: tuple[Server, ...], sights: Mapping[Place, Sight]) -> Server:
    """The declared server that knows most about the cluster: with slots, then with the most members."""

    def weight(server: Server) -> tuple[int, int, int]:
        sight = sights[server.place]
        owned = sum(bool(member.slots) for member in sight.members.values())
        return (bool(sight.itself.slots), owned, len(sight.members))

    return max(servers, key=weight)


def _close_slots(own: Mapping[str, Server], sights: Mapping[Place, Sight], known: Mapping[str, Member]) -> list[Step]:
    """Finish the moves that somebody began and did not end."""
    owners = {slot: name for name, member in known.items() for slot in member.slots}
    steps: dict[int, Step] = {}
    for name, server in own.items():
        sight = sights[server.place]
        for slot, giver in sight.taking.items():
            # Meanwhile another one's, say after a failover: the taker hears of no other owner until it gives up.
            finished = owners.get(slot, "") != giver
            steps[slot] = Step("stable" if finished else "move", server.place, "" if finished else giver, (slot,))
        for slot, taker in sight.moving.items():
            wanted = own[taker].place if taker in own else server.place
            verb = "move" if taker in own and owners.get(slot) == name else "stable"
            giver = name if verb == "move" else ""
            steps.setdefault(slot, Step(verb, wanted if verb == "move" else server.place, giver, (slot,)))
    ordered = [steps[slot] for slot in sorted(steps)]
    return [step for step in ordered if step.verb == "stable"] or ordered


def _arrange_slots(
    own: Mapping[str, Server],
    known: Mapping[str, Member],
    foreign: Mapping[str, Member],
    sights: Mapping[Place, Sight],
    wanted: int,
) -> list[Step]:
    chosen = choose_masters(own, known, wanted)
    replicas = [name for name in chosen if known[name].master]
    if replicas:
        return [Step("reset", own[name].place, name) for name in replicas]
    taken = {slot for member in known.values() for slot in member.slots}
    lacking = sorted(set(range(SLOTS)) - taken)
    shares = _share(chosen, known)
    if lacking:
        steps = []
        for name in chosen:
            room = max(0, shares[name] - len(known[name].slots))
            given, lacking = lacking[:room], lacking[room:]
            if given:
                steps.append(Step("assign", own[name].place, slots=tuple(given)))
        return steps
    surplus: list[tuple[str, list[int]]] = []
    for name, member in {**known, **foreign}.items():
        keep = shares.get(name, 0)
        if len(member.slots) > keep:
            surplus.append((name, sorted(member.slots)[keep:]))
    steps = []
    for name in chosen:
        room = shares[name] - len(known[name].slots)
        while room > 0 and surplus:
            giver, slots = surplus[0]
            steps.append(Step("move", own[name].place, giver, tuple(slots[:room])))
            surplus[0] = (giver, slots[room:])
            room -= len(steps[-1].slots)
            if not surplus[0][1]:
                surplus.pop(0)
    return steps


def _share(chosen: list[str], known: Mapping[str, Member]) -> dict[str, int]:
    """How many slots each master is to have; who has most keeps the odd ones, so that nothing moves for them."""
    least, odd = divmod(SLOTS, len(chosen))
    ordered = sorted(chosen, key=lambda name: -len(known[name].slots))
    return {name: least + (position < odd) for position, name in enumerate(ordered)}


def _arrange_replicas(own: Mapping[str, Server], known: Mapping[str, Member]) -> list[Step]:
    masters = [name for name in own if known[name].slots]
    others = [name for name in own if name not in masters]
    wanted = place_replicas(
        {name: own[name].host for name in masters},
        {name: own[name].host for name in others},
        {name: known[name].master for name in others},
    )
    return [
        Step("replicate", own[name].place, master) for name, master in wanted.items() if known[name].master != master
    ]
