"""nginx on every host that the topology places an exposure on, and none of it where it does not."""

from __future__ import annotations

from pyinfra import host
from pyinfra.api import deploy
from pyinfra.api.operation import OperationMeta
from pyinfra.facts.server import LinuxDistribution

from groundwork.addresses import is_address
from groundwork.authority import paths
from groundwork.facts.ledger import Ledger
from groundwork.operations import apt, ledger, secret_files, systemd_units, validated_files
from groundwork.operations.ledger_items import PREFIXES, Item
from groundwork.operations.refusals import refusing
from groundwork.operations.rendering import render_template
from groundwork.secrets.value import SecretValue
from groundwork.site import Site
from groundwork.topology.identities import PROXY
from groundwork.topology.scraping import NGINX_STATUS_PORT
from roles.reverse_proxy.certificates import key_fits
from roles.reverse_proxy.model import PlannedSite, ProxyPlan
from roles.reverse_proxy.operations import self_signed_certificate, static_folder
from roles.reverse_proxy.plan import WWW, folders, plan_proxy
from roles.reverse_proxy.statics import StaticSite, read_static_site

UNIT = "nginx.service"
DROPIN = "50-groundwork.conf"
HIDDEN_HEADERS = (
    "Access-Control-Allow-Credentials", "Access-Control-Allow-Headers", "Access-Control-Allow-Methods",
    "Access-Control-Allow-Origin", "Access-Control-Expose-Headers", "Access-Control-Max-Age",
    "Content-Security-Policy", "Cross-Origin-Opener-Policy", "Cross-Origin-Resource-Policy", "Permissions-Policy",
    "Referrer-Policy", "Strict-Transport-Security", "X-Content-Type-Options", "X-Frame-Options", "X-Powered-By",
    "X-Request-ID",
)  # fmt: skip
"""What the proxy says itself; an agent's own version beside it would contradict it."""


@deploy("Reverse proxy")
def reverse_proxy(site: Site) -> None:
    """Bring nginx on this host to what the manifest's ``exposure`` declares; remove it where nothing is."""
    platform = site.platform.platform
    role = f"reverse_proxy-{platform}"
    with refusing():
        statics = read_statics(site)
        roots = {route: f"{WWW}/{platform}/{route[0]}/{static.digest[:16]}" for route, static in statics.items()}
        plan = plan_proxy(site.platform, site.topology, host.name, roots)
    if plan is None:
        _remove(role)
        return
    served = {route.root for planned in plan.sites for route in planned.routes}
    items = list_items(platform, plan)
    configuration = f"{folders(platform)[0]}/nginx.conf"
    dropin = f"{systemd_units.FOLDER}/{UNIT}.d/{DROPIN}"

    ledger.begin(name="Note what the reverse proxy lays down", role=role, items=items)
    apt.packages(name="Install nginx", packages=["nginx", "openssl"], hold_services=[UNIT])
    inputs: list[OperationMeta] = [_place_certificate(site, planned) for planned in plan.sites if planned.is_laid_down]
    for (exposure, path), static in statics.items():
        if roots[exposure, path] in served:
            static_folder(name=f"Files of {exposure} at {path}", dest=roots[exposure, path], site=static)
    inputs.append(
        validated_files.validated_file(
            name="Configure nginx",
            dest=configuration,
            content=render_configuration(
                platform,
                plan,
                http2_directive=_knows_http2_directive(),
                watched=site.platform.observability.prometheus is not None,
            ),
            check=["nginx", "-t", "-q", "-c", "{candidate}"],
        )
    )
    trust = paths.reload_inputs(platform, PROXY)
    sandbox = systemd_units.dropin(
        name="Confine nginx",
        unit=UNIT,
        dropin=DROPIN,
        content=render_template("reverse_proxy/service.conf.j2", configuration=configuration),
    )
    systemd_units.service(
        name="Run nginx",
        units=UNIT,
        restart_inputs=[dropin],
        reload_inputs=[configuration, *(planned.certificate_input for planned in plan.sites), *trust],
        after=[sandbox] if sandbox._maybe_is_change else inputs,
    )
    prefixes = (*PREFIXES, f"{WWW}/")
    ledger.finish(name="Remove what the reverse proxy no longer serves", role=role, items=items, prefixes=prefixes)


