"""`python -m agent_runtime.load`: send requests to an agent, and measure latency and losses.

A request counts as acknowledged once Redis has stored it. It is lost if it was acknowledged and still has no result
(done, or set aside with a reason) when the time to settle is over.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent_runtime.configuration import ConfigurationError, read_settings
from agent_runtime.figures import summarise
from agent_runtime.instance import InstanceError, read_instance
from agent_runtime.services import Services
from agent_runtime.settings import RuntimeSettings
from agent_runtime.stores.redis_store import StoreError
from agent_runtime.tls import CertificateError
from agent_runtime.work.messages import new_identifier
from agent_runtime.work.requests import ReplyTimeoutError, RequestError, Requests

if TYPE_CHECKING:
    from agent_runtime.bus.connection import Bus

SETTLE_PAUSE_SECONDS = 0.2


@dataclass
class Tally:
    """What happened so far. Latencies are in seconds."""

    sent: int = 0
    refused: int = 0
    failed: int = 0
    errors: int = 0
    latencies: list[float] = field(default_factory=list)
    open: dict[str, float] = field(default_factory=dict)


class Load:
    """Sends requests, `concurrency` at a time, until the count or the time is used up."""

    def __init__(self, client: Requests, options: argparse.Namespace) -> None:
        self._client, self._options = client, options
        self._payload: dict[str, Any] = json.loads(options.payload)
        self.tally = Tally()
        self._acknowledged = 0

    async def run(self) -> dict[str, Any]:
        """Send everything, wait for what is still open, and return the figures."""
        started = time.monotonic()
        end = started + self._options.seconds
        await asyncio.gather(*(self._send(number, started, end) for number in range(self._options.concurrency)))
        sending = time.monotonic() - started
        await self._settle()
        tally = self.tally
        return {
            "agent": self._options.agent,
            "sent": tally.sent,
            "acknowledged": self._acknowledged,
            "answered": len(tally.latencies),
            "failed": tally.failed,
            "refused": tally.refused,
            "errors": tally.errors,
            "lost": len(tally.open),
            "seconds": round(sending, 3),
            "rate": round(tally.sent / sending, 1) if sending else None,
            "latency_seconds": summarise(tally.latencies),
        }

    async def _send(self, lane: int, started: float, end: float) -> None:
        options, tally = self._options, self.tally
        while tally.sent < options.count and time.monotonic() < end:
            number = tally.sent
            tally.sent += 1
            if options.rate:
                await asyncio.sleep(max(0.0, started + number / options.rate - time.monotonic()))
            identifier, begin = f"load-{new_identifier()}", time.monotonic()
            try:
                outcome = await self._client.request(
                    options.agent, self._payload, timeout=options.timeout, identifier=identifier
                )
            except ReplyTimeoutError:
                self._acknowledged += 1
                tally.open[identifier] = begin
            except RequestError:
                tally.refused += 1
            except (StoreError, OSError):
                # Perhaps stored, perhaps not: never acknowledged, so it cannot be lost.
                tally.errors += 1
                await asyncio.sleep(0.1)
            else:
                self._acknowledged += 1
                tally.latencies.append(time.monotonic() - begin)
                tally.failed += not outcome.done

    async def _settle(self) -> None:
        deadline = time.monotonic() + self._options.settle
        while self.tally.open and time.monotonic() < deadline:
            for identifier, begin in list(self.tally.open.items()):
                try:
                    outcome = await self._client.find_outcome(self._options.agent, identifier)
                except StoreError:
                    break
                if outcome is not None:
                    del self.tally.open[identifier]
                    self.tally.latencies.append(time.monotonic() - begin)
                    self.tally.failed += not outcome.done
            await asyncio.sleep(SETTLE_PAUSE_SECONDS)


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line; every bound has a default, so that no run is endless."""
    parser = argparse.ArgumentParser(prog="python -m agent_runtime.load", description=__doc__)
    parser.add_argument(
        "--target", choices=("agent", "ymera"), default="agent", help="requests to one agent, or messages"
    )
    parser.add_argument("--agent", help="the agent that gets the requests")
    parser.add_argument("--bytes", type=_bounded(int, 0, 1_000_000), default=200, help="size of a message's text")
    parser.add_argument("--instance", type=Path, help="instance file (default: GROUNDWORK_INSTANCE_FILE)")
    parser.add_argument("--credentials-directory", help="folder of the credentials (default: CREDENTIALS_DIRECTORY)")
    parser.add_argument("--count", type=_bounded(int, 1, 10_000_000), default=1000, help="requests at most")
    parser.add_argument("--seconds", type=_bounded(float, 0.1, 86400), default=60.0, help="time at most")
    parser.add_argument("--concurrency", type=_bounded(int, 1, 1000), default=10, help="requests at once")
    parser.add_argument("--rate", type=_bounded(float, 0.01, 100_000), help="requests per second (default: no limit)")
    parser.add_argument("--timeout", type=_bounded(float, 0.1, 3600), default=10.0, help="seconds for one reply")
    parser.add_argument("--settle", type=_bounded(float, 0, 3600), default=30.0, help="seconds for late results")
    parser.add_argument("--payload", default='{"kind":"echo"}', help="the request, a JSON object")
    options = parser.parse_args(arguments)
    if options.target == "agent" and not options.agent:
        parser.error("--agent is needed")
    try:
        if not isinstance(json.loads(options.payload), dict):
            parser.error("--payload must be a JSON object")
    except ValueError:
        parser.error("--payload must be JSON")
    return options


