"""What is checked of a host before PostgreSQL is set up there."""

from __future__ import annotations

import re
from collections.abc import Iterator

from groundwork.manifest.services import PostgresqlService
from groundwork.preflight.findings import Finding, judge
from groundwork.preflight.network import PortUse
from groundwork.preflight.questions import Answers
from groundwork.problems import ProblemError
from groundwork.site import Site
from roles.postgresql.versions import choose_version

QUESTIONS = {
    "postgresql_offered": "apt-cache --names-only search '^postgresql-[0-9]+$' | cut -d' ' -f1",
    "postgresql_existing": "for f in /var/lib/postgresql/*/main/PG_VERSION; do test ! -e $f || cat $f; done",
    "postgresql_debian": '. /etc/os-release; echo "$VERSION_ID"',
}


def ask(_site: Site, _host: str) -> dict[str, str]:
    """Major versions that apt offers and that have data on the host."""
    return QUESTIONS


def check_host(site: Site, host: str, answers: Answers) -> Iterator[Finding]:
    """That the major version can be had, serves the platform, and is that of the data."""
    lines = answers.lines("postgresql_offered")
    offered = {int(match[1]) for line in lines if (match := re.fullmatch(r"postgresql-([0-9]+)", line.strip()))}
    existing = {int(line) for line in answers.lines("postgresql_existing") if line.strip().isdigit()}
    release = answers.text("postgresql_debian").partition(".")[0]
    for name in dict.fromkeys(node.service for node in site.topology.nodes_on(host, "postgresql")):
        service = site.platform.services[name]
        assert isinstance(service, PostgresqlService)
        try:
            version = choose_version(name, service, release, offered, existing)
        except ProblemError as error:
            for problem in error.problems:
                remedy = "declare a version that the host has, or bring its data to the declared one"
                yield judge("postgresql.version", host, False, str(problem), remedy)
            continue
        held = f", data of {', '.join(map(str, sorted(existing)))}" if existing else ", no data yet"
        yield judge("postgresql.version", host, True, f"PostgreSQL {version}{held}", "")


def list_ports(site: Site, host: str) -> Iterator[PortUse]:
    """The server's port and its pool's."""
    for node in site.topology.nodes_on(host, "postgresql"):
        service = site.platform.services[node.service]
        assert isinstance(service, PostgresqlService)
        yield PortUse(node.port, ("postgresql@*-main.service",), node.service, node.address)
        if service.pgbouncer and node.role == "primary":
            yield PortUse(service.pgbouncer.port, ("pgbouncer.service",), f"{node.service}'s pool", node.address)
