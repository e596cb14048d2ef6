"""Phoenix takes the agents' spans: over TLS, from those who show a certificate of the environment's authority."""

from __future__ import annotations

from pathlib import Path

from pyinfra import host
from pyinfra.api import deploy

from groundwork.operations import apt, ledger, systemd_units, validated_files
from groundwork.operations.refusals import refusing
from groundwork.operations.rendering import render_template
from groundwork.site import Site
from roles.traces import operations, plan
from roles.traces.facts import PythonTarget
from roles.traces.release import Release, collect_release

ONHOST = Path(__file__).parent / "onhost"
_PARSES = ["python3", "-c", "import ast, sys; ast.parse(open(sys.argv[1]).read())", "{candidate}"]


@deploy("Collect traces")
def traces(site: Site) -> None:
    """Set up the host's Phoenix, and take it away where none is declared any more; its traces stay."""
    with refusing():
        plan.check_platform(site.platform, site.topology)
        one = plan.plan_collector(site.platform, site.topology, host.name)
        release = None
        if one is not None:
            target = host.get_fact(PythonTarget)
            release = collect_release(site.root, target["python"], target["machine"])
    role, items = f"traces-{site.platform.platform}", plan.list_items(one)
    ledger.begin(name="Note what traces lays down", role=role, items=items)
    if one is not None and release is not None:
        _run_phoenix(one, release)
    ledger.finish(name="Remove what traces no longer declares", role=role, items=items)


def _run_phoenix(one: plan.Collector, release: Release) -> None:
    apt.packages(name="Install Python", packages=["python3", "python3-venv"])
    operations.phoenix_release(name=f"Install Phoenix {release.name}", folder=one.folder, release=release)
    for source, dest in (("phoenix_serve", one.launcher), ("phoenix_ready", one.watcher)):
        validated_files.validated_file(
            name=f"Install {Path(dest).name}",
            dest=dest,
            content=(ONHOST / f"{source}.py").read_text("utf-8"),
            mode="0644",
            check=_PARSES,
        )
    unit = systemd_units.unit(
        name=f"Describe {one.name} to systemd",
        unit=one.unit,
        content=render_template("traces/unit.service.j2", one=one, python=f"{one.folder}/{release.name}/bin/python"),
    )
    systemd_units.service(name=f"Run {one.name}", units=one.unit, restart_inputs=one.inputs, after=[unit])
