"""Which ports answer, asked from here or from a host: all of them side by side, as a filtered one takes its time."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Iterable, Mapping
from typing import Literal

from testinfra.host import Host

Place = tuple[str, int]
Result = Literal["open", "refused", "filtered"]
SECONDS = 120
"""For all ports together."""
# Reads {address: [ports]}, tries all of them, and prints {"address port": result}.
PROGRAM = """
import asyncio, json, sys
targets, patience = json.load(sys.stdin)
limit = asyncio.Semaphore(400)
async def attempt(address, port):
    async with limit:
        try:
            _, writer = await asyncio.wait_for(asyncio.open_connection(address, port), patience)
        except ConnectionRefusedError:
            return "refused"
        except (OSError, asyncio.TimeoutError):
            return "filtered"
        writer.transport.abort()
        return "open"
async def main():
    pairs = [(a, p) for a, ports in targets.items() for p in ports]
    results = await asyncio.gather(*(attempt(a, p) for a, p in pairs))
    print(json.dumps([[a, p, r] for (a, p), r in zip(pairs, results)]))
asyncio.run(main())
"""


def group_places(places: Iterable[Place]) -> dict[str, list[int]]:
    """Ports by address, as the probe takes them."""
    found: dict[str, list[int]] = {}
    for address, port in sorted(set(places)):
        found.setdefault(address, []).append(port)
    return found


def probe_from_host(host: Host, wanted: Mapping[str, Iterable[int]], patience: float = 1) -> dict[Place, Result]:
    """Try ports (by address) from a host, each for ``patience`` seconds. Raises AssertionError where it cannot."""
    told = shlex.quote(_describe(wanted, patience))
    output = host.check_output(f"echo {told} | timeout {SECONDS} python3 -c {shlex.quote(PROGRAM)}")
    return _read(output)


def probe_from_here(wanted: Mapping[str, Iterable[int]], patience: float = 1) -> dict[Place, Result]:
    """Try ports (by address) from this machine, each for ``patience`` seconds."""
    call, told = [sys.executable, "-c", PROGRAM], _describe(wanted, patience)
    done = subprocess.run(call, input=told, capture_output=True, text=True, timeout=SECONDS, check=True)
    return _read(done.stdout)


def _describe(wanted: Mapping[str, Iterable[int]], patience: float) -> str:
    return json.dumps([{address: sorted(ports) for address, ports in wanted.items()}, patience])


def _read(output: str) -> dict[Place, Result]:
    return {(address, port): result for address, port, result in json.loads(output)}
