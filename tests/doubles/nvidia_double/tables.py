"""The tables of ``nvidia-smi mig``, as driver 580 prints them."""

from __future__ import annotations

from typing import Any

from nvidia_double.machine import count_free, instance_uuid

Card = dict[str, Any]


def _name(card: Card, number: int) -> str:
    return str(next(p["name"] for p in card["profiles"] if p["id"] == number))


# The order in which NVML numbers profiles (nvml.h, NVML_GPU_INSTANCE_PROFILE_*), by slices and attribute.
_NUMBERS = {"": 0, "+me": 7, "double": 9, "+gfx": 10, "-me": 13, "+me.all": 15}


def _in_order(card: Card) -> list[dict[str, Any]]:
    """Instances as the lists have them: profile by profile in NVML's order, then by id."""
    least = min((p["size"] for p in card["profiles"]), default=1)

    def position(instance: dict[str, Any]) -> tuple[int, int]:
        profile = next(p for p in card["profiles"] if p["id"] == instance["profile"])
        attribute = profile["name"].partition("gb")[2]
        double = profile["compute"] == 1 and profile["size"] > least
        slices = {7: 4}.get(profile["compute"], profile["compute"] - 1)
        return _NUMBERS["double" if double else attribute] + slices, instance["id"]

    return sorted(card["instances"], key=position)


def shown_name(card: Card, instance: dict[str, Any]) -> str:
    """Name of an instance's compute instance, which leaves attributes out: 1g.10gb for a 1g.10gb+me."""
    return _name(card, instance["profile"]).partition("+")[0]


def list_cards(cards: list[Card]) -> str:
    """``nvidia-smi -L``."""
    lines = []
    for card in cards:
        lines.append(f"GPU {card['index']}: {card['name']} (UUID: {card['uuid']})")
        with_compute = [i for i in card["instances"] if i["compute"]]
        for index, instance in enumerate(sorted(with_compute, key=lambda i: i["id"])):
            uuid = instance_uuid(card, instance)
            lines.append(f"  MIG {shown_name(card, instance):<12}Device {index:>2}: (UUID: {uuid})")
    return "\n".join(lines)


def list_instances(cards: list[Card]) -> str:
    """``nvidia-smi mig -lgi``: rows in no order of id or slot."""
    rule = "+---------------------------------------------------------+"
    rows = [
        rule,
        "| GPU instances:                                          |",
        "| GPU   Name               Profile  Instance   Placement  |",
        "|                            ID       ID       Start:Size |",
        "|=========================================================|",
    ]
    for card in cards:
        for i in _in_order(card):
            placed = f"{i['start']}:{i['size']}"
            name = f"MIG {_name(card, i['profile'])}"
            rows += [f"| {card['index']:>3}  {name:<18}{i['profile']:>6}{i['id']:>9}{placed:>13}     |", rule]
    return "\n".join(rows)


def list_compute_instances(cards: list[Card]) -> str:
    """``nvidia-smi mig -lci``."""
    rule = "+--------------------------------------------------------------------+"
    rows = [
        rule,
        "| Compute instances:                                                 |",
        "| GPU     GPU       Name             Profile   Instance   Placement  |",
        "|       Instance                       ID        ID       Start:Size |",
        "|         ID                                                         |",
        "|====================================================================|",
    ]
    for card in cards:
        for i in _in_order(card):
            if i["compute"]:
                name = f"MIG {shown_name(card, i)}"
                slices = next(p["compute"] for p in card["profiles"] if p["id"] == i["profile"])
                number = {1: 0, 2: 1, 3: 2, 4: 3, 7: 4}.get(slices, 0)
                row = f"| {card['index']:>3}{i['id']:>7}       {name:<16}{number:>6}{0:>10}{f'0:{slices}':>13}     |"
                rows += [row, rule]
    return "\n".join(rows)


def list_profiles(cards: list[Card]) -> str:
    """``nvidia-smi mig -lgip``: two lines a profile, also while MIG is off."""
    rule = "+-------------------------------------------------------------------------------+"
    rows = [
        rule,
        "| GPU instance profiles:                                                        |",
        "| GPU   Name               ID    Instances   Memory     P2P    SM    DEC   ENC  |",
        "|                                Free/Total   GiB              CE    JPEG  OFA  |",
        "|===============================================================================|",
    ]
    for card in cards:
        for p in sorted(card["profiles"], key=lambda p: (p["compute"], p["size"], p["name"])):
            name, free = f"MIG {p['name']}", f"{count_free(card, p)}/{p['max']}"
            memory = f"{p['memory'] or 0:.2f}"
            first = f"| {card['index']:>3}  {name:<18}{p['id']:>4}{free:>8}        {memory:<11}No     {p['sm'] or 0:<7}"
            rows.append(f"{first}{p['dec'] or 0}{p['enc'] or 0:>6}   |")
            rows.append(f"|{p['ce'] or 0:>64}{p['jpeg'] or 0:>6}{p['ofa'] or 0:>6}   |")
            rows.append(rule)
    return "\n".join(rows)


def list_placements(cards: list[Card]) -> str:
    """``nvidia-smi mig -lgipp``."""
    lines = []
    for card in cards:
        for p in card["profiles"]:
            starts = ",".join(map(str, p["starts"]))
            word = "Placements" if len(p["starts"]) > 1 else "Placement "
            lines.append(f"GPU {card['index']:>2} Profile ID {p['id']:>2} {word}: {{{starts}}}:{p['size']}")
    return "\n".join(lines)


def list_processes(rows: list[tuple[str, str, str, str, str, str]]) -> str:
    """The table of processes at the end of plain ``nvidia-smi``."""
    rule = "+-----------------------------------------------------------------------------------------+"
    lines = [
        rule,
        "| Processes:                                                                              |",
        "|  GPU   GI   CI              PID   Type   Process name                        GPU Memory |",
        "|        ID   ID                                                               Usage      |",
        "|=========================================================================================|",
    ]
    for gpu, gi, ci, pid, kind, name in rows:
        lines.append(f"|{gpu:>5}{gi:>5}{ci:>5}{pid:>17}{kind:>7}   {name[:32]:<32}{'100MiB':>14} |")
    if not rows:
        lines.append("|  No running processes found                                                             |")
    return "\n".join([*lines, rule])
