"""Checks of what lies on the controller; no host is contacted."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509

from groundwork.authority import records
from groundwork.authority.installed import RENEW_AFTER, share_of_life
from groundwork.authority.rotation import read_rotation
from groundwork.coverage import check_coverage
from groundwork.preflight.findings import SITE, Finding, Severity, judge, judge_problems, skip
from groundwork.preflight.locks import check_locks
from groundwork.preflight.waivers import check_waivers
from groundwork.problems import ProblemError
from groundwork.secrets.strength import check_strength
from groundwork.site import Site

OVERDUE = timedelta(days=7)
"""A certificate that has less than this left was not renewed in the last third of its life."""


def check_site(site: Site) -> Iterator[Finding]:
    """Every check that needs no host. Raises nothing: what cannot be read is a finding."""
    topology = site.topology
    figures = f"platform {topology.platform}, {len(topology.hosts)} hosts, {len(topology.flows)} flows"
    yield judge("manifest.valid", SITE, True, figures, "")
    yield from _check_coverage(site)
    yield from _check_inventory(site)
    yield from _check_secrets(site)
    yield from _check_authority(site)
    yield from check_waivers(site)
    yield from check_locks(site)


def _check_coverage(site: Site) -> list[Finding]:
    try:
        check_coverage(site.platform)
    except ProblemError as error:
        return judge_problems("manifest.covered", error.problems, "", "leave it out, or use a version that has it")
    return judge_problems("manifest.covered", (), "every declared service has a role", "")


def _check_inventory(site: Site) -> Iterator[Finding]:
    for host in site.inventory.hosts:
        if host.name == "@local":
            continue
        key = host.data.get("ssh_key")
        if key:
            yield _check_key(host.name, Path(str(key)).expanduser())
        strict = str(host.data.get("ssh_strict_host_key_checking", "yes"))
        yield judge(
            "inventory.host_keys",
            host.name,
            strict == "yes",
            f"ssh_strict_host_key_checking is {strict}",
            "set it to yes, and fill the known hosts file with ssh-keyscan: otherwise anybody can pose as the host",
            Severity.WARNING,
        )


def _check_key(host: str, path: Path) -> Finding:
    remedy = f"put the private key there with mode 0600 (chmod 0600 {path}), or correct ssh_key"
    try:
        mode = path.stat().st_mode & 0o777
    except OSError as error:
        return judge("inventory.ssh_key", host, False, f"{path}: {error.strerror}", remedy)
    return judge("inventory.ssh_key", host, not mode & 0o077, f"{path} has mode {mode:04o}", remedy)


def _check_secrets(site: Site) -> Iterator[Finding]:
    environment, store = site.environment, site.secrets
    declared = site.topology.secret_declarations
    remedy = f"groundwork secrets init {environment}"
    present = set(store.names())
    missing = [name for name in declared if name not in present]
    for name in missing:
        told = remedy if declared[name].kind != "provided" else f"groundwork secrets set {environment} {name}"
        yield judge("secrets.set", SITE, False, f"{name} ({declared[name].kind}) has no value", told)
    if not missing:
        yield judge("secrets.set", SITE, True, f"all {len(declared)} secrets have a value", "")
    readable = [name for name in declared if name in present]
    try:
        opened = store.read_all(readable)
    except ProblemError as error:
        yield from judge_problems("secrets.readable", error.problems, "", "put the environment's age key in its place")
        return
    yield judge("secrets.readable", SITE, True, f"{len(opened)} secrets opened with {store.key_file}", "")
    from groundwork.secrets.declaration import name_declarations

    named = {one.name: one for one in name_declarations(declared)}
    weak = [p for name, secret in opened.items() for p in check_strength(named[name], secret.value)]
    yield from judge_problems(
        "secrets.strength", weak, "no value is short, repeated or well known", "groundwork secrets rotate or set"
    )


def _check_authority(site: Site) -> Iterator[Finding]:
    store, now = site.authority, datetime.now(UTC)
    environment = site.environment
    try:
        store.check()
        certificates = {"intermediate": store.issuer().certificate, "root": store.generation(store.state.issuer).root}
        issued = records.read_issued(store.folder)
        rotation = read_rotation(store.folder)
    except ProblemError as error:
        yield from judge_problems(
            "certificates.authority", error.problems, "", f"groundwork secrets init {environment}"
        )
        return
    yield judge("certificates.authority", SITE, True, f"generation {store.state.issuer} issues", "")
    for name, certificate in certificates.items():
        yield _check_age(name, certificate, now, environment)
    yield judge(
        "certificates.rotation",
        SITE,
        rotation is None,
        "no rotation is under way" if rotation is None else f"stopped before {rotation.stage}",
        f"go on with: groundwork certs rotate {environment} --authority",
        Severity.WARNING,
    )
    yield from _check_leaves(site, issued, now)


def _check_age(name: str, certificate: x509.Certificate, now: datetime, environment: str) -> Finding:
    share, end = share_of_life(certificate, now), certificate.not_valid_after_utc
    return judge(
        f"certificates.{name}",
        SITE,
        share < RENEW_AFTER,
        f"ends on {end:%Y-%m-%d}, {share:.0%} of its life is over",
        f"groundwork certs rotate {environment} --authority",
        Severity.WARNING if share < 1 else Severity.ERROR,
    )


def _check_leaves(site: Site, issued: list[records.Issued], now: datetime) -> Iterator[Finding]:
    """By the record of what was issued; what hosts really have is a check of the hosts."""
    latest = {(one.host, one.unit): one for one in issued}
    wanted = {(identity.host, identity.unit) for identity in site.topology.identities}
    late = [
        one for place, one in latest.items() if place in wanted and datetime.fromisoformat(one.expires) - now < OVERDUE
    ]
    if not wanted & set(latest):
        yield skip("certificates.leaves", SITE, "none was issued yet; the first apply does it")
        return
    for one in late:
        yield judge(
            "certificates.leaves",
            one.host,
            False,
            f"{one.unit}: expires at {one.expires}",
            f"groundwork certs rotate {site.environment}",
            Severity.WARNING if datetime.fromisoformat(one.expires) > now else Severity.ERROR,
        )
    if not late:
        yield judge("certificates.leaves", SITE, True, f"{len(wanted & set(latest))} certificates are in time", "")
