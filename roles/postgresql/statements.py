"""From what the manifest declares and what the catalogue says to the SQL that makes them one. Decides, asks nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from groundwork.manifest.services import PostgresqlService
from groundwork.problems import Problem, ProblemError
from roles.postgresql.access import METRICS, REPLICATION, Login, owner_of
from roles.postgresql.quoting import quote_name, quote_text
from roles.postgresql.server import Server, slot_name

Catalog = Mapping[str, Any]
EMPTY: Catalog = {"roles": {}, "databases": {}, "slots": [], "recovering": False}

LOGIN = {
    "SUPERUSER": False, "INHERIT": True, "CREATEROLE": False, "CREATEDB": False, "LOGIN": True,
    "REPLICATION": False, "BYPASSRLS": False,
}  # fmt: skip
OWNER = {**LOGIN, "LOGIN": False}
REPLICA = {**LOGIN, "REPLICATION": True}
# A statement of an agent that has run for a minute, or waited ten seconds for a lock, is not going to be answered in
# time; a transaction left open keeps old rows from being removed (PostgreSQL, 20.11.1).
SESSION = ("statement_timeout=60s", "lock_timeout=10s", "idle_in_transaction_session_timeout=60s")
_TEMPORARY = {"read": ("CONNECT",), "read_write": ("CONNECT", "TEMPORARY"), "owner": ("CONNECT", "TEMPORARY")}


def mark_of(platform: str) -> str:
    """The comment by which a role is known as an agent group's of this platform."""
    return f"groundwork: agent group of {platform}"


def check_owners(service: str, declared: PostgresqlService, catalog: Catalog | None) -> None:
    """Raise ProblemError for databases that exist and belong to somebody else: they may be in use."""
    problems = [
        Problem(
            f"database {name} belongs to {found['owner']}: declare that owner, or ALTER DATABASE ... OWNER TO {owner}",
            key=f"services.{service}.databases.{name}.owner",
            given=owner,
            allowed=str(found["owner"]),
        )
        for name in declared.databases
        if (found := (catalog or EMPTY)["databases"].get(name))
        and found["owner"] != (owner := owner_of(declared, name))
    ]
    if problems:
        raise ProblemError(problems)


def plan_roles(server: Server, catalog: Catalog) -> list[str]:
    """Statements that make every declared role exactly what it is declared to be; for one transaction."""
    statements: list[str] = []
    for name in sorted({owner_of(server.declared, database) for database in server.declared.databases}):
        statements += _make_role(name, OWNER, catalog["roles"].get(name))
    for login in server.logins:
        statements += _plan_login(server, login, catalog)
    known = catalog["roles"].get(REPLICATION)
    if server.replicas:
        statements += _make_role(REPLICATION, REPLICA, known)
    elif known and known["attributes"]["LOGIN"]:
        statements.append(f"ALTER ROLE {quote_name(REPLICATION)} NOLOGIN NOREPLICATION")
    return statements


def _make_role(name: str, wanted: Mapping[str, bool], found: Mapping[str, Any] | None) -> list[str]:
    role = quote_name(name)
    flags = {flag: flag if value else f"NO{flag}" for flag, value in wanted.items()}
    if found is None:
        return [f"CREATE ROLE {role} {' '.join(flags.values())}"]
    statements = []
    differing = [flags[flag] for flag in wanted if found["attributes"][flag] != wanted[flag]]
    if found["limited"]:
        differing.append("CONNECTION LIMIT -1 VALID UNTIL 'infinity'")
    if found["password"]:
        differing.append("PASSWORD NULL")
    if differing:
        statements.append(f"ALTER ROLE {role} {' '.join(differing)}")
    return statements


def _plan_login(server: Server, login: Login, catalog: Catalog) -> list[str]:
    role, mark = quote_name(login.role), mark_of(server.platform)
    found = catalog["roles"].get(login.role)
    statements = _make_role(login.role, LOGIN, found)
    if found is None or found["mark"] != mark:
        statements.append(f"COMMENT ON ROLE {role} IS {quote_text(mark)}")
    owned = {owner_of(server.declared, database) for database, rights in login.rights if rights == "owner"}
    owned |= {"pg_monitor"} if login.role == METRICS else set()
    present = set(found["member_of"]) if found else set()
    statements += [f"GRANT {quote_name(owner)} TO {role}" for owner in sorted(owned - present)]
    statements += [f"REVOKE {quote_name(other)} FROM {role}" for other in sorted(present - owned)]
    settings = found["settings"] if found else {}
    if sorted(settings.get("", ())) != sorted(SESSION):
        statements += [f"ALTER ROLE {role} RESET ALL"] if settings.get("") else []
        for setting in SESSION:
            key, _, value = setting.partition("=")
            statements.append(f"ALTER ROLE {role} SET {key} = {quote_text(value)}")
    return statements


