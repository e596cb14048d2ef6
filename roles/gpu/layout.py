"""From a host's plan to what the program on the host is told; and from what the host reports to the planner's cards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from groundwork.gpu.products import Profile, find_product
from groundwork.problems import Problem
from roles.gpu.cards import Card
from roles.gpu.instances import FormerPlace
from roles.gpu.onhost.listing import CardState, ProfileLine
from roles.gpu.plan import Former, HostPlan

DEFAULT, EXCLUSIVE = "Default", "Exclusive_Process"


def live_cards(states: Sequence[CardState], lines: Sequence[ProfileLine]) -> tuple[Card, ...]:
    """The cards that a host lists, with the profiles and slots that it prints for them."""
    cards = []
    for state in states:
        profiles = tuple(_read_profile(line) for line in lines if line.card == state.index)
        product = find_product(state.name)
        largest = max((profile.compute for profile in profiles), default=0)
        cards.append(
            Card(
                index=state.index,
                name=state.name,
                uuid=state.uuid,
                address=state.address,
                memory_mib=state.memory_mib or None,
                mig=state.mig is not None and bool(profiles),
                compute_slices=product.compute_slices if product else largest,
                profiles=profiles if state.mig is not None else (),
            )
        )
    return tuple(cards)


def _read_profile(line: ProfileLine) -> Profile:
    return Profile(
        name=line.name,
        id=line.number,
        maximum=line.maximum,
        compute=int(line.name.partition("g.")[0]),
        size=line.size,
        starts=line.starts,
        memory_mib=int(line.memory_gib * 1024),
        engines=line.engines,
    )


def match_cards(declared: Sequence[Card], live: Sequence[Card], host: str) -> tuple[tuple[Card, ...], list[Problem]]:
    """The live cards that the manifest speaks of, with what it allows on them, and what does not match.

    Without declared cards they are all of the host's. A declared card is the first of its model that is left.
    """
    if not declared:
        return tuple(live), []
    left = list(live)
    found: list[Card] = []
    problems = []
    for wanted in declared:
        match = next((card for card in left if _same(wanted.name, card.name)), None)
        if match is None:
            have = ", ".join(card.name for card in live) or "none"
            message = f"host {host} lacks a card that its machines declare"
            problems.append(Problem(message, key="machines", given=wanted.name, allowed=f"what it has: {have}"))
            continue
        left.remove(match)
        found.append(Card(**{**vars(match), "sharing": wanted.sharing}))
    return tuple(sorted(found, key=lambda card: card.index)), problems


def _same(one: str, other: str) -> bool:
    return one.lower().removeprefix("nvidia ") == other.lower().removeprefix("nvidia ")


def read_former(proven: dict[str, Any]) -> Former:
    """Where processes were, from the layout that a host carries."""
    instances, cards = {}, {}
    for consumer in proven.get("consumers", []):
        if consumer.get("start", -1) >= 0:
            instances[consumer["unit"]] = FormerPlace(consumer["card"], consumer["profile_id"], consumer["start"])
        else:
            cards[consumer["unit"]] = consumer["card"]
    return Former(instances, cards)


def make_document(platform: str, plan: HostPlan, proven: dict[str, Any]) -> dict[str, Any]:
    """What the program on the host is told. Cards that are given up become whole again."""
    cards: dict[str, Any] = {}
    daemons: dict[str, dict[str, Any]] = {}
    for card in plan.concerned:
        placements = plan.on(card)
        cut = plan.uses_mig(card)
        whole_mps = not cut and any(p.daemon for p in placements)
        cards[card.uuid] = {
            "mig": cut if card.mig else None,
            "instances": sorted({(p.profile_id, p.start) for p in placements if p.start >= 0}),
            "compute_mode": EXCLUSIVE if whole_mps else DEFAULT,
        }
        for key in dict.fromkeys(p.daemon for p in placements if p.daemon):
            clients = [p for p in placements if p.daemon == key]
            limits = [p.memory_mib for p in clients]
            daemons[key] = {
                "key": key,
                "card": card.uuid,
                "start": clients[0].start,
                # What a client without limits of its own may have: as much as the largest.
                "thread_percentage": max(p.thread_percentage or 100 for p in clients),
                "memory_mib": max(limit or 0 for limit in limits) if all(limits) else None,
            }
    present = {card.uuid: card for card in plan.cards}
    for uuid in proven.get("cards", {}):
        if uuid in present and uuid not in cards:
            cards[uuid] = {"mig": False if present[uuid].mig else None, "instances": [], "compute_mode": DEFAULT}
    consumers = [
        {
            "unit": p.unit,
            "card": p.card.uuid,
            "sharing": p.sharing,
            "profile_id": p.profile_id,
            "start": p.start,
            "daemon": p.daemon,
            "thread_percentage": p.thread_percentage,
            "memory_mib": p.memory_mib,
        }
        for p in plan.placements
    ]
    cards = {uuid: {**card, "instances": [list(place) for place in card["instances"]]} for uuid, card in cards.items()}
    return {"platform": platform, "cards": cards, "consumers": consumers, "daemons": list(daemons.values())}
