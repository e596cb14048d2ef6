"""The life of one process: read what it hosts, start it, say when it is ready, and stop it in an orderly way."""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from agent_runtime.agent import Agent, AgentContext, set_current_agent
from agent_runtime.configuration import ConfigurationError, read_settings
from agent_runtime.hosting import HostedAgent, StartError, announce_agent, create_consumer
from agent_runtime.instance import AgentEntry, Instance, InstanceError, read_instance
from agent_runtime.logs import set_up_logging
from agent_runtime.metrics import AgentMetrics
from agent_runtime.notify import Notifier, feed_watchdog, read_watchdog_seconds
from agent_runtime.server import AgentServer, bind_socket
from agent_runtime.services import ServiceMonitor, Services
from agent_runtime.settings import RuntimeSettings
from agent_runtime.tls import CertificateError
from agent_runtime.tracing.spans import use
from agent_runtime.tracing.starting import start_traces
from agent_runtime.web import build_app

log = logging.getLogger(__name__)
WATCH_SECONDS = 2.0
# What the packed agents' own `stop` gets of the time to stop.
CLEANUP_SECONDS = 2.0
# What sending the last spans gets, after that.
TRACES_SECONDS = 2.0


class Process:
    """All agents of one process."""

    def __init__(self, instance: Instance, settings: RuntimeSettings, environ: Mapping[str, str]) -> None:
        self._instance, self._settings, self._environ = instance, settings, environ
        self._notifier = Notifier(environ.get("NOTIFY_SOCKET"))
        self._services = Services(instance, settings, environ)
        self._monitor = ServiceMonitor(instance, self._services, settings)
        self._state = "starting"
        self._hosted = [self._host(entry) for entry in instance.agents]

    def _host(self, entry: AgentEntry) -> HostedAgent:
        instance = self._instance
        metrics = AgentMetrics(entry.name, entry.replica, instance.group, instance.platform, instance.environment)
        services = self._services
        metrics.registry.register(services.breakers)
        context = AgentContext(
            entry=entry,
            instance=instance,
            settings=self._settings,
            environ=self._environ,
            metrics=metrics,
            store=services.store,
            requests=services.requests,
            tls=services.tls,
            bus=services.bus,
            database=services.database,
            consul=services.consul,
        )
        try:
            agent = importlib.import_module(entry.module).create_agent(context)
        except ConfigurationError:
            raise
        except Exception as error:
            raise StartError(f"agent {entry.name}: {entry.module}: {type(error).__name__}: {error}") from error
        if not isinstance(agent, Agent):
            raise StartError(f"agent {entry.name}: {entry.module}.create_agent returned no Agent")
        consumer = create_consumer(agent, services, self._settings) if agent.accepts_work else None
        listener = services.tls.listener if services.tls else None
        server = AgentServer(build_app(agent, self._check_services), self._settings.stop_timeout / 2, listener)
        return HostedAgent(agent, server, consumer)

    def _check_services(self) -> dict[str, str]:
        return {"process": "ok" if self._state == "ready" else self._state, **self._monitor.states}

    def _find_problems(self) -> list[str]:
        problems = [problem for hosted in self._hosted for problem in hosted.agent.find_problems()]
        for hosted in self._hosted:
            if hosted.serving is not None and hosted.serving.done() and self._state != "stopping":
                problems.append(f"{hosted.agent.context.name}: its HTTP server has ended")
        return problems

    async def run(self) -> int:
        """Serve until SIGTERM or SIGINT, and return 0, or 1 if requests had to be left unfinished."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        await self._serve()
        self._services.start()
        helpers = [asyncio.create_task(self._start_agents(), name="start")]
        if self._services.tls is not None:
            helpers.append(asyncio.create_task(self._services.tls.watch(), name="certificates"))
        seconds = read_watchdog_seconds(self._environ)
        if seconds:
            feeding = feed_watchdog(self._notifier, seconds, self._find_problems)
            helpers.append(asyncio.create_task(feeding, name="watchdog"))
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait([stopped, helpers[0]], return_when=asyncio.FIRST_COMPLETED)
        failure = helpers[0].exception() if helpers[0].done() else None
        if failure is None:
            await stopped
        else:
            log.error("start failed", exc_info=failure)
        unfinished = await self._stop()
        for task in (stopped, *helpers):
            task.cancel()
        await asyncio.gather(stopped, *helpers, return_exceptions=True)
        return 1 if unfinished or failure else 0

    async def _serve(self) -> None:
        for hosted in self._hosted:
            entry = hosted.agent.context.entry
            try:
                listener = bind_socket(entry.bind, entry.port)
            except OSError as error:
                raise StartError(f"agent {entry.name}: {entry.bind}:{entry.port}: {error.strerror}") from None
            hosted.serving = asyncio.create_task(hosted.server.serve(sockets=[listener]), name=f"http {entry.name}")
        log.info("%d agents listen, services are awaited", len(self._hosted))

    async def _start_agents(self) -> None:
        self._notifier.status("waiting for services")
        await self._monitor.wait_until_ready()
        for hosted in self._hosted:
            set_current_agent(hosted.agent.context.name)
            await hosted.agent.start()
            await announce_agent(hosted.agent, self._services, self._check_services)
            if hosted.consumer is not None:
                hosted.agent.context.spawn(hosted.consumer.fetch(), "work")
                hosted.agent.context.spawn(hosted.consumer.maintain(), "queue")
        set_current_agent("runtime")
        self._state = "ready"
        self._notifier.ready()
        log.info("ready")
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            good = await self._monitor.check_all()
            if self._state == "ready" and not self._find_problems():
                ill = [name for name, state in self._monitor.states.items() if state != "ok"]
                self._notifier.status("ready" if good else "waiting for " + ", ".join(ill))

    async def _stop(self) -> int:
        """Finish open HTTP requests first, then the work in flight: a request may wait for work done here."""
        deadline = time.monotonic() + self._settings.stop_timeout
        self._state = "stopping"
        self._notifier.stopping()
        log.info("stopping")
        serving = [hosted.serving for hosted in self._hosted if hosted.serving is not None]
        for hosted in self._hosted:
            hosted.server.stop()
        if serving:
            await asyncio.wait(serving, timeout=self._settings.stop_timeout / 2 + 1)
        left = max(0.0, deadline - time.monotonic() - CLEANUP_SECONDS)
        consumers = [hosted.consumer for hosted in self._hosted if hosted.consumer is not None]
        unfinished = sum(await asyncio.gather(*(consumer.stop(left) for consumer in consumers)))
        if unfinished:
            log.warning("%d requests stay pending and will be taken over", unfinished)
        try:
            async with asyncio.timeout(CLEANUP_SECONDS):
                await asyncio.gather(*(self._stop_agent(hosted) for hosted in self._hosted))
        except TimeoutError:
            log.warning("agents did not stop in time")
        await self._services.close()
        log.info("stopped")
        return unfinished

    async def _stop_agent(self, hosted: HostedAgent) -> None:
        set_current_agent(hosted.agent.context.name)
        try:
            await hosted.agent.stop()
        except Exception:  # one agent's failure must not keep the others from stopping
            log.exception("agent did not stop cleanly")
        await hosted.agent.context.cancel_tasks()


async def run_process(instance: Instance, settings: RuntimeSettings, environ: Mapping[str, str]) -> int:
    """Host the instance's agents until the process is told to stop; return the exit status."""
    traces = start_traces(instance, environ)
    try:
        return await Process(instance, settings, environ).run()
    finally:
        if traces is not None:
            use(None)
            traces.stop(TRACES_SECONDS)


def main() -> int:
    """Run the process that GROUNDWORK_INSTANCE_FILE describes; return its exit status."""
    try:
        settings = read_settings(RuntimeSettings, os.environ)
    except ConfigurationError as error:
        for problem in error.problems:
            print(problem.show("environment"), file=sys.stderr)
        return 1
    try:
        set_up_logging(settings.log_level, settings.log_json, Path(settings.log_file) if settings.log_file else None)
    except OSError as error:
        print(f"environment: LOG_FILE: {settings.log_file}: {error.strerror}", file=sys.stderr)
        return 1
    path = os.environ.get("GROUNDWORK_INSTANCE_FILE")
    if not path:
        log.error("GROUNDWORK_INSTANCE_FILE is not set")
        return 1
    try:
        return asyncio.run(run_process(read_instance(Path(path)), settings, os.environ))
    except InstanceError as error:
        for line in error.problems:
            log.error("%s", line)
    except ConfigurationError as error:
        for problem in error.problems:
            log.error("%s", problem.show("environment"))
    except (StartError, CertificateError) as error:
        log.error("%s", error)
    return 1
