"""Which process gets which part of which card of its host, or why that cannot be. Pure: nothing is contacted.

Without a host's own lists the cards are those of the manifest and the profile table (``declared_cards``); on a host
the caller passes what nvidia-smi lists there.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from groundwork.manifest.platform import Platform
from groundwork.problems import Problem, ProblemError
from groundwork.topology.model import Topology
from groundwork.topology.sharing import Sharing
from roles.gpu.cards import Card
from roles.gpu.clients import place_clients
from roles.gpu.instances import FormerPlace, place_instances
from roles.gpu.shares import Ask, Placement, list_asks

_MIG, _MPS, _TURNS = "mig", "mps", "time_slicing"


@dataclass(frozen=True)
class Former:
    """Where processes were when the host was last laid out: what can stay stays."""

    instances: Mapping[str, FormerPlace] = field(default_factory=dict)
    cards: Mapping[str, str] = field(default_factory=dict)
    """Unit to the UUID of its card, for those on whole cards."""


@dataclass(frozen=True)
class HostPlan:
    """One host's cards and who has which part of them."""

    host: str
    cards: tuple[Card, ...]
    placements: tuple[Placement, ...]

    def on(self, card: Card) -> tuple[Placement, ...]:
        """The placements on one card, by slot."""
        found = (p for p in self.placements if p.card.index == card.index)
        return tuple(sorted(found, key=lambda p: (p.start, p.unit)))

    @property
    def concerned(self) -> tuple[Card, ...]:
        """The cards that somebody has a part of; the others are left alone."""
        used = {placement.card.index for placement in self.placements}
        return tuple(card for card in self.cards if card.index in used)

    def uses_mig(self, card: Card) -> bool:
        """Whether the card is cut into MIG instances."""
        return any(p.start >= 0 for p in self.on(card))


def plan_host(
    platform: Platform, topology: Topology, host: str, cards: Sequence[Card], former: Former | None = None
) -> HostPlan:
    """Place every share of one host. Raises ProblemError for what cannot be, saying what would do."""
    asks = list_asks(platform, topology, host)
    placements = place(asks, cards, former or Former(), host)
    return HostPlan(host, tuple(cards), tuple(placements))


def place(asks: Sequence[Ask], cards: Sequence[Card], former: Former, host: str) -> list[Placement]:
    """Place shares on cards, each card for one way of sharing."""
    if not asks:
        return []
    problems = list(_check(asks, cards, host))
    if problems:
        raise ProblemError(dict.fromkeys(problems))
    kinds = {kind: [ask for ask in asks if _kind(ask) == kind] for kind in (_MIG, _MPS, _TURNS)}
    kinds = {kind: members for kind, members in kinds.items() if members}
    first: ProblemError | None = None
    for allotted in _allot(kinds, cards):
        try:
            placed = [p for kind, members in kinds.items() for p in _place(kind, members, allotted[kind], former, host)]
        except ProblemError as error:
            first = first or error
            continue
        order = {unit: position for position, unit in enumerate(u for ask in asks for u in ask.units)}
        return sorted(placed, key=lambda placement: order[placement.unit])
    if first is None or len(kinds) > 1:
        raise ProblemError([_refuse_mixture(kinds, cards, host)])
    raise first


def _kind(ask: Ask) -> str:
    """What a card has to be for a share: cut into instances, or whole."""
    return _MIG if ask.sharing == "mig" or ask.profile else ask.sharing


def _may(card: Card, kind: str) -> bool:
    if kind == _MIG:
        return card.mig and card.sharing in ("auto", "mig")
    return card.sharing in ("auto", kind) or (kind == _TURNS and card.sharing == "none")


def _place(kind: str, asks: Sequence[Ask], cards: Sequence[Card], former: Former, host: str) -> list[Placement]:
    if kind == _MIG:
        return place_instances(asks, cards, former.instances, host)
    return place_clients(asks, cards, former.cards, host)


