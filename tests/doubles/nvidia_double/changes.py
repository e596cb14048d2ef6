"""What changes a card: modes, instances, resets, with the driver's texts and its exit codes."""

from __future__ import annotations

from typing import Any

from nvidia_double.machine import Machine, has_resources, instance_number, is_free, preferred_starts

Answer = tuple[int, str]
Card = dict[str, Any]
DONE = "All done."
IN_USE = "In use by another client"
_WARNED = "Treating as warning and moving on."


class PowerCutError(BaseException):
    """The machine loses power, or the caller is killed, before the command has an effect."""


class Changes:
    """The changing commands on the chosen cards."""

    def __init__(self, machine: Machine, cards: list[Card]) -> None:
        self.machine = machine
        self.cards = cards

    def _fault(self, command: str) -> str:
        fault = self.machine.next_fault(command)
        if fault == "killed":
            raise PowerCutError(command)
        return fault

    def set_mode(self, on: bool) -> Answer:
        """``-mig 0|1``."""
        verb, state = ("enable", "Enabled") if on else ("disable", "Disabled")
        lines = []
        for card in self.cards:
            name = card["address"]
            fault = self._fault("mig")
            if card["mode"] is None or fault == "warning_rc0":
                lines += [f"Unable to {verb} MIG Mode for GPU {name}: Not Supported", _WARNED]
                continue
            if card["pending"] == on == card["mode"]:
                lines.append(f"{state} MIG Mode for GPU {name}")
                continue
            held = fault == "in_use" or bool(card["instances"]) or bool(self.machine.holders(card))
            if card["reset_for_mode"]:
                card["pending"] = on
                if on == card["mode"]:
                    lines.append(f"{state} MIG Mode for GPU {name}")
                elif held:
                    lines.append(f"Warning: MIG mode is in pending {verb} state for GPU {name}:{IN_USE}")
                    lines.append(f"{name} is currently being used by one or more other processes (e.g. CUDA "
                                 "application or a monitoring application such as another instance of nvidia-smi). "
                                 "Please first kill all processes using the device and retry the command or reboot "
                                 "the system to make MIG mode effective.")  # fmt: skip
                else:
                    lines.append(f"Warning: MIG mode is in pending {verb} state for GPU {name}:Not Supported")
                    lines.append("Reboot the system or try nvidia-smi --gpu-reset to make MIG mode effective on GPU "
                                 f"{name}")  # fmt: skip
                continue
            if held:
                return (
                    255,
                    f"Unable to {verb} MIG Mode for GPU {name}: {IN_USE}\nTerminating early due to previous errors.",
                )
            card["mode"] = card["pending"] = on
            lines.append(f"{state} MIG Mode for GPU {name}")
            if not card["persistence"]:
                lines.append(f"\nWarning: persistence mode is disabled on device {name}. See the Known Issues section "
                             "of the nvidia-smi(1) man page for more information. Run with [--help | -h] switch to "
                             "get more information on how to enable persistence mode.")  # fmt: skip
        return 0, "\n".join([*lines, DONE])

    def reset(self) -> Answer:
        """``--gpu-reset``."""
        lines = []
        for card in self.cards:
            name = card["address"]
            fault = self._fault("reset")
            if fault == "warning_rc0":
                lines.append(f"Resetting GPU {name} is not supported.")
                continue
            if fault in ("reset_blocked", "in_use") or self.machine.holders(card) or card["persistence"]:
                return 255, (
                    f"The following GPUs could not be reset:\n  GPU {name}: {IN_USE}\n\n1 device is currently being "
                    "used by one or more other processes (e.g., Fabric Manager, CUDA application, graphics application "
                    "such as an X server, or a monitoring application such as another instance of nvidia-smi). Please "
                    "first kill all processes using this device and all compute applications running in the system."
                )
            card["mode"], card["instances"], card["compute_mode"] = card["pending"], [], "Default"
            lines.append(f"GPU {name} was successfully reset.")
        return 0, "\n".join([*lines, DONE])

    def set_compute_mode(self, given: str) -> Answer:
        """``-c MODE``."""
        name = {"DEFAULT": "Default", "EXCLUSIVE_PROCESS": "Exclusive_Process", "PROHIBITED": "Prohibited"}.get(given)
        lines = []
        for card in self.cards:
            if name is None:
                return 2, f"Invalid compute mode: {given}"
            if card["mode"] and name == "Exclusive_Process":
                return 3, f"Setting compute mode to {given} is not supported for GPU {card['address']}."
            if self._fault("compute") in ("in_use", "warning_rc0"):
                lines += [f"Unable to set compute mode for GPU {card['address']}: {IN_USE}", _WARNED]
                continue
            card["compute_mode"] = name
            lines.append(f"Set compute mode to {given} for GPU {card['address']}.")
        return 0, "\n".join([*lines, DONE])

    def set_persistence(self, on: bool) -> Answer:
        """``-pm 0|1``."""
        lines = []
        for card in self.cards:
            if self._fault("persistence") in ("in_use", "warning_rc0"):
                lines += [f"Unable to set persistence mode for GPU {card['address']}: {IN_USE}", _WARNED]
                continue
            already = "already " if card["persistence"] == on else ""
            state = "Enabled" if on else "Disabled"
            text = f"Persistence mode is already {state}" if already else f"{state} persistence mode"
            lines.append(f"{text} for GPU {card['address']}.")
            card["persistence"] = on
        return 0, "\n".join([*lines, DONE])

    def set_timeslice(self, given: str) -> Answer:
        """``compute-policy --set-timeslice N``."""
        for card in self.cards:
            card["timeslice"] = int(given)
        return 0, DONE

    def create(self, wanted: list[str], with_compute: bool) -> Answer:
        """``mig -cgi ID[:START],... [-C]``; what was made before a failure stays."""
        lines = []
        for card in self.cards:
            for word in wanted:
                number, _, start = word.partition(":")
                profile = next((p for p in card["profiles"] if number in (str(p["id"]), p["name"])), None)
                head = f"Unable to create a GPU instance on GPU {card['index']:>2} using profile {number}"
                fault = self._fault("cgi")
                why = ""
                if profile is None or (start and int(start) not in profile["starts"]):
                    why = "Invalid Argument"
                elif fault == "in_use":
                    why = IN_USE
                elif fault == "warning_rc0":
                    lines += [f"{head}: Not Supported", _WARNED]
                    continue
                else:
                    starts = [int(start)] if start else preferred_starts(profile)
                    free = [s for s in starts if is_free(card, profile, s) and has_resources(card, profile)]
                    why = "" if free and fault != "insufficient_resources" else "Insufficient Resources"
                if why or profile is None:
                    return 19, "\n".join([*lines, f"{head}: {why}", f"Failed to create GPU instances: {why}"])
                made = {"id": instance_number(card, profile["size"], free[0]), "profile": profile["id"]}
                made |= {"start": free[0], "size": profile["size"], "compute": with_compute}
                card["instances"].append(made)
                where = f"on GPU {card['index']:>2}"
                lines.append(f"Successfully created GPU instance ID {made['id']:>2} {where} using profile "
                             f"MIG {profile['name']} (ID {profile['id']:>2})")  # fmt: skip
                if with_compute:
                    lines.append(f"Successfully created compute instance ID  0 {where} GPU instance ID {made['id']:>2} "
                                 f"using profile MIG {profile['name']} (ID  0)")  # fmt: skip
        return 0, "\n".join(lines)

    def create_compute(self, given: str) -> Answer:
        """``mig -cci -gi ID``: the default compute instance of a GPU instance that has none."""
        for card in self.cards:
            for instance in card["instances"]:
                if given in ("", str(instance["id"])) and not instance["compute"]:
                    fault = self._fault("cci")
                    if fault in ("in_use", "insufficient_resources"):
                        why = IN_USE if fault == "in_use" else "Insufficient Resources"
                        return 19, f"Failed to create compute instances: {why}"
                    instance["compute"] = fault != "warning_rc0"
        return 0, "Successfully created compute instance"

    def destroy_compute(self, given: str) -> Answer:
        """``mig -dci [-gi ID]``."""
        return self._destroy(given, "compute")

    def destroy(self, given: str) -> Answer:
        """``mig -dgi [-gi ID]``."""
        return self._destroy(given, "gpu")

    def _destroy(self, given: str, kind: str) -> Answer:
        lines, found = [], False
        for card in self.cards:
            for instance in list(card["instances"]):
                if str(instance["id"]) not in (given.split(",") if given else [str(instance["id"])]):
                    continue
                if kind == "compute" and not instance["compute"]:
                    continue
                found = True
                number, gpu = f"{instance['id']:>2}", f"GPU {card['index']:>2}"
                name = f"compute instance ID  0 from {gpu} GPU instance ID {number}"
                name = name if kind == "compute" else f"GPU instance ID {number} from {gpu}"
                plural = "compute instances" if kind == "compute" else "GPU instances"
                fault = self._fault("dci" if kind == "compute" else "dgi")
                held = self.machine.holders(card, instance) or (kind == "gpu" and instance["compute"])
                if held or fault == "in_use":
                    return 19, f"Unable to destroy {name}: {IN_USE}\nFailed to destroy {plural}: {IN_USE}"
                if fault == "warning_rc0":
                    lines += [f"Unable to destroy {name}: Not Supported", _WARNED]
                    continue
                if kind == "compute":
                    instance["compute"] = False
                else:
                    card["instances"].remove(instance)
                lines.append(f"Successfully destroyed {name}")
        if not found:
            return 6, f"No {'compute' if kind == 'compute' else 'GPU'} instances found: Not Found"
        return 0, "\n".join(lines)