def _bounded(kind: type[int] | type[float], lowest: float, highest: float) -> Any:
    def parse(text: str) -> float:
        number = kind(text)
        if not lowest <= number <= highest:
            raise argparse.ArgumentTypeError(f"must be from {lowest:g} to {highest:g}")
        return number

    parse.__name__ = kind.__name__
    return parse


async def _measure(options: argparse.Namespace) -> dict[str, Any]:
    environ = dict(os.environ)
    if options.credentials_directory:
        environ["CREDENTIALS_DIRECTORY"] = options.credentials_directory
    path = options.instance or environ.get("GROUNDWORK_INSTANCE_FILE")
    if not path:
        raise InstanceError(["--instance or GROUNDWORK_INSTANCE_FILE is needed"])
    settings = read_settings(RuntimeSettings, environ)
    services = Services(read_instance(Path(path)), settings, environ)
    services.start()
    try:
        if options.target == "ymera":
            return await _measure_messages(services, settings, options)
        if services.requests is None:
            raise InstanceError(["the instance has neither NATS nor Redis"])
        if services.bus is not None:
            await _wait_for_bus(services.bus, settings.nats_timeout)
        elif services.store is not None:
            await services.store.check()
        return await Load(services.requests, options).run()
    finally:
        await services.close()


async def _measure_messages(
    services: Services, settings: RuntimeSettings, options: argparse.Namespace
) -> dict[str, Any]:
    from agent_runtime.ymera.load import MessageLoad

    if services.bus is None or services.database is None:
        raise InstanceError(["--target ymera needs an instance with NATS and PostgreSQL"])
    await _wait_for_bus(services.bus, settings.nats_timeout)
    await services.database.check()
    load = MessageLoad(services.bus, services.database, options)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, load.stop)
    return await load.run()


async def _wait_for_bus(bus: Bus, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            await bus.check()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
        await asyncio.sleep(0.05)


def main(arguments: list[str] | None = None) -> int:
    """Run the load, print the figures as JSON; return 0, 2 if requests were lost, 1 if it could not run."""
    options = parse_arguments(arguments)
    try:
        result = asyncio.run(_measure(options))
    except (InstanceError, ConfigurationError, CertificateError, StoreError, OSError) as error:
        print(f"load: {error}", file=sys.stderr)
        return 1
    print(json.dumps(result, indent=2))
    return 2 if result["lost"] else 0


if __name__ == "__main__":
    sys.exit(main())
