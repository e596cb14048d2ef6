"""Who may connect to which database from where with which certificate, and what the manifest lets them do there."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from groundwork.manifest.platform import Platform
from groundwork.manifest.services import PostgresqlService
from groundwork.problems import Problem, ProblemError
from groundwork.topology.model import ServiceNode, Topology
from groundwork.topology.scraping import POOL_READER
from roles.postgresql.quoting import quote_field

Rights = Literal["read", "read_write", "owner"]
ORDER: tuple[Rights, ...] = ("read", "read_write", "owner")
REPLICATION = "_replication"
"""Role of the replicas; no client can have the name, since names of a manifest begin with a letter."""
METRICS = "prometheus"
"""Role of the exporter of metrics, as which the account of that name comes in by the socket."""
POOL = "pgbouncer"
"""Common name of PgBouncer's certificate, and the name of its own administration database."""
_RESERVED_ROLES = frozenset({"postgres", "public", "none", "operator", "proxy", POOL, METRICS, POOL_READER})
_RESERVED_DATABASES = frozenset({"postgres", "template0", "template1", POOL})


@dataclass(frozen=True)
class Login:
    """The role of one agent group: its rights in each database, and the addresses it comes from."""

    role: str
    rights: tuple[tuple[str, Rights], ...]
    addresses: tuple[str, ...]


def owner_of(declared: PostgresqlService, database: str) -> str:
    """The role that owns a database and everything in it; nobody can log in as it."""
    return declared.databases[database].owner or database


def list_logins(platform: Platform, topology: Topology, service: str) -> tuple[Login, ...]:
    """Return the roles of a service's clients.

    Raises ProblemError for a need that does not say which of several databases it means, and for names that
    PostgreSQL or this role keeps for itself.
    """
    declared = platform.services[service]
    assert isinstance(declared, PostgresqlService)
    problems = list(_check_databases(service, declared))
    owners = {owner_of(declared, name) for name in declared.databases}
    hosts = {host.name: host.address for host in topology.hosts}
    logins: list[Login] = []
    for name, group in platform.groups.items():
        places = [(f"groups.{name}.needs.{n}", need) for n, need in enumerate(group.needs)]
        for agent_name, agent in group.agents.items():
            places += [(f"groups.{name}.agents.{agent_name}.needs.{n}", need) for n, need in enumerate(agent.needs)]
        rights: dict[str, Rights] = {}
        for key, need in places:
            if need.name != service:
                continue
            database = need.database or (next(iter(declared.databases)) if len(declared.databases) == 1 else None)
            if database is None:
                problem = Problem("does not say which database", key=key, allowed=", ".join(declared.databases))
                problems.append(problem)
                continue
            rights[database] = max(rights.get(database, ORDER[0]), need.access, key=ORDER.index)
        if not rights:
            continue
        if name in _RESERVED_ROLES or name in owners or name == service or name.startswith("pg_"):
            problems.append(Problem("is the name of a role that is no agent group's", key=f"groups.{name}", given=name))
        running = sorted({hosts[process.host] for process in topology.processes if process.group == name})
        logins.append(Login(name, tuple(rights.items()), tuple(running)))
    if platform.observability.prometheus:
        logins.append(Login(METRICS, (), ()))
    if problems:
        raise ProblemError(problems)
    return tuple(logins)


def _check_databases(service: str, declared: PostgresqlService) -> Iterator[Problem]:
    for name in declared.databases:
        owner = owner_of(declared, name)
        key = f"services.{service}.databases.{name}"
        if name in _RESERVED_DATABASES:
            yield Problem("is a database that PostgreSQL or PgBouncer keeps for itself", key=key, given=name)
        if owner in _RESERVED_ROLES or owner.startswith("pg_"):
            yield Problem("is a role that PostgreSQL or PgBouncer keeps for itself", key=f"{key}.owner", given=owner)


def render_access(
    node: ServiceNode, declared: PostgresqlService, logins: Collection[Login], replicas: Iterable[ServiceNode]
) -> str:
    """Return pg_hba.conf of one server: root's own tools by socket, everybody else by certificate or not at all."""
    lines = [_row("local", "all", quote_field("postgres"), "", "peer")]
    if any(login.role == METRICS for login in logins):
        lines.append(_row("local", quote_field("postgres"), quote_field(METRICS), "", "peer"))
    lines.append(_row("hostnossl", "all,replication", "all", "all", "reject"))
    if node.role == "primary":
        for login in logins:
            for database, _ in login.rights:
                # Clients of a pool reach the pool only; the pool itself comes from this host.
                addresses = (node.address,) if declared.pgbouncer else login.addresses
                method = "cert map=pool" if declared.pgbouncer else "cert map=agents"
                names = quote_field(database), quote_field(login.role)
                lines += [_row("hostssl", *names, _network(address), method) for address in addresses]
        for replica in replicas:
            lines.append(
                _row("hostssl", "replication", quote_field(REPLICATION), _network(replica.address), "cert map=replicas")
            )
    lines.append(_row("host", "all,replication", "all", "all", "reject"))
    return "\n".join(lines) + "\n"


def render_mappings(service: str, declared: PostgresqlService, logins: Iterable[Login]) -> str:
    """Return pg_ident.conf: which certificate, by its common name, may be which role."""
    lines = [f"replicas {quote_field(service)} {quote_field(REPLICATION)}"]
    for login in (login for login in logins if login.rights):
        name = quote_field(login.role)
        lines.append(f"pool {quote_field(POOL)} {name}" if declared.pgbouncer else f"agents {name} {name}")
    return "\n".join(lines) + "\n"


def render_pool_access(node: ServiceNode, logins: Collection[Login]) -> str:
    """Return PgBouncer's own rules: each group from its hosts with its certificate, to its databases.

    Where there is an exporter, it comes from the pool's own host and sees figures.
    """
    rows = [
        _row("hostssl", quote_field(database), quote_field(login.role), _network(address), "cert")
        for login in logins
        for database, _ in login.rights
        for address in login.addresses
    ]
    if any(login.role == METRICS for login in logins):
        rows.append(_row("hostssl", quote_field(POOL), quote_field(POOL_READER), _network(node.address), "cert"))
    # What no line names is refused.
    return "".join(f"{row}\n" for row in rows)


def render_pool_users(logins: Collection[Login]) -> str:
    """Return PgBouncer's list of users; none of them has a password."""
    readers = [POOL_READER] if any(login.role == METRICS for login in logins) else []
    return "".join(f'{quote_field(name)} ""\n' for name in [*(one.role for one in logins if one.rights), *readers])


def _network(address: str) -> str:
    return f"{address}/{128 if ':' in address else 32}"


def _row(*fields: str) -> str:
    return " ".join(field for field in fields if field)
