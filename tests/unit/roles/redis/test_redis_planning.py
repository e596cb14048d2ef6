from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roles.redis.onhost.placing import place_replicas
from roles.redis.onhost.planning import RefusalError, Step, next_steps
from roles.redis.onhost.settings import Server
from roles.redis.onhost.sight import SLOTS, Member, Sight, parse_nodes

NODES = """\
07c37dfeb235213a872192d90877d0cd55635b91 10.0.0.1:7001@17001 myself,master - 0 0 1 connected 0-5460 [9->-aaa] [7-<-bbb]
67ed2db8d677e59ec4a4cefb06858cf2a1a89fa1 10.0.0.2:7002@17002,host slave 07c37 0 1426238316232 2 connected
ccc :0@0 master,fail,noaddr - 1426238316232 0 3 disconnected 5461-16383
ddd 10.0.0.4:7004@17004 handshake - 0 0 0 connected
"""


def test_what_a_server_says_is_read() -> None:
    sight = parse_nodes(NODES, 5)
    assert sight.itself.place == ("10.0.0.1", 7001)
    assert (sight.moving, sight.taking, sight.keys) == ({9: "aaa"}, {7: "bbb"}, 5)
    assert len(sight.itself.slots) == 5461
    assert sight.members["67ed2db8d677e59ec4a4cefb06858cf2a1a89fa1"].master == "07c37"
    assert sight.members["ccc"].failed
    assert "ddd" not in sight.members


@dataclass
class Simulation:
    """Servers that do what they are told at once, and of which all know everything."""

    servers: list[Server]
    known: dict[str, set[str]] = field(default_factory=dict)
    owner: dict[int, str] = field(default_factory=dict)
    master: dict[str, str] = field(default_factory=dict)
    moved: int = 0

    def name(self, server: Server) -> str:
        return str(server)

    def sights(self) -> dict[tuple[str, int], Sight]:
        result = {}
        for server in self.servers:
            own = self.name(server)
            members = {name: self.member(name) for name in self.known.setdefault(own, {own})}
            result[server.place] = Sight(own, members)
        return result

    def member(self, name: str) -> Member:
        address, _, port = name.partition(":")
        slots = frozenset(slot for slot, owner in self.owner.items() if owner == name)
        return Member(name, (address, int(port)), frozenset(), self.master.get(name, ""), True, slots)

    def do(self, step: Step) -> None:
        told = f"{step.server[0]}:{step.server[1]}"
        if step.verb == "meet":
            both = self.known[told] | self.known[step.other.replace(" ", ":")]
            for name in both:
                self.known[name] = set(both)
        elif step.verb == "assign":
            self.owner |= dict.fromkeys(step.slots, told)
        elif step.verb == "move":
            assert all(self.owner[slot] == step.other for slot in step.slots)
            self.owner |= dict.fromkeys(step.slots, told)
            self.moved += len(step.slots)
        elif step.verb == "replicate":
            assert told not in self.owner.values()
            self.master[told] = step.other
        elif step.verb == "reset":
            self.master.pop(told, None)
        elif step.verb == "forget":
            assert step.other not in self.owner.values()
            for names in self.known.values():
                names.discard(step.other)

    def arrange(self, servers: list[Server], replicas: int) -> None:
        self.servers = servers
        for _ in range(50):
            steps = next_steps(tuple(servers), self.sights(), replicas)
            if not steps:
                return
            for step in steps:
                self.do(step)
        raise AssertionError(f"no end: {steps}")

    def check(self, replicas: int) -> None:
        shares = [list(self.owner.values()).count(str(server)) for server in self.servers]
        masters = [share for share in shares if share]
        assert sum(shares) == SLOTS
        assert len(masters) == len(self.servers) // (1 + replicas)
        assert max(masters) - min(masters) <= 1
        followed = [self.master[str(s)] for s, share in zip(self.servers, shares, strict=True) if not share]
        assert all(followed.count(name) == replicas for name in followed)


def make_servers(hosts: int, each: int, replicas: int) -> list[Server]:
    placed = [(host, index) for index in range(each) for host in range(hosts)]
    masters = len(placed) // (1 + replicas)
    return [
        Server(f"h{host}", f"10.0.0.{host}", 7000 + index, position < masters)
        for position, (host, index) in enumerate(placed)
    ]


@settings(max_examples=20, deadline=None)
@given(
    st.sampled_from([(1, 6), (2, 3), (3, 2), (6, 1), (2, 4), (4, 2), (1, 8)]), st.sampled_from([(6, 1), (8, 1), (2, 4)])
)
def test_any_cluster_becomes_any_other(first: tuple[int, int], second: tuple[int, int]) -> None:
    simulation = Simulation([])
    simulation.arrange(make_servers(*first, 1), 1)
    simulation.check(1)
    assert simulation.moved == 0
    assert next_steps(tuple(simulation.servers), simulation.sights(), 1) == []
    begun = make_servers(*second, 1)
    kept = [server for server in begun if str(server) in simulation.known]
    if len(kept) in (0, len(simulation.servers)):
        return
    simulation.arrange(list({str(s): s for s in [*simulation.servers, *begun]}.values())[: len(begun) // 2 * 2], 1)
    simulation.check(1)


def test_adding_moves_no_more_than_the_new_servers_share() -> None:
    simulation = Simulation([])
    servers = make_servers(1, 6, 1)
    simulation.arrange(servers, 1)
    simulation.arrange(make_servers(1, 8, 1), 1)
    simulation.check(1)
    assert simulation.moved == SLOTS // 4
    simulation.arrange(servers, 1)
    simulation.check(1)


def test_what_only_the_operator_can_decide_is_refused() -> None:
    simulation = Simulation([])
    servers = make_servers(1, 6, 1)
    simulation.arrange(servers, 1)
    sights = simulation.sights()
    with pytest.raises(RefusalError, match="cannot be asked"):
        next_steps(tuple(servers), {k: v for k, v in sights.items() if k != servers[0].place}, 1)
    stranger = Server("h9", "10.0.0.9", 7009, False)
    alone = Member("x", stranger.place, frozenset(), "", True, frozenset())
    with pytest.raises(RefusalError, match="holds 3 keys"):
        next_steps((*servers, stranger), {**sights, stranger.place: Sight("x", {"x": alone}, keys=3)}, 1)
    other = Member("x", stranger.place, frozenset(), "", True, frozenset({1}))
    with pytest.raises(RefusalError, match="another cluster"):
        next_steps((*servers, stranger), {**sights, stranger.place: Sight("x", {"x": other})}, 1)


def test_replicas_are_on_another_host_where_there_is_one() -> None:
    masters = {"a": "h1", "b": "h2", "c": "h1"}
    placed = place_replicas(masters, {"d": "h2", "e": "h1", "f": "h2"}, {})
    assert sorted(placed.values()) == ["a", "b", "c"]
    assert placed["e"] == "b"
    assert place_replicas({"a": "h"}, {"b": "h"}, {}) == {"b": "a"}
    # Who fits stays.
    assert place_replicas(masters, {"d": "h2", "e": "h1", "f": "h2"}, {"d": "c", "f": "a", "e": "b"}) == {
        "d": "c",
        "f": "a",
        "e": "b",
    }