def _allot(kinds: Mapping[str, Sequence[Ask]], cards: Sequence[Card]) -> Iterator[dict[str, list[Card]]]:
    """Ways to give each card to one way of sharing; equal cards are told apart by nothing but their number."""
    names = list(kinds)
    if len(names) == 1:
        usable = [card for card in cards if _may(card, names[0])]
        if usable:
            yield {names[0]: usable}
        return
    pinned = {ask.card for members in kinds.values() for ask in members if ask.card is not None}
    alike: dict[tuple[object, ...], list[Card]] = {}
    for card in cards:
        own = card.index if card.index in pinned else -1
        alike.setdefault((own, card.name, card.memory_mib, card.profiles, card.sharing), []).append(card)
    choices = [list(_split(members, names)) for members in alike.values()]
    for combination in itertools.product(*choices):
        given = {name: [c for part in combination for c in part.get(name, [])] for name in names}
        if all(given.values()):
            yield {name: sorted(members, key=lambda c: c.index) for name, members in given.items()}


def _split(cards: Sequence[Card], names: Sequence[str]) -> Iterator[dict[str, list[Card]]]:
    """Give the first so many of equal cards to the first way of sharing, the next to the second, ..."""
    allowed = [name for name in names if _may(cards[0], name)]
    for bounds in itertools.combinations_with_replacement(range(len(cards) + 1), max(0, len(allowed) - 1)):
        edges = [0, *bounds, len(cards)]
        yield {name: list(cards[a:b]) for name, a, b in zip(allowed, edges, edges[1:], strict=False)}


def _check(asks: Sequence[Ask], cards: Sequence[Card], host: str) -> Iterator[Problem]:
    for ask in asks:
        if not cards:
            message = f"host {host} has no card: its machines declare no gpus, and no driver of NVIDIA lists one"
            yield Problem(message, key=ask.key, given=ask.measure)
        elif ask.sharing == "time_slicing" and ask.profile:
            yield Problem("a MIG profile is no share of time", key=f"{ask.key}.mode", allowed="mig, mps, auto")
        elif _kind(ask) == _MIG and not any(_may(card, _MIG) for card in cards):
            yield _refuse_mig(ask, asks, cards, host)
        elif not any(_may(card, _kind(ask)) for card in cards):
            message = f"no card of host {host} may be shared that way"
            offered = ", ".join(dict.fromkeys(card.sharing for card in cards))
            yield Problem(message, key=f"{ask.key}.mode", given=ask.sharing, allowed=f"{offered} (machines: gpus)")
        elif ask.sharing == "mig" and ask.fraction is None and ask.profile is None:
            yield Problem("a share of threads is for MPS", key=f"{ask.key}.mode", given="mig", allowed="mps, auto")


def _refuse_mig(ask: Ask, asks: Sequence[Ask], cards: Sequence[Card], host: str) -> Problem:
    """Say that there is no MIG here, and what the same shares are as clients of MPS."""
    card = cards[0]
    if any(other.mig for other in cards):
        message = f"machines.gpus keeps MIG off the cards of host {host}"
        return Problem(message, key=f"{ask.key}.mode", given=ask.measure, allowed="sharing: auto or mig for a card")
    same = [other for other in asks if (other.fraction, other.profile) == (ask.fraction, ask.profile)]
    message = f"the {card.name} of host {host} has no MIG"
    if ask.fraction is None:
        allowed = "fraction, or thread_percentage with memory, and mode: mps"
    else:
        memory = ask.memory_on(card)
        limit = f" and {memory} MiB" if memory else ""
        each = " each" if len(same) > 1 else ""
        allowed = f"mode: mps; the same {len(same)} as MPS clients are {ask.percentage} % of the threads{limit}{each}"
    return Problem(message, key=f"{ask.key}.mode", given=ask.measure, allowed=allowed)


def _refuse_mixture(kinds: Mapping[str, Sequence[Ask]], cards: Sequence[Card], host: str) -> Problem:
    words = {_MIG: "MIG instances", _MPS: "clients of MPS", _TURNS: "processes that take turns"}
    keys = ", ".join(dict.fromkeys(ask.key for members in kinds.values() for ask in members))
    given = ", ".join(f"{len(members)} {words[kind]}" for kind, members in kinds.items())
    message = f"a card is shared in one way, and host {host} has too few cards for all of these"
    return Problem(message, key=keys, given=given, allowed=f"one mode for its {len(cards)} card(s), or more cards")


def sharing_on(plan: HostPlan, card: Card) -> Sharing | None:
    """How one card is shared; None where nobody has a part of it."""
    found = plan.on(card)
    return found[0].sharing if found else None
