"""Chooses MIG profiles and slots for shares, and says why where they do not fit."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from groundwork.gpu.products import Profile
from groundwork.problems import Problem, ProblemError
from roles.gpu.cards import MPS_CLIENTS, Card
from roles.gpu.packing import Slot, Wish, make_space, pack
from roles.gpu.shares import Ask, Placement, daemon_key

_EXACT = 1e-9


@dataclass(frozen=True)
class FormerPlace:
    """Where a process's instance was when the card was last laid out."""

    card: str
    """UUID of the card."""
    profile_id: int
    start: int


def profile_choices(ask: Ask, card: Card) -> tuple[Profile, ...]:
    """The profiles that give a share on one card, the best first; none where the card has none.

    A fraction is met by an instance that has at least that part of the card's memory slices or of its compute
    slices. Of those with the fewest memory slices, more compute comes first.
    """
    if ask.card not in (None, card.index):
        return ()
    if ask.profile:
        found = card.profile(ask.profile)
        return (found,) if found else ()
    fraction = (ask.fraction or 1.0) - _EXACT
    fitting = [
        p
        for p in card.profiles
        if p.plain and max(p.size / card.memory_slices, p.compute / card.compute_slices) >= fraction
    ]
    smallest = min((p.size for p in fitting), default=0)
    return tuple(sorted((p for p in fitting if p.size == smallest), key=lambda p: -p.compute))


def place_instances(
    asks: Sequence[Ask], cards: Sequence[Card], former: Mapping[str, FormerPlace], host: str
) -> list[Placement]:
    """Return a placement for every process. Raises ProblemError where the shares fit in no order of slots."""
    problems = [problem for ask in asks for problem in _check(ask, cards, host)]
    if problems:
        raise ProblemError(dict.fromkeys(problems))
    kinds: dict[tuple[object, ...], list[Ask]] = {}
    for ask in asks:
        kinds.setdefault((ask.profile, ask.fraction, ask.card), []).append(ask)
    groups = list(kinds.values())
    options = [[profile_choices(members[0], card) for card in cards] for members in groups]
    # Equal shares get equal profiles: first the best for each kind, then what is left of the choices.
    depths = [range(max(1, *(len(choice) for choice in option))) for option in options]
    for depth in sorted(itertools.product(*depths), key=lambda choice: (sum(choice), choice)):
        chosen = [
            tuple(choice[min(d, len(choice) - 1)] if choice else None for choice in option)
            for d, option in zip(depth, options, strict=True)
        ]
        places = _pack(groups, chosen, cards, {})
        if places is not None:
            kept = _pack(groups, chosen, cards, former)
            return [p for ask in asks for p in _describe(ask, *((kept or places)[ask.units]), cards)]
    raise ProblemError([_refuse(groups, cards, host)])


def _check(ask: Ask, cards: Sequence[Card], host: str) -> list[Problem]:
    if any(profile_choices(ask, card) for card in cards):
        return []
    if ask.profile:
        offered = list(dict.fromkeys(p.name for card in cards for p in card.profiles))
        message = f"no card of host {host} has this MIG profile"
        return [Problem(message, key=f"{ask.key}.mig_profile", given=ask.profile, allowed=", ".join(offered))]
    message = f"host {host} has no card with MIG of that index"
    allowed = ", ".join(str(card.index) for card in cards)
    return [Problem(message, key=f"{ask.key}.card", given=str(ask.card), allowed=allowed)]


_Places = dict[tuple[str, ...], tuple[int, Slot]]


