"""The cards of a host as it shows them now, with the owners that it was given."""

from __future__ import annotations

import json
from typing import Any

from groundwork.engine.inspection import UnreachableError, inspect_host
from groundwork.inventory import InventoryHost
from groundwork.problems import Problem, ProblemError
from groundwork.site import Site
from roles.gpu.cards import Card
from roles.gpu.layout import live_cards
from roles.gpu.onhost import listing
from roles.gpu.onhost.smi import DriverError, Smi
from roles.gpu.plan import HostPlan
from roles.gpu.shares import Placement


def read_plan(site: Site, host: InventoryHost) -> HostPlan:
    """Read one host's cards and the layout they were given. Raises ProblemError where it does not answer."""
    try:
        inspected = inspect_host(host)
    except UnreachableError as error:
        raise ProblemError([Problem(str(error), key=host.name)]) from None

    def run(arguments: Any) -> tuple[int, str]:
        done = inspected.run("LC_ALL=C /usr/bin/nvidia-smi " + " ".join(["%s"] * len(arguments)), *arguments)
        return int(done.rc), str(done.stdout + done.stderr).strip()

    smi = Smi(run)
    try:
        states = [smi.card(state.uuid) for state in smi.cards()]
    except DriverError as error:
        raise ProblemError([Problem(str(error), key=host.name)]) from None
    profiles = listing.parse_profiles(run(("mig", "-lgip"))[1], run(("mig", "-lgipp"))[1])
    cards = live_cards(states, profiles)
    path = f"/var/lib/groundwork/gpu/{site.platform.platform}/proven.json"
    given = inspected.run("cat %s", path)
    consumers = json.loads(given.stdout).get("consumers", []) if given.rc == 0 else []
    by_uuid = {card.uuid: card for card in cards}
    there = {(state.uuid, i.start): i for state in states for i in state.instances}
    groups = {process.unit_name: process.group for process in site.topology.processes_on(host.name)}
    placements = [
        _place(consumer, by_uuid[consumer["card"]], there.get((consumer["card"], consumer["start"])), groups)
        for consumer in consumers
        if consumer["card"] in by_uuid
    ]
    return HostPlan(host.name, cards, tuple(placements))


def _place(
    consumer: dict[str, Any], card: Card, instance: listing.Instance | None, groups: dict[str, str]
) -> Placement:
    cut = consumer["start"] >= 0
    present = not cut or (instance is not None and instance.profile_id == consumer["profile_id"])
    reason = f"{card.label}"
    if cut:
        reason += f", {instance.profile} {instance.uuid}" if present and instance else ", its instance is NOT there"
    profile = card.profile_by_id(consumer["profile_id"])
    return Placement(
        unit=consumer["unit"],
        group=groups.get(consumer["unit"], "not declared any more"),
        card=card,
        sharing=consumer["sharing"],
        profile=profile.name if profile else "",
        profile_id=consumer["profile_id"],
        start=consumer["start"],
        size=profile.size if profile else 1,
        thread_percentage=consumer["thread_percentage"],
        memory_mib=consumer["memory_mib"],
        daemon=consumer["daemon"],
        reason=reason,
    )
