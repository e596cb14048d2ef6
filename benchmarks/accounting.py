"""Processor time that each unit of a lab's hosts has used, from the kernel's own accounting."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping

from groundwork.lab.state import LabState
from groundwork.lab.terminal import capture_command, find_host

# Controllers may be missing in a lab host, so that systemd cannot say: the times of all processes (proc(5), fields 14
# and 15 of /proc/PID/stat, in clock ticks) are added up by the unit that their control group names.
PROGRAM = """
import json, os
found, ticks = {}, os.sysconf("SC_CLK_TCK")
for name in filter(str.isdigit, os.listdir("/proc")):
    try:
        with open(f"/proc/{name}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
        with open(f"/proc/{name}/cgroup") as file:
            unit = file.read().strip().rpartition("/")[2]
    except OSError:
        continue
    found[unit] = found.get(unit, 0) + (int(fields[11]) + int(fields[12])) / ticks
print(json.dumps(found))
"""


def read_processor_seconds(lab: str) -> dict[str, float]:
    """Seconds that the processes of each unit have used so far; units of all hosts of the lab together."""
    state, total = LabState(lab), dict[str, float]()
    spec = state.read_spec()
    for host in spec.hosts if spec else ():
        output = capture_command(state, find_host(state, host.name), [f"python3 -c {shlex.quote(PROGRAM)}"])[1]
        for unit, seconds in json.loads(output).items():
            total[unit] = total.get(unit, 0.0) + seconds
    return total


def share_out(before: Mapping[str, float], after: Mapping[str, float], messages: int) -> list[tuple[str, float]]:
    """Microseconds for each message by unit, most first; what is below a hundredth of the whole is left out."""
    used = {unit: seconds - before.get(unit, 0.0) for unit, seconds in after.items()}
    least = sum(max(0.0, seconds) for seconds in used.values()) / 100
    shares = [(unit, 1e6 * seconds / messages) for unit, seconds in used.items() if seconds > least]
    return sorted(shares, key=lambda share: -share[1])
