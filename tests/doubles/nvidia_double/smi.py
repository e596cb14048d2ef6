"""The double of ``nvidia-smi``: ``python3 -m nvidia_double.smi ARGUMENTS``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from nvidia_double import tables
from nvidia_double.changes import Changes
from nvidia_double.machine import Machine, instance_uuid, root_from_environment

Answer = tuple[int, str]
Card = dict[str, Any]
_OPTIONS_WITH_VALUE = ("-i", "--id", "-mig", "-c", "-pm", "-cgi", "-gi", "-ci", "--set-timeslice", "-cci")


def run(machine: Machine, arguments: Sequence[str]) -> Answer:
    """Carry out one command line: exit status and output."""
    with machine.opened():
        machine.note(list(arguments))
        if machine.next_fault("driver") == "driver_mismatch":
            return 18, "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 580.173"
        return _dispatch(machine, list(arguments))


def _parse(arguments: list[str]) -> tuple[dict[str, str], list[str]]:
    """Options with their values, and bare words."""
    options: dict[str, str] = {}
    words: list[str] = []
    position = 0
    while position < len(arguments):
        word = arguments[position]
        name, equals, value = word.partition("=")
        if equals and name.startswith("--"):
            options[name] = value
        elif word in _OPTIONS_WITH_VALUE and position + 1 < len(arguments):
            following = arguments[position + 1]
            if word == "-cci" and following.startswith("-"):
                options[word] = ""
            else:
                options[word] = following
                position += 1
        elif word.startswith("-"):
            options[word] = ""
        else:
            words.append(word)
        position += 1
    return options, words


def _dispatch(machine: Machine, arguments: list[str]) -> Answer:
    options, words = _parse(arguments)
    chosen = machine.find(options.get("-i", options.get("--id", "")))
    if not chosen:
        return 6, "No devices were found"
    changes = Changes(machine, chosen)
    if words[:1] == ["mig"]:
        return _mig(machine, chosen, options, changes)
    if words[:1] == ["compute-policy"]:
        return changes.set_timeslice(options["--set-timeslice"])
    if "-mig" in options:
        return changes.set_mode(options["-mig"] == "1")
    if "--gpu-reset" in options or "-r" in options:
        return changes.reset()
    if "-c" in options:
        return changes.set_compute_mode(options["-c"])
    if "-pm" in options:
        return changes.set_persistence(options["-pm"] == "1")
    if "-L" in options:
        return 0, tables.list_cards(chosen)
    if "-q" in options and "-x" in options:
        return 0, _show_document(chosen)
    if "--query-gpu" in options:
        return _query_cards(machine, chosen, options)
    if "--query-compute-apps" in options:
        return _query_processes(machine, chosen, options)
    if not set(options) - {"-i", "--id"} and not words:
        return 0, _show_processes(machine, chosen)
    return 2, f"Invalid combination of input arguments. Please run 'nvidia-smi -h' for help.\n{arguments}"


def _mig(machine: Machine, chosen: list[Card], options: dict[str, str], changes: Changes) -> Answer:
    capable = [card for card in chosen if card["mode"] is not None]
    if "-lgip" in options or "-lgipp" in options:
        if not capable:
            return 6, "No MIG-supported devices found."
        return 0, (tables.list_profiles if "-lgip" in options else tables.list_placements)(capable)
    enabled = [card for card in capable if card["mode"]]
    if not enabled:
        return 6, "No MIG-enabled devices found."
    if "-lgi" in options:
        found = any(card["instances"] for card in enabled)
        return (0, tables.list_instances(enabled)) if found else (6, "No GPU instances found: Not Found")
    if "-lci" in options:
        found = any(i["compute"] for card in enabled for i in card["instances"])
        return (0, tables.list_compute_instances(enabled)) if found else (6, "No compute instances found: Not Found")
    if "-cgi" in options:
        return changes.create(options["-cgi"].split(","), with_compute="-C" in options)
    if "-cci" in options:
        return changes.create_compute(options.get("-gi", ""))
    if "-dci" in options:
        return changes.destroy_compute(options.get("-gi", ""))
    if "-dgi" in options:
        return changes.destroy(options.get("-gi", ""))
    return 2, "Invalid combination of input arguments. Please run 'nvidia-smi mig -h' for help."


def _onoff(value: bool | None) -> str:
    return "[N/A]" if value is None else "Enabled" if value else "Disabled"


def _query_cards(machine: Machine, cards: list[Card], options: dict[str, str]) -> Answer:
    fields = options["--query-gpu"].split(",")
    plain = "nounits" in options.get("--format", "")
    unit = "" if plain else " MiB"
    rows = []
    for card in cards:
        busy = bool(machine.holders(card))
        values = {
            "index": str(card["index"]),
            "uuid": card["uuid"],
            "name": card["name"],
            "pci.bus_id": card["address"],
            "driver_version": "580.173.02",
            "mig.mode.current": _onoff(card["mode"]),
            "mig.mode.pending": _onoff(card["pending"]),
            "compute_mode": card["compute_mode"],
            "persistence_mode": "Enabled" if card["persistence"] else "Disabled",
            "display_active": "Enabled" if card.get("display") else "Disabled",
            "memory.total": f"{card['memory_mib']}{unit}",
            "memory.used": f"{4188 if busy else 15}{unit}",
            "utilization.gpu": "[N/A]" if card["mode"] else f"{35 if busy else 0}{'' if plain else ' %'}",
            "temperature.gpu": "41",
            "power.draw": f"71.50{'' if plain else ' W'}",
        }
        unknown = [field for field in fields if field not in values]
        if unknown:
            return 2, f'Field "{unknown[0]}" is not a valid field to query.'
        rows.append(", ".join(values[field] for field in fields))
    heads = [f"{f} [MiB]" if f.startswith("memory.") and not plain else f for f in fields]
    header = [] if "noheader" in options.get("--format", "") else [", ".join(heads)]
    return 0, "\n".join([*header, *rows])


def _query_processes(machine: Machine, cards: list[Card], options: dict[str, str]) -> Answer:
    header = [] if "noheader" in options.get("--format", "") else [options["--query-compute-apps"].replace(",", ", ")]
    rows = []
    for card in cards:
        for user in machine.holders(card):
            values = {
                "gpu_uuid": card["uuid"],
                "pid": str(user.pid),
                "process_name": user.name,
                "used_gpu_memory": "4188",
            }
            if user.visible:
                rows.append(", ".join(values[field] for field in options["--query-compute-apps"].split(",")))
    return 0, "\n".join([*header, *rows])


def _show_document(cards: list[Card]) -> str:
    """``-q -x``, as far as MIG goes: it has no UUIDs and no profiles of instances."""
    lines = ['<?xml version="1.0" ?>', '<!DOCTYPE nvidia_smi_log SYSTEM "nvsmi_device_v13.dtd">', "<nvidia_smi_log>"]
    for card in cards:
        mode, pending = (_onoff(card[key]).strip("[]") for key in ("mode", "pending"))
        lines.append(f'\t<gpu id="{card["address"]}">')
        lines.append(f"\t\t<product_name>{card['name']}</product_name>")
        lines.append(f"\t\t<mig_mode><current_mig>{mode}</current_mig><pending_mig>{pending}</pending_mig></mig_mode>")
        lines.append("\t\t<mig_devices>")
        with_compute = sorted((i for i in card["instances"] if i["compute"]), key=lambda i: int(i["id"]))
        for index, instance in enumerate(with_compute):
            lines.append(f"\t\t\t<mig_device><index>{index}</index><gpu_instance_id>{instance['id']}</gpu_instance_id>")
            lines.append("\t\t\t\t<compute_instance_id>0</compute_instance_id></mig_device>")
        lines += ([] if with_compute else ["\t\t\tNone"]) + ["\t\t</mig_devices>"]
        lines += [
            f"\t\t<uuid>{card['uuid']}</uuid>",
            f"\t\t<compute_mode>{card['compute_mode']}</compute_mode>",
            "\t</gpu>",
        ]
    return "\n".join([*lines, "</nvidia_smi_log>"])


def _show_processes(machine: Machine, cards: list[Card]) -> str:
    rows = []
    for card in cards:
        owners = {instance_uuid(card, i): str(i["id"]) for i in card["instances"]}
        for user in (u for u in machine.holders(card) if u.visible):
            gi = owners.get(user.device, "N/A")
            ci = "0" if user.device in owners else "N/A"
            rows.append((str(card["index"]), gi, ci, str(user.pid), "C", user.name))
    return tables.list_processes(rows)


def main() -> int:
    """Run as ``nvidia-smi``."""
    status, text = run(Machine(root_from_environment()), sys.argv[1:])
    if text:
        print(text)
    return status


if __name__ == "__main__":
    sys.exit(main())
