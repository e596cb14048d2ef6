"""From a platform and an inventory to the topology, or every reason why they do not fit."""

from __future__ import annotations

from groundwork.inventory import Inventory
from groundwork.manifest.platform import Platform
from groundwork.problems import Problem, ProblemError
from groundwork.topology.backups import check_policy
from groundwork.topology.checks import check_flow_count, check_groups, check_ports, check_servers
from groundwork.topology.endpoints import list_endpoints
from groundwork.topology.flows import list_flows
from groundwork.topology.identities import list_identities
from groundwork.topology.model import Topology
from groundwork.topology.order import process_dependencies, start_layers
from groundwork.topology.placement import place_nodes, place_processes, place_sites
from groundwork.topology.scraping import list_scrape_targets
from groundwork.topology.secrets import declare_secrets, list_secret_needs


def derive(platform: Platform, inventory: Inventory, environment: str) -> Topology:
    """Derive everything that follows from ``platform`` on ``inventory``. Contacts nothing.

    Raises ProblemError with every reason why the two do not fit: groups without hosts, too few servers for
    a mode, ports or server names declared twice on one host, cycles in the start order, too many flows.
    """
    problems: list[Problem] = [*check_groups(platform, inventory), *check_servers(platform, inventory)]
    processes = tuple(place_processes(platform, inventory))
    nodes = tuple(place_nodes(platform, inventory))
    sites = tuple(place_sites(platform, inventory))
    problems += check_ports(platform, inventory, processes, nodes, sites)
    problems += check_flow_count(platform, processes, nodes)
    problems += check_policy(platform, inventory, nodes)
    layers: tuple[tuple[str, ...], ...] = ()
    try:
        layers = start_layers(platform)
        process_dependencies(platform, processes)
    except ProblemError as error:
        problems += error.problems
    if problems:
        raise ProblemError(problems)
    endpoints = tuple(list_endpoints(platform, processes, nodes, sites))
    targets = tuple(list_scrape_targets(platform, inventory, processes, nodes, sites))
    flows = list_flows(platform, inventory, processes, nodes, sites, endpoints, targets)
    return Topology(
        environment=environment,
        platform=platform.platform,
        inventory=inventory,
        processes=processes,
        nodes=nodes,
        sites=sites,
        endpoints=endpoints,
        flows=tuple(flows),
        identities=tuple(list_identities(platform, environment, inventory, processes, nodes, sites)),
        scrape_targets=targets,
        secret_needs=tuple(list_secret_needs(platform, inventory, processes, nodes, sites)),
        secret_declarations=declare_secrets(platform),
        start_order=layers,
    )
