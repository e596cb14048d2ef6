"""``groundwork validate ENV``: is what the user wrote usable?"""

from __future__ import annotations

from groundwork.cli import options
from groundwork.cli.output import choose_lab, print_json, report_errors


def validate(
    environment: options.Environment,
    as_json: options.Json = False,
    lab: options.Lab = None,
    debug: options.Debug = False,
) -> None:
    """Check inventory, manifest and how they fit together. Contacts no host.

    Exit code: 0 usable, 1 not; every mistake is listed, one line each.
    """
    with report_errors(as_json=as_json, debug=debug):
        choose_lab(lab)
        from groundwork.engine.api import name_environment
        from groundwork.site import load_site

        site = load_site(name_environment(environment))
        topology = site.topology
        figures = {
            "hosts": len(site.inventory.hosts),
            "agent processes": len(topology.processes),
            "agents": sum(len(process.agents) for process in topology.processes),
            "services": len({node.service for node in topology.nodes}),
            "sites": len(topology.sites),
            "flows": len(topology.flows),
            "secrets": len(topology.secret_declarations),
        }
        if as_json:
            print_json(
                {
                    "environment": site.environment,
                    "platform": topology.platform,
                    "problems": [],
                    **{name.replace(" ", "_"): figure for name, figure in figures.items()},
                }
            )
        else:
            listed = ", ".join(f"{figure} {name}" for name, figure in figures.items())
            print(f"{site.environment}: platform {topology.platform} is valid: {listed}")