def render_configuration(platform: str, plan: ProxyPlan, *, http2_directive: bool, watched: bool = False) -> str:
    """Return nginx's whole configuration; ``http2_directive`` for nginx 1.25.1 and later.

    Where it is ``watched``, it shows its figures to its own host.
    """
    return render_template(
        "reverse_proxy/nginx.conf.j2",
        platform=platform,
        plan=plan,
        identity={
            "certificate": paths.certificate(platform, PROXY),
            "key": paths.key(platform, PROXY),
            "authority": paths.bundle(platform),
        },
        http2_directive=http2_directive,
        tls_listen=" ssl" if http2_directive else " ssl http2",
        status_port=NGINX_STATUS_PORT if watched else 0,
        hidden_headers=HIDDEN_HEADERS,
        needs_dollar=any("$" in site.content_security_policy for site in plan.sites),
    )


def list_items(platform: str, plan: ProxyPlan) -> list[Item]:
    """Return everything the role lays down on a host, so that the ledger can take it away again."""
    base, certificates = folders(platform)
    items = [Item("directory", base), Item("directory", certificates), Item("file", f"{base}/nginx.conf")]
    items += [Item("file", planned.certificate) for planned in plan.sites if planned.is_laid_down]
    for planned in plan.sites:
        for route in planned.routes:
            if route.root:
                items += [Item("directory", f"{WWW}/{platform}"), Item("directory", f"{WWW}/{platform}/{planned.name}")]
                items.append(Item("directory", route.root))
    items.append(Item("file", f"{systemd_units.FOLDER}/{UNIT}.d/{DROPIN}"))
    return list(dict.fromkeys(items))


def _remove(role: str) -> None:
    """Take away what the role had put on a host that it left; an nginx of somebody else's stays as it is."""
    recorded = host.get_fact(Ledger, role=role)
    if recorded:
        systemd_units.service(name="Stop nginx", units=UNIT, running=False, enabled=False)
    prefixes = (*PREFIXES, f"{WWW}/")
    ledger.finish(name="Remove the reverse proxy", role=role, items=[], prefixes=prefixes)
    if recorded:
        systemd_units.daemon_reload(name="Forget the reverse proxy's unit", units=[UNIT])


def _place_certificate(site: Site, planned: PlannedSite) -> OperationMeta:
    if planned.certificate_names:
        return self_signed_certificate(
            name=f"Certificate of {planned.name}",
            dest=planned.certificate,
            names=planned.certificate_names,
            common_name=f"{planned.name} on {host.name}",
        )
    tls = site.platform.exposure[planned.name].tls
    chain = site.path(str(tls.certificate)).read_text()
    # One file for both: a key and a certificate that do not belong together can never be served.
    content = SecretValue(f"{chain.rstrip()}\n{site.secret(str(tls.key_secret)).reveal().strip()}\n")
    checks = [key_fits("{candidate}"), "openssl x509 -in {candidate} -noout -checkend 0"]
    for name in planned.server_names:
        probe = f"-checkip {name}" if is_address(name) else f"-checkhost {name.replace('*', 'any')}"
        checks.append(f"openssl x509 -in {{candidate}} -noout {probe} | grep -q 'does match'")
    return secret_files.secret_file(
        name=f"Certificate of {planned.name}", dest=planned.certificate, content=content, check=" && ".join(checks)
    )


def read_statics(site: Site) -> dict[tuple[str, str], StaticSite]:
    """Return the files of every static route, by exposure and path. Raises ProblemError."""
    return {
        (name, path): read_static_site(site.path(route.static), path, f"exposure.{name}.routes.{path}.static")
        for name, exposure in site.platform.exposure.items()
        for path, route in exposure.routes.items()
        if route.static is not None
    }


def _knows_http2_directive() -> bool:
    """Debian 12 has nginx 1.22, which takes HTTP/2 as a word of ``listen``; a later one warns about that."""
    return host.get_fact(LinuxDistribution)["major"] != 12
