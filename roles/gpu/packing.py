"""Packs MIG instances onto cards: finds a placement whenever there is one.

Each card's slots are filled from left to right; states that hold the same instances up to the same slot are one
(dynamic programming over slots). What a card can hold at most is then combined over the cards by a search that
remembers which rests cannot be placed. Both are exhaustive.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from groundwork.gpu.products import ENGINES, Profile
from roles.gpu.bounds import find_weights

Vector = tuple[int, ...]
"""How many instances of each wish."""
_Measure = tuple[tuple[float, ...], list[float]]
"""Weights of instances, and what the cards from each position on can hold by them."""
_TOLERANCE = 1e-6
_LEARN_EVERY = 8
"""Nodes of the search between two looks for new weights: about what one look costs."""


@dataclass(frozen=True, order=True)
class Slot:
    """An instance of a profile at a start slot."""

    profile: Profile
    start: int


@dataclass(frozen=True)
class Space:
    """What one card offers: its profiles, its compute slices, and the instances that stay."""

    profiles: tuple[Profile, ...]
    compute: int
    engines: tuple[int, ...]
    fixed: tuple[Slot, ...] = ()


@dataclass(frozen=True)
class Wish:
    """Equal instances: how many, and which profile they would be on each card (None: not on that one)."""

    count: int
    profiles: tuple[Profile | None, ...]


def make_space(profiles: Sequence[Profile], compute: int, fixed: Sequence[Slot] = ()) -> Space:
    """Describe a card. The largest profile has every media engine of the card."""
    engines = tuple(max((p.engines[i] for p in profiles), default=0) for i in range(len(ENGINES)))
    return Space(tuple(profiles), compute, engines, tuple(sorted(fixed)))


def pack(spaces: Sequence[Space], wishes: Sequence[Wish]) -> list[list[tuple[int, Slot]]] | None:
    """Return for each wish the places of its instances, ``(card's position, slot)``; None where they do not fit."""
    demand = tuple(wish.count for wish in wishes)
    columns = [tuple(wish.profiles[i] for wish in wishes) for i in range(len(spaces))]
    fillings = [_fill(space, column, demand) for space, column in zip(spaces, columns, strict=True)]
    sizes = tuple(max((p.size for p in wish.profiles if p), default=0) for wish in wishes)
    chosen = _cover(fillings, demand, sizes)
    if chosen is None:
        return None
    places: list[list[tuple[int, Slot]]] = [[] for _ in wishes]
    for position, vector in enumerate(chosen):
        for wish, slot in _choose(fillings[position], vector):
            places[wish].append((position, slot))
    return places


_Filling = Mapping[Vector, tuple[tuple[int, Slot], ...]]


@cache
def _fill(space: Space, wished: tuple[Profile | None, ...], demand: Vector) -> _Filling:
    """The fullest ways to fill one card: instances by wish, with where each goes."""
    taken = {slot.start + unit for slot in space.fixed for unit in range(slot.profile.size)}
    width = max((p.size + max(p.starts) for p in space.profiles), default=0)
    start = (0,) * len(demand)
    states: list[dict[Vector, tuple[tuple[int, Slot], ...]]] = [{} for _ in range(width + 1)]
    states[0][start] = ()
    for unit in range(width):
        for vector, placed in states[unit].items():
            states[unit + 1].setdefault(vector, placed)
            for wish, profile in enumerate(wished):
                if profile is None or vector[wish] >= demand[wish] or unit not in profile.starts:
                    continue
                end = unit + profile.size
                if end > width or any(u in taken for u in range(unit, end)):
                    continue
                more = (*placed, (wish, Slot(profile, unit)))
                if _allowed(space, [slot for _, slot in more]):
                    grown = (*vector[:wish], vector[wish] + 1, *vector[wish + 1 :])
                    states[end].setdefault(grown, more)
    found = states[width]
    return {v: found[v] for v in _largest(list(found))}


def _allowed(space: Space, placed: Sequence[Slot]) -> bool:
    """Whether a card's compute slices, media engines and numbers of each profile suffice."""
    slots = [*space.fixed, *placed]
    if sum(slot.profile.compute for slot in slots) > space.compute:
        return False
    for engine, total in enumerate(space.engines):
        if sum(slot.profile.engines[engine] for slot in slots) > total:
            return False
    profiles = [slot.profile for slot in slots]
    return all(profiles.count(profile) <= profile.maximum for profile in set(profiles))


def _largest(vectors: list[Vector]) -> list[Vector]:
    """Those that no other one covers, the fullest first."""
    kept: list[Vector] = []
    for vector in sorted(set(vectors), key=lambda v: (sum(v), v), reverse=True):
        if not any(all(a <= b for a, b in zip(vector, other, strict=True)) for other in kept):
            kept.append(vector)
    return kept


def _cover(fillings: Sequence[_Filling], demand: Vector, sizes: Vector) -> list[Vector] | None:
    """One filling for each card, so that together they meet the demand; None where there are none.

    A rest that outweighs what the remaining cards can hold, by weights found on the way, is given up at once.
    """
    hopeless: set[tuple[int, Vector]] = set()
    columns = sorted({vector for filling in fillings for vector in filling if any(vector)})
    measures: list[_Measure] = []
    visited = 0

    def learn(rest: Vector) -> None:
        weights = find_weights(columns, rest)
        limits = [0.0]
        for filling in reversed(fillings):
            limits.append(limits[-1] + max((_weigh(weights, vector) for vector in filling), default=0.0))
        measures.append((weights, limits[::-1]))

    def fits(card: int, rest: Vector) -> bool:
        return all(_weigh(weights, rest) <= limits[card] + _TOLERANCE for weights, limits in measures)

    def search(card: int, rest: Vector) -> list[Vector] | None:
        nonlocal visited
        if not any(rest):
            return [(0,) * len(demand)] * (len(fillings) - card)
        if (card, rest) in hopeless:
            return None
        visited += 1
        if visited % _LEARN_EVERY == 1 and columns and fits(card, rest):
            learn(rest)
        if card < len(fillings) and fits(card, rest):
            offers = _largest([tuple(map(min, rest, vector)) for vector in fillings[card]])
            # What fills the card best, by few large instances: small ones fit into what is left.
            offers.sort(key=lambda vector: (-_weigh(sizes, vector), sum(vector)))
            for taken in offers:
                tail = search(card + 1, tuple(r - t for r, t in zip(rest, taken, strict=True)))
                if tail is not None:
                    return [taken, *tail]
        hopeless.add((card, rest))
        return None

    return search(0, demand)


def _weigh(weights: Sequence[float], vector: Vector) -> float:
    return sum(w * v for w, v in zip(weights, vector, strict=True))


def _choose(filling: _Filling, vector: Vector) -> list[tuple[int, Slot]]:
    """The slots of a filling that holds at least ``vector``, cut down to it."""
    full = next(v for v in filling if all(a <= b for a, b in zip(vector, v, strict=True)))
    left = list(vector)
    chosen = []
    for wish, slot in filling[full]:
        if left[wish]:
            left[wish] -= 1
            chosen.append((wish, slot))
    return chosen
