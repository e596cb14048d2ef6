"""Reads and writes configuration files of nvidia-mig-parted (``version: v1``, ``mig-configs:``).

What that program passes over in silence is an error here: counts of zero (never equal to what is there, so that every
run would destroy and create all instances anew), filters that are none or match no card, profiles that no card has,
and cards that two entries claim.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from groundwork.gpu.products import find_product
from groundwork.manifest.source import parse
from groundwork.problems import Problem, ProblemError
from roles.gpu.cards import Card
from roles.gpu.packing import Wish, make_space, pack

_PROFILE = re.compile(r"(?:\d+c\.)?\d+g\.\d+gb(?:\+[a-z0-9.]+(?:,[a-z0-9.]+)*|-[a-z0-9.]+)?")
_PARTIAL = re.compile(r"\d+c\.")
_FILTER = re.compile(r"0x([0-9A-Fa-f]{4})10[Dd][Ee](?::0x[0-9A-Fa-f]{8})?")
_FIELDS = ("devices", "device-filter", "mig-enabled", "mig-devices")


@dataclass(frozen=True)
class Entry:
    """One entry of a configuration: which cards, MIG on or off, and how many instances of each profile."""

    devices: tuple[int, ...] | None
    """Indices of cards; None for all."""
    enabled: bool
    instances: Mapping[str, int] = field(default_factory=dict, hash=False)
    filters: tuple[str, ...] = ()
    """PCI device numbers, four hexadecimal digits each; empty for every product."""

    def matches(self, card: Card) -> bool:
        """Whether the entry is about a card."""
        if self.devices is not None and card.index not in self.devices:
            return False
        product = find_product(card.name)
        return not self.filters or bool(product and set(product.pci_devices) & set(self.filters))


Configurations = dict[str, tuple[Entry, ...]]


def read_configurations(text: str, name: str) -> Configurations:
    """Read a file. Raises ProblemError with every mistake in it, with its line."""
    source = parse(text, name)
    problems: list[Problem] = []
    data = source.data
    for key in data:
        if key not in ("version", "mig-configs"):
            problems.append(Problem("unknown key", key=str(key), allowed="version, mig-configs"))
    if data.get("version") != "v1":
        problems.append(
            Problem("is not a version that is known", key="version", given=str(data.get("version")), allowed="v1")
        )
    labels = data.get("mig-configs")
    if not isinstance(labels, dict) or not labels:
        problems.append(Problem("needs at least one configuration", key="mig-configs"))
        labels = {}
    found: Configurations = {}
    for label, entries in labels.items():
        key = f"mig-configs.{label}"
        if not isinstance(entries, list) or not entries:
            problems.append(Problem("needs at least one entry", key=key))
            continue
        read = [_read_entry(entry, f"{key}.{position}", problems) for position, entry in enumerate(entries)]
        found[str(label)] = tuple(entry for entry in read if entry)
    if problems:
        raise ProblemError([source.place(problem) for problem in problems])
    return found


def _read_entry(entry: Any, key: str, problems: list[Problem]) -> Entry | None:
    if not isinstance(entry, dict):
        problems.append(Problem("is not a mapping", key=key, allowed=", ".join(_FIELDS)))
        return None
    before = len(problems)
    for name in entry:
        if name not in _FIELDS:
            problems.append(Problem("unknown key", key=f"{key}.{name}", allowed=", ".join(_FIELDS)))
    devices = _read_devices(entry.get("devices"), f"{key}.devices", problems)
    enabled = entry.get("mig-enabled")
    if not isinstance(enabled, bool):
        problems.append(Problem("is required: true or false", key=f"{key}.mig-enabled", given=str(enabled)))
    filters = _read_filters(entry.get("device-filter"), f"{key}.device-filter", problems)
    instances = entry.get("mig-devices")
    if enabled and not isinstance(instances, dict):
        message = "is required where mig-enabled is true; {} means MIG without instances"
        problems.append(Problem(message, key=f"{key}.mig-devices"))
    elif not enabled and instances:
        problems.append(Problem("instances need mig-enabled: true", key=f"{key}.mig-devices"))
    for profile, count in (instances or {}).items() if isinstance(instances, dict) else ():
        problems += _check_instance(str(profile), count, f"{key}.mig-devices.{profile}")
    if len(problems) > before:
        return None
    return Entry(devices, bool(enabled), dict(instances or {}), filters)


def _read_devices(given: Any, key: str, problems: list[Problem]) -> tuple[int, ...] | None:
    if given == "all":
        return None
    if isinstance(given, list) and all(isinstance(i, int) and not isinstance(i, bool) and i >= 0 for i in given):
        if not given:
            problems.append(Problem("an empty list is about no card", key=key, allowed="all, or indices"))
        return tuple(given)
    problems.append(Problem("is not valid", key=key, given=str(given), allowed="all, or a list of indices"))
    return ()


def _read_filters(given: Any, key: str, problems: list[Problem]) -> tuple[str, ...]:
    found = []
    for text in [] if given is None else given if isinstance(given, list) else [given]:
        match = _FILTER.fullmatch(str(text))
        if match:
            found.append(match[1].lower())
        else:
            allowed = 'a quoted "0x<device>10DE", such as "0x233510DE"'
            problems.append(Problem("is no PCI number of NVIDIA's", key=key, given=str(text), allowed=allowed))
    return tuple(found)


def _check_instance(profile: str, count: Any, key: str) -> Iterator[Problem]:
    if not _PROFILE.fullmatch(profile):
        yield Problem("is no MIG profile", key=key, given=profile, allowed="such as 1g.10gb, 1g.10gb+me")
    elif _PARTIAL.match(profile):
        message = "an instance that is cut further into compute instances cannot be given to an agent yet"
        yield Problem(message, key=key, given=profile, allowed=profile.partition(".")[2])
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        message = "a count is at least 1; leave the profile out where there is to be none"
        yield Problem(message, key=key, given=str(count), allowed="1 or more")


def resolve(entries: Sequence[Entry], cards: Sequence[Card], label: str) -> dict[int, Mapping[str, int] | None]:
    """What each card is to be: instances by profile, None for MIG off. Cards of no entry are left out.

    Raises ProblemError for entries that match no card, a card that two entries claim, a card without MIG, profiles
    that the card does not have, and instances that fit it in no order.
    """
    problems: list[Problem] = []
    wanted: dict[int, Mapping[str, int] | None] = {}
    for position, entry in enumerate(entries):
        key = f"mig-configs.{label}.{position}"
        matched = [card for card in cards if entry.matches(card)]
        if not matched:
            given = "filter " + ", ".join(entry.filters) if entry.filters else f"devices {entry.devices}"
            have = ", ".join(card.label for card in cards)
            problems.append(Problem("the entry matches no card", key=key, given=given, allowed=have))
        for card in matched:
            if card.index in wanted:
                problems.append(Problem("the card is in another entry, too", key=key, given=card.label))
            elif entry.enabled and not card.mig:
                problems.append(Problem("the card has no MIG", key=f"{key}.mig-enabled", given=card.label))
            elif entry.enabled:
                problems += _check_fit(entry, card, f"{key}.mig-devices")
            wanted[card.index] = entry.instances if entry.enabled else None
    if problems:
        raise ProblemError(dict.fromkeys(problems))
    return wanted


def _check_fit(entry: Entry, card: Card, key: str) -> Iterator[Problem]:
    profiles = {name: card.profile(name) for name in entry.instances}
    for name, profile in profiles.items():
        if profile is None:
            offered = ", ".join(p.name for p in card.profiles)
            yield Problem(f"{card.label} has no such profile", key=f"{key}.{name}", given=name, allowed=offered)
    if all(profiles.values()):
        wishes = [Wish(count, (profiles[name],)) for name, count in entry.instances.items()]
        if pack([make_space(card.profiles, card.compute_slices)], wishes) is None:
            given = ", ".join(f"{name}: {count}" for name, count in entry.instances.items())
            yield Problem(f"does not fit {card.label} in any order of slots", key=key, given=given)


def write_configurations(configurations: Mapping[str, Sequence[Entry]]) -> str:
    """Write configurations as nvidia-mig-parted reads them."""
    document: dict[str, Any] = {"version": "v1", "mig-configs": {}}
    for label, entries in configurations.items():
        rows = []
        for entry in entries:
            row: dict[str, Any] = {}
            if entry.filters:
                row["device-filter"] = [f"0x{number.upper()}10DE" for number in entry.filters]
            row["devices"] = "all" if entry.devices is None else list(entry.devices)
            row["mig-enabled"] = entry.enabled
            if entry.enabled:
                row["mig-devices"] = dict(entry.instances)
            rows.append(row)
        document["mig-configs"][label] = rows
    return yaml.safe_dump(document, sort_keys=False, default_flow_style=False)


def describe_layout(cards: Sequence[tuple[Card, Mapping[str, int] | None]]) -> tuple[Entry, ...]:
    """Entries for cards as they are laid out, equal ones together, as ``nvidia-mig-parted export`` does."""
    alike: dict[tuple[bool, tuple[tuple[str, int], ...]], list[int]] = {}
    for card, instances in cards:
        alike.setdefault((instances is not None, tuple(sorted((instances or {}).items()))), []).append(card.index)
    return tuple(Entry(tuple(members), enabled, dict(counts)) for (enabled, counts), members in alike.items())


def describe_shares(host: str, cards: Sequence[Card], wanted: Mapping[int, Mapping[str, int] | None]) -> str:
    """The instances of a host as lines of a manifest: a share for one process each, to be given to groups."""
    lines = [f"# {host}"]
    for card in cards:
        instances = wanted.get(card.index)
        if card.index not in wanted:
            lines.append(f"# {card.label}: the file says nothing about it")
        elif not instances:
            state = "off" if instances is None else "on, without instances: give a group a share"
            lines.append(f"# {card.label}: MIG {state}")
        for profile, count in (instances or {}).items():
            lines.append(f"gpu: {{mig_profile: {profile}, card: {card.index}}}  # for {count} process(es)")
    return "\n".join(lines) + "\n"
