"""Spreads clients of MPS, and processes that take turns, over whole cards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from groundwork.problems import Problem, ProblemError
from roles.gpu.cards import MPS_CLIENTS, Card
from roles.gpu.shares import Ask, Placement, daemon_key

_EXACT = 1e-9


@dataclass(frozen=True)
class _Room:
    """What is left of one card."""

    fraction: float
    memory: int | None
    clients: int

    def without(self, ask: Ask, card: Card) -> _Room | None:
        """The room after a share was taken from it; None where it does not fit."""
        fraction = self.fraction - (ask.fraction or 0.0)
        needed = ask.memory_on(card) if ask.sharing == "mps" else 0
        memory = self.memory if self.memory is None or needed is None else self.memory - needed
        if fraction < -_EXACT or (memory is not None and memory < 0) or not self.clients:
            return None
        return _Room(round(fraction, 9), memory, self.clients - 1)


def _empty(card: Card, asks: Sequence[Ask]) -> _Room:
    limit = MPS_CLIENTS if any(ask.sharing == "mps" for ask in asks) else 1_000
    return _Room(1.0, card.memory_mib, 1 if card.sharing == "none" else limit)


def place_clients(asks: Sequence[Ask], cards: Sequence[Card], former: Mapping[str, str], host: str) -> list[Placement]:
    """Return a placement for every process; ``former`` names the card (UUID) where each was.

    The emptiest card comes first, a process's former card before it. Raises ProblemError where they do not fit.
    """
    problems = [problem for ask in asks for problem in _check(ask, cards, host)]
    if problems:
        raise ProblemError(dict.fromkeys(problems))
    order = sorted(asks, key=lambda ask: (-(ask.fraction or 0.0), -(ask.memory_mib or 0), asks.index(ask)))
    rooms = [_empty(card, asks) for card in cards]
    chosen = _search(order, cards, rooms, former, set())
    if chosen is None:
        raise ProblemError([_refuse(asks, cards, host)])
    return [_describe(ask, cards[chosen[ask.units]]) for ask in asks]


def _search(
    order: Sequence[Ask],
    cards: Sequence[Card],
    rooms: list[_Room],
    former: Mapping[str, str],
    hopeless: set[tuple[int, tuple[object, ...]]],
) -> dict[tuple[str, ...], int] | None:
    if not order:
        return {}
    # Equal cards are told apart only where a share is tied to one.
    pinned = any(one.card is not None for one in order)
    left_over = (
        (card.index if pinned else 0, card.memory_mib or 0, room.fraction, room.memory or 0, room.clients)
        for card, room in zip(cards, rooms, strict=True)
    )
    state = (len(order), tuple(sorted(left_over)))
    if state in hopeless:
        return None
    ask, *rest = order
    was = former.get(ask.units[0], "")
    wide = sorted(
        range(len(cards)), key=lambda i: (cards[i].uuid != was or not was, -rooms[i].fraction, -rooms[i].clients, i)
    )
    for position in wide:
        left = rooms[position].without(ask, cards[position]) if ask.card in (None, cards[position].index) else None
        if left is None:
            continue
        tail = _search(rest, cards, [left if i == position else r for i, r in enumerate(rooms)], former, hopeless)
        if tail is not None:
            return {ask.units: position, **tail}
    hopeless.add(state)
    return None


def _check(ask: Ask, cards: Sequence[Card], host: str) -> list[Problem]:
    if ask.card is not None and all(card.index != ask.card for card in cards):
        message = f"host {host} has no card of that index for {_WORDS[ask.sharing]}"
        allowed = ", ".join(str(card.index) for card in cards) or "none"
        return [Problem(message, key=f"{ask.key}.card", given=str(ask.card), allowed=allowed)]
    largest = max((card.memory_mib or 0 for card in cards), default=0)
    if ask.memory_mib and largest and ask.memory_mib > largest:
        message = f"is more memory than any card of host {host} has"
        return [Problem(message, key=f"{ask.key}.memory", given=f"{ask.memory_mib} MiB", allowed=f"{largest} MiB")]
    return []


_WORDS = {"mps": "clients of MPS", "time_slicing": "processes that take turns", "mig": "MIG instances"}


def _refuse(asks: Sequence[Ask], cards: Sequence[Card], host: str) -> Problem:
    kinds = dict.fromkeys(_measure(ask, cards) for ask in asks)
    wanted = ", ".join(f"{[_measure(a, cards) for a in asks].count(kind)} x {kind}" for kind in kinds)
    have = ", ".join(f"{card.label}: {card.memory_mib or 'unknown'} MiB" for card in cards) or "no card"
    limit = "one process a card" if any(c.sharing == "none" for c in cards) else f"{MPS_CLIENTS} MPS clients a card"
    message = f"the shares of host {host} are more than its cards"
    keys = ", ".join(dict.fromkeys(ask.key for ask in asks))
    return Problem(message, key=keys, given=wanted, allowed=f"{have}; fractions up to 1 a card, {limit}")


def _measure(ask: Ask, cards: Sequence[Card]) -> str:
    memory = ask.memory_on(cards[0]) if cards and ask.sharing == "mps" else None
    return f"{ask.measure} with {memory} MiB" if memory else ask.measure


def _describe(ask: Ask, card: Card) -> Placement:
    unit = ask.units[0]
    if ask.sharing == "time_slicing":
        reason = f"{ask.measure}: takes turns on {card.label}; nothing limits its memory or its time there"
        return Placement(unit, ask.group, card, ask.sharing, reason=reason)
    memory = ask.memory_on(card)
    shown = f", at most {memory} MiB" if memory else ""
    reason = f"{ask.measure}: MPS client of {card.label} with {ask.percentage} % of its threads{shown}"
    return Placement(
        unit,
        ask.group,
        card,
        ask.sharing,
        thread_percentage=ask.percentage,
        memory_mib=memory,
        daemon=daemon_key(card),
        reason=reason,
    )
