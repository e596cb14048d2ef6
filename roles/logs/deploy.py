"""Collects journals: each host sends its own over mutual TLS, the log host keeps them for as long as declared."""

from __future__ import annotations

from pathlib import Path

from pyinfra import host
from pyinfra.api import deploy
from pyinfra.operations import files

from groundwork.operations import apt, ledger, systemd_units, validated_files
from groundwork.operations.refusals import refusing
from groundwork.operations.rendering import render_template
from groundwork.site import Site
from roles.logs import plan

KEEPER = Path(__file__).parent / "onhost" / "keep_journals.py"
UNITS = "/etc/systemd/system"


@deploy("Collect journals")
def logs(site: Site) -> None:
    """Set up what sends and keeps journals, and take away what is no longer declared; what was collected stays."""
    with refusing():
        plan.check_platform(site.platform, site.topology)
        upload = plan.plan_upload(site.platform, site.topology)
        store = plan.plan_store(site.platform, site.topology, host.name)
    role = f"logs-{site.platform.platform}"
    items = plan.list_items(upload, store)
    ledger.begin(name="Note what logs lays down", role=role, items=items)
    if upload:
        _prepare_host(store is not None)
    # First what keeps them: it is there before its own host sends.
    if store:
        _keep(store)
    if upload:
        _send(upload)
    ledger.finish(name="Remove what logs no longer declares", role=role, items=items)


def _prepare_host(keeps: bool) -> None:
    packages = [plan.PACKAGE]
    own = list(plan.PACKAGE_UNITS)
    if keeps:
        # Where nginx is there already, its own server is somebody else's and goes on.
        packages_of_store = [plan.PROXY, "python3"]
        apt.packages(name="Install what keeps journals", packages=packages_of_store, hold_services=[plan.PROXY_UNIT])
    apt.packages(name="Install what sends journals", packages=packages, hold_services=own)
    systemd_units.service(name="Stop the package's own units", units=own, running=False, enabled=False)
    for unit in own:
        files.link(
            name=f"Keep {unit} from starting",
            path=f"{UNITS}/{unit}",
            target="/dev/null",
            force=True,
            force_backup=False,
        )


def _keep(store: plan.Store) -> None:
    limits = validated_files.validated_template(
        name="Limit what is written of journals", src="logs/journal-remote.conf.j2", dest=store.limits, data={}
    )
    writers = systemd_units.unit(
        name="Describe what writes journals to systemd",
        unit=store.writers,
        content=render_template("logs/writer.service.j2", store=store),
    )
    systemd_units.service(
        name="Write the journal of each host",
        units=[source.unit for source in store.sources],
        restart_inputs=[store.limits, f"{UNITS}/{store.writers}"],
        after=[limits, writers],
    )
    validated_files.validated_template(
        name="Say whose journals are taken",
        src="logs/nginx.conf.j2",
        dest=store.settings,
        data={"store": store},
        check=["nginx", "-t", "-q", "-g", "pid /dev/null;", "-c", "{candidate}"],
    )
    unit = systemd_units.unit(
        name="Describe what takes journals to systemd",
        unit=store.unit,
        content=render_template("logs/store.service.j2", store=store),
    )
    systemd_units.service(
        name="Take the journals of all hosts",
        units=store.unit,
        restart_inputs=[f"{UNITS}/{store.unit}"],
        reload_inputs=store.reload_inputs,
        after=[unit],
    )
    validated_files.validated_file(
        name="Install keep-journals",
        dest=store.helper,
        content=KEEPER.read_text(encoding="utf-8"),
        mode="0755",
        check=["python3", "-c", "import ast, sys; ast.parse(open(sys.argv[1]).read())", "{candidate}"],
    )
    files.directory(name="Make the folder of metrics in files", path=plan.METRICS, mode="0755")
    _run_timer(store.keeper, "keep", {"store": store})


def _send(upload: plan.Upload) -> None:
    unit = systemd_units.unit(
        name="Describe what sends the journal to systemd",
        unit=upload.unit,
        content=render_template("logs/upload.service.j2", upload=upload),
    )
    systemd_units.service(
        name="Send the journal",
        units=upload.unit,
        restart_inputs=[*upload.restart_inputs, f"{UNITS}/{upload.unit}"],
        after=[unit],
    )
    _run_timer(upload.mark, "mark", {"upload": upload})


def _run_timer(name: str, template: str, data: dict[str, object]) -> None:
    for kind in ("service", "timer"):
        content = render_template(f"logs/{template}.{kind}.j2", **data)
        systemd_units.unit(name=f"Describe {name}.{kind} to systemd", unit=f"{name}.{kind}", content=content)
    systemd_units.service(
        name=f"Run {name} by its timer", units=f"{name}.timer", restart_inputs=[f"{UNITS}/{name}.timer"]
    )