def _pack(
    groups: Sequence[Sequence[Ask]],
    chosen: Sequence[tuple[Profile | None, ...]],
    cards: Sequence[Card],
    former: Mapping[str, FormerPlace],
) -> _Places | None:
    """Places of all asks; those that can stay where they were do. None where they do not fit."""
    positions = {card.uuid: position for position, card in enumerate(cards) if card.uuid}
    places: _Places = {}
    fixed: list[list[Slot]] = [[] for _ in cards]
    for members, profiles in zip(groups, chosen, strict=True):
        for ask in members:
            was = former.get(ask.units[0])
            position = positions.get(was.card, -1) if was else -1
            profile = profiles[position] if position >= 0 else None
            if was and profile and profile.id == was.profile_id and was.start in profile.starts:
                slot = Slot(profile, was.start)
                if all(not _overlap(slot, other) for other in fixed[position]):
                    fixed[position].append(slot)
                    places[ask.units] = (position, slot)
    rest = [[ask for ask in members if ask.units not in places] for members in groups]
    spaces = [make_space(c.profiles, c.compute_slices, kept) for c, kept in zip(cards, fixed, strict=True)]
    wishes = [Wish(len(members), profiles) for members, profiles in zip(rest, chosen, strict=True)]
    packed = pack(spaces, wishes)
    if packed is None:
        return None
    for members, found in zip(rest, packed, strict=True):
        places |= {ask.units: place for ask, place in zip(members, sorted(found), strict=True)}
    return places


def _overlap(one: Slot, other: Slot) -> bool:
    return one.start < other.start + other.profile.size and other.start < one.start + one.profile.size


def _describe(ask: Ask, position: int, slot: Slot, cards: Sequence[Card]) -> list[Placement]:
    card, profile = cards[position], slot.profile
    part = f"{profile.compute}/{card.compute_slices} of the compute, {profile.memory_mib} MiB"
    last = slot.start + profile.size - 1
    slots = f"slot {slot.start}" if last == slot.start else f"slots {slot.start} to {last}"
    reason = f"{ask.measure}: {profile.name} in {slots} of {card.label}, {part}"
    clients = len(ask.units) if ask.sharing == "mps" else 0
    if clients > (limit := max(1, MPS_CLIENTS * profile.compute // card.compute_slices)):
        message = f"{clients} processes share one instance of {profile.name} by MPS"
        allowed = f"at most {limit} clients there; fewer processes, or a larger profile"
        raise ProblemError([Problem(message, key=ask.key, given=str(clients), allowed=allowed)])
    if clients:
        reason += f", shared by {clients} MPS clients"
    return [
        Placement(
            unit=unit,
            group=ask.group,
            card=card,
            sharing=ask.sharing,
            profile=profile.name,
            profile_id=profile.id,
            start=slot.start,
            size=profile.size,
            thread_percentage=max(1, 100 // clients) if clients else None,
            memory_mib=(ask.memory_mib or profile.memory_mib // clients) if clients else None,
            daemon=daemon_key(card, slot.start) if clients else "",
            reason=reason,
        )
        for unit in ask.units
    ]


def _refuse(groups: Sequence[Sequence[Ask]], cards: Sequence[Card], host: str) -> Problem:
    """Say what does not fit, and up to where it would."""
    wanted = ", ".join(f"{len(members)} x {members[0].measure}" for members in groups)
    least = [[(profile_choices(members[0], card) or (None,))[-1] for card in cards] for members in groups]
    fitting: list[int] = []
    for index in range(len(groups)):
        count = len(groups[index])
        while count and not _fits(groups, least, cards, [*fitting, count]):
            count -= 1
        fitting.append(count)
    would = ", ".join(
        f"{count} x {members[0].measure}" for members, count in zip(groups, fitting, strict=True) if count
    )
    names = ", ".join(f"{len([c for c in cards if c.name == name])} x {name}" for name in {c.name for c in cards})
    keys = ", ".join(dict.fromkeys(ask.key for members in groups for ask in members))
    message = f"the shares of host {host} fit its cards in no order of slots ({names})"
    return Problem(message, key=keys, given=wanted, allowed=f"would fit: {would or 'none of them'}; or one more card")


def _fits(
    groups: Sequence[Sequence[Ask]],
    least: Sequence[Sequence[Profile | None]],
    cards: Sequence[Card],
    counts: Sequence[int],
) -> bool:
    spaces = [make_space(card.profiles, card.compute_slices) for card in cards]
    wishes = [Wish(count, tuple(profiles)) for count, profiles in zip(counts, least, strict=False)]
    return pack(spaces, wishes) is not None
