"""The packet filter of every host: what the topology's flows need, SSH of the controllers, and nothing else.

Two steps, since both ends of a change must be able to talk while it is made: ``open_firewall`` adds what is
missing before any service is touched, ``firewall`` comes last and closes what is no longer declared.
"""

from __future__ import annotations

from pyinfra import host, logger
from pyinfra.api import deploy

from groundwork.facts.ledger import Ledger
from groundwork.operations import apt, ledger, systemd_units, validated_files
from groundwork.operations.refusals import refusing
from groundwork.operations.rendering import render_template
from groundwork.site import Site
from roles.firewall import plan
from roles.firewall.facts import DhcpFamilies, FirewallOwners, Resolvers, SshSession
from roles.firewall.operations import no_table, openings, table
from roles.firewall.settings import read_settings


@deploy("Open the firewall for what is to come")
def open_firewall(site: Site) -> None:
    """Open what new flows need, before the services that use them are changed. Closes nothing."""
    with refusing():
        rules = _plan(site)
    if rules is None:
        return
    if rules.warning:
        host.log(rules.warning, logger.warning)
    apt.packages(name="Install nftables", packages=["nftables"])
    openings(name="Open what the flows need", elements=rules.elements)


@deploy("Set up the firewall")
def firewall(site: Site) -> None:
    """Let through what is declared and refuse the rest; where the firewall is not managed, remove ours."""
    with refusing():
        rules = _plan(site)
    platform = site.platform.platform
    role = f"firewall-{platform}"
    if rules is None:
        if host.get_fact(Ledger, role=role):
            no_table(name="Take our table away")
        ledger.finish(name="Remove what the firewall laid down", role=role, items=[])
        return
    items = plan.list_items(platform)
    ledger.begin(name="Note what the firewall lays down", role=role, items=items)
    apt.packages(name="Install nftables", packages=["nftables"])
    switch = plan.switch_path(platform)
    validated_files.validated_template(
        name="Install firewall-switch",
        src="firewall/firewall-switch.j2",
        dest=switch,
        data={},
        mode="0755",
        check=["sh", "-n", "{candidate}"],
    )
    table(name="Put the rules into effect", content=rules.text, switch=switch)
    ruleset = plan.ruleset_path(platform)
    check = ["/usr/sbin/nft", "-c", "-f", "{candidate}"]
    validated_files.validated_file(
        name="Keep the rules for the next boot", dest=ruleset, content=rules.text, mode="0600", check=check
    )
    content = render_template("firewall/unit.service.j2", platform=platform, ruleset=ruleset)
    systemd_units.unit(name="Install the unit that loads the rules", unit=plan.UNIT, content=content)
    systemd_units.service(name="Load the rules at boot", units=plan.UNIT)
    ledger.finish(name="Remove what the firewall no longer declares", role=role, items=items)


def _plan(site: Site) -> plan.Rules | None:
    """The host's rules; None where its firewall is not ours. Raises ProblemError."""
    settings = read_settings(host.data.dict(), host.name)
    if not settings.firewall_managed:
        return None
    plan.check_topology(site.topology)
    plan.check_owners(site.platform.platform, host.get_fact(FirewallOwners), host.name)
    session = host.get_fact(SshSession, _sudo=False)
    controllers, warning = plan.choose_controllers(settings, session, host.name)
    denied = site.platform.firewall.outbound == "deny"
    rules = plan.plan_rules(
        site.platform,
        site.topology,
        host.name,
        controllers,
        ssh_port=session.port or settings.ssh_port,
        dhcp=host.get_fact(DhcpFamilies),
        resolvers=host.get_fact(Resolvers) if denied else (),
    )
    return plan.Rules(rules.text, rules.elements, warning)
