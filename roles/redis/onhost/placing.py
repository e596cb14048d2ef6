"""Which servers of a cluster are masters, and whose replica each of the others is."""

from __future__ import annotations

from collections.abc import Mapping

from .settings import Server
from .sight import Member


def choose_masters(own: Mapping[str, Server], known: Mapping[str, Member], wanted: int) -> list[str]:
    """Return the identifiers of ``wanted`` masters: those with slots first, then such as spread over the hosts."""
    chosen = sorted((name for name in own if known[name].slots), key=lambda name: -len(known[name].slots))[:wanted]
    while len(chosen) < wanted:
        taken = [own[name].host for name in chosen]
        rest = [name for name in own if name not in chosen]
        # A server that is nobody's replica first: making one of a replica empties it.
        chosen.append(
            min(rest, key=lambda n: (bool(known[n].master), taken.count(own[n].host), not own[n].master, own[n].place))
        )
    return chosen


def place_replicas(
    masters: Mapping[str, str], replicas: Mapping[str, str], current: Mapping[str, str]
) -> dict[str, str]:
    """Return the master of each replica: as many for each as possible, on another host where possible.

    ``masters`` and ``replicas`` give the hosts, ``current`` whose replica each is now, which stays where it fits.
    """
    if not masters:
        return {}
    least, odd = divmod(len(replicas), len(masters))

    def assign(apart: bool, result: dict[str, str]) -> None:
        """Give masters to the replicas that have none, by paths that may move others (bipartite matching)."""

        def room(master: str) -> bool:
            used = [list(result.values()).count(name) for name in masters]
            count = list(result.values()).count(master)
            return count < least or (count == least and sum(number > least for number in used) < odd)

        def find(replica: str, tried: set[str]) -> bool:
            order = sorted(masters, key=lambda name: (current.get(replica) != name, list(result.values()).count(name)))
            for master in order:
                if master in tried or (apart and masters[master] == replicas[replica]):
                    continue
                tried.add(master)
                if room(master):
                    result[replica] = master
                    return True
                for other in [name for name, owner in result.items() if owner == master]:
                    if find(other, tried):
                        result[replica] = master
                        return True
            return False

        for replica in replicas:
            if replica not in result:
                find(replica, set())

    result: dict[str, str] = {}
    # First who already is where it may be, so that nothing is copied without a need.
    for replica, host in replicas.items():
        master = current.get(replica, "")
        if master in masters and masters[master] != host and list(result.values()).count(master) < least:
            result[replica] = master
    assign(True, result)
    assign(False, result)
    return result
