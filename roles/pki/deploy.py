"""Certificates: what each host trusts, and a key and certificate for every unit on it."""

from __future__ import annotations

from pyinfra import host
from pyinfra.api import deploy

from groundwork.operations import apt, ledger
from groundwork.operations.refusals import refusing
from groundwork.site import Site
from roles.pki import operations, plan


@deploy("Certificates")
def pki(site: Site) -> None:
    """Place trust, and issue what is missing or due; identities that are declared no more are removed."""
    platform = site.platform.platform
    with refusing():
        site.authority.check()
        identities = plan.list_identities(site.topology, host.name)
    role = f"pki-{platform}"
    items = plan.list_items(platform, identities)
    ledger.begin(name="Note what pki lays down", role=role, items=items)
    apt.packages(name="Install OpenSSL", packages=["openssl"])
    operations.users(name="Create the users that own keys", users=plan.list_owners(identities))
    operations.trust(name="Place the trusted roots", authority=site.authority, platform=platform)
    operations.certificates(
        name="Issue certificates", authority=site.authority, platform=platform, identities=identities
    )
    ledger.finish(name="Remove what pki no longer declares", role=role, items=items)