def plan_databases(server: Server, catalog: Catalog) -> list[str]:
    """Statements, each for itself, that make missing databases, set who may connect, and keep the replicas' slots."""
    statements: list[str] = []
    rights: dict[str, dict[str, str]] = {name: {} for name in server.declared.databases}
    for login in server.logins:
        for database, right in login.rights:
            rights[database][login.role] = right
    for name in server.declared.databases:
        found, database = catalog["databases"].get(name), quote_name(name)
        if found is None:
            # C.UTF-8 sorts the same on every release, so that an upgrade of the C library breaks no index.
            statements.append(
                f"CREATE DATABASE {database} OWNER {quote_name(owner_of(server.declared, name))}"
                " TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C.UTF-8'"
            )
        acl = found["acl"] if found else {"PUBLIC": ["CONNECT", "TEMPORARY"]}
        wanted = {role: _TEMPORARY[right] for role, right in rights[name].items()}
        ours = {*wanted, "PUBLIC", *(login.role for login in server.logins)}
        statements += compare_grants(f"DATABASE {database}", acl, wanted, ours)
        statements += _plan_session_roles(server, name, catalog)
    for name in ("postgres", "template1"):
        acl = catalog["databases"].get(name, {"acl": {"PUBLIC": ["CONNECT"]}})["acl"]
        ours = {"PUBLIC", *(login.role for login in server.logins if login.role == METRICS)}
        # The exporter asks the server about itself from this database, and from no other.
        wanted = {METRICS: ("CONNECT",)} if name == "postgres" and METRICS in ours else {}
        statements += compare_grants(f"DATABASE {quote_name(name)}", acl, wanted, ours)
    statements += _plan_slots(server, catalog["slots"])
    return statements


def _plan_session_roles(server: Server, database: str, catalog: Catalog) -> list[str]:
    """Who owns a database acts as its owner there, so that what it makes belongs to the owner too."""
    statements = []
    for login in server.logins:
        found = catalog["roles"].get(login.role, {"settings": {}})
        right = dict(login.rights).get(database)
        wanted = [f"role={owner_of(server.declared, database)}"] if right == "owner" else []
        if list(found["settings"].get(database, [])) == wanted:
            continue
        where = f"ALTER ROLE {quote_name(login.role)} IN DATABASE {quote_name(database)}"
        statements.append(f"{where} RESET ALL")
        if wanted:
            statements.append(f"{where} SET role = {quote_text(owner_of(server.declared, database))}")
    return statements


def _plan_slots(server: Server, found: Sequence[str]) -> list[str]:
    wanted = [slot_name(node.host) for node in server.replicas]
    ours = [name for name in found if name.startswith("groundwork_")]
    # A slot that nobody reads keeps log until its limit; it goes with its replica.
    statements = [f"SELECT pg_drop_replication_slot({quote_text(name)})" for name in ours if name not in wanted]
    for name in wanted:
        if name not in found:
            statements.append(f"SELECT pg_create_physical_replication_slot({quote_text(name)}, true)")
    return statements


def compare_grants(
    target: str, found: Mapping[str, Sequence[str]], wanted: Mapping[str, Sequence[str]], ours: set[str]
) -> list[str]:
    """Statements that give each of ``ours`` exactly the wanted privileges on ``target``; others keep theirs."""
    statements = []
    for role in sorted(ours):
        who = "PUBLIC" if role == "PUBLIC" else quote_name(role)
        has, should = set(found.get(role, ())), set(wanted.get(role, ()))
        if has - should:
            statements.append(f"REVOKE {', '.join(sorted(has - should))} ON {target} FROM {who}")
        if should - has:
            statements.append(f"GRANT {', '.join(sorted(should - has))} ON {target} TO {who}")
    return statements


def list_surplus(server: Server, catalog: Catalog) -> list[str]:
    """Roles of this platform's agent groups that are no longer declared."""
    kept = {login.role for login in server.logins}
    mark = mark_of(server.platform)
    return sorted(name for name, role in catalog["roles"].items() if role["mark"] == mark and name not in kept)


def build_removal(role: str, owner: str) -> list[str]:
    """Statements for one database: what a role had there goes to the database's owner, its rights go."""
    name = quote_name(role)
    return [f"REASSIGN OWNED BY {name} TO {quote_name(owner)}", f"DROP OWNED BY {name}"]
