"""The order in which services, groups and agents start, and cycles in it by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter

from groundwork.manifest.agents import Agent
from groundwork.manifest.platform import Platform
from groundwork.problems import Problem, ProblemError
from groundwork.topology.model import Process

Graph = dict[str, set[str]]


def start_layers(platform: Platform) -> tuple[tuple[str, ...], ...]:
    """Return layers of ``service:``, ``group:`` and ``agent:`` names; each starts after those before it.

    ``group:NAME`` stands for the whole group being ready. Raises ProblemError naming the members of a cycle.
    """
    graph = _dependencies(platform)
    sorter = TopologicalSorter(graph)
    try:
        sorter.prepare()
    except CycleError as error:
        raise ProblemError([_cycle_problem(error.args[1])]) from None
    layers: list[tuple[str, ...]] = []
    while sorter.is_active():
        ready = sorted(sorter.get_ready())
        sorter.done(*ready)
        shown = tuple(name for name in ready if not name.startswith("begin:"))
        if shown:
            layers.append(shown)
    return tuple(layers)


def _dependencies(platform: Platform) -> Graph:
    """Build the graph: ``begin:GROUP`` comes before the group's agents, ``group:GROUP`` after them.

    That keeps the graph as large as the manifest, where agent-to-agent edges would be its square.
    """
    agents = platform.agents()
    graph: Graph = {f"service:{name}": set() for name in platform.services}

    def node(name: str) -> str:
        if name in platform.services:
            return f"service:{name}"
        return f"agent:{name}" if name in agents else f"group:{name}"

    for name, group in platform.groups.items():
        begin = graph.setdefault(f"begin:{name}", set())
        begin.update(f"group:{other}" for other in group.after)
        # A need of the group's own agent or name is about reach, not about order.
        begin.update(node(n.name) for n in group.needs if n.required and not _is_own(n.name, name, agents))
        whole = graph.setdefault(f"group:{name}", set())
        for agent_name, agent in group.agents.items():
            whole.add(f"agent:{agent_name}")
            before = graph.setdefault(f"agent:{agent_name}", set())
            before.add(f"begin:{name}")
            before.update(f"agent:{other}" for other in agent.after)
            before.update(node(n.name) for n in agent.needs if n.required and n.name not in (agent_name, name))
    return graph


def _is_own(needed: str, group: str, agents: Mapping[str, tuple[str, Agent]]) -> bool:
    return needed == group or (needed in agents and agents[needed][0] == group)


def _cycle_problem(cycle: list[str]) -> Problem:
    names: list[str] = []
    for item in reversed(cycle):
        kind, name = item.split(":", 1)
        shown = f"group {name}" if kind in ("begin", "group") else f"{kind} {name}"
        if not names or names[-1] != shown:
            names.append(shown)
    return Problem(f"the start order has a cycle: {' -> '.join(names)}", key="groups")


def process_dependencies(platform: Platform, processes: Iterable[Process]) -> dict[Process, tuple[str, ...]]:
    """Return, for each process, the units of its own host that must be ready before it starts.

    Units are other processes' (``chorus-planner@1.service``) and groups' targets (``chorus-memory.target``).
    What runs on other hosts is waited for by the process itself, until it is ready. Raises ProblemError when
    packing agents into processes turns an order without a cycle into one.
    """
    processes = tuple(processes)
    agents = platform.agents()
    here: dict[tuple[str, str], set[Process]] = {}
    groups_here: set[tuple[str, str]] = set()
    for process in processes:
        groups_here.add((process.host, process.group))
        for instance in process.agents:
            here.setdefault((process.host, instance.agent), set()).add(process)
    result: dict[Process, tuple[str, ...]] = {}
    graph: Graph = {}
    for process in processes:
        group = platform.groups[process.group]
        wanted_agents = {a for i in process.agents for a in group.agents[i.agent].after}
        wanted_groups = set(group.after)
        required = [n.name for n in group.needs if n.required and not _is_own(n.name, process.group, agents)]
        required += [n.name for i in process.agents for n in group.agents[i.agent].needs if n.required]
        wanted_agents.update(name for name in required if name in agents)
        wanted_groups.update(n for n in required if n not in agents and n in platform.groups and n != process.group)
        others = {o for a in wanted_agents for o in here.get((process.host, a), ()) if o != process}
        targets = {g for g in wanted_groups if (process.host, g) in groups_here}
        units = {other.unit_name for other in others}
        units |= {f"{platform.platform}-{target}.target" for target in targets}
        result[process] = tuple(sorted(units))
        me = f"{process.host}:{process.unit_name}"
        edges = graph.setdefault(me, set())
        edges.update(f"{process.host}:{other.unit_name}" for other in others)
        edges.update(f"{process.host}:{platform.platform}-{target}.target" for target in targets)
        graph.setdefault(f"{process.host}:{platform.platform}-{process.group}.target", set()).add(me)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        names = " -> ".join(item.split(":", 1)[1] for item in reversed(error.args[1]))
        raise ProblemError([Problem(f"packing agents into processes makes a cycle: {names}", key="groups")]) from None
    return result
