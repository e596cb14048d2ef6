"""What a server of a cluster says about the cluster (CLUSTER NODES, redis.io)."""

from __future__ import annotations

from dataclasses import dataclass, field

SLOTS = 16384


@dataclass(frozen=True)
class Member:
    """One line of CLUSTER NODES."""

    identifier: str
    place: tuple[str, int]
    flags: frozenset[str]
    master: str
    """Whose replica it is; empty for masters."""
    connected: bool
    slots: frozenset[int]

    @property
    def failed(self) -> bool:
        """Whether the servers have agreed that it is gone."""
        return bool(self.flags & {"fail", "noaddr"})


@dataclass(frozen=True)
class Sight:
    """The cluster as one server sees it."""

    own: str
    """Its identifier."""
    members: dict[str, Member]
    moving: dict[int, str] = field(default_factory=dict)
    """Open slots: what it is giving away, and to whom."""
    taking: dict[int, str] = field(default_factory=dict)
    """Open slots: what it is taking, and from whom."""
    keys: int = 0

    @property
    def itself(self) -> Member:
        """Its own line."""
        return self.members[self.own]


def parse_nodes(text: str, keys: int = 0) -> Sight:
    """Read what CLUSTER NODES answers; ``keys`` is the server's DBSIZE."""
    members: dict[str, Member] = {}
    own = ""
    moving: dict[int, str] = {}
    taking: dict[int, str] = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) < 8:
            continue
        identifier, where, flags, master, link = words[0], words[1], frozenset(words[2].split(",")), words[3], words[7]
        if "handshake" in flags:
            continue
        slots: set[int] = set()
        for word in words[8:]:
            if word.startswith("["):
                slot, mark, other = word.strip("[]").replace("->-", " > ").replace("-<-", " < ").split()
                (moving if mark == ">" else taking)[int(slot)] = other
                continue
            first, _, last = word.partition("-")
            slots.update(range(int(first), int(last or first) + 1))
        if "myself" in flags:
            own = identifier
        # "address:port@busport", in Redis 7 with ",hostname" behind it.
        address, _, port = where.partition("@")[0].rpartition(":")
        members[identifier] = Member(
            identifier, (address, int(port)), flags, "" if master == "-" else master,
            link == "connected" or "myself" in flags, frozenset(slots),
        )  # fmt: skip
    return Sight(own, members, moving, taking, keys)
