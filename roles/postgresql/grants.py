"""Rights inside one database, from what the manifest declares; tables that come later get them by themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from groundwork.problems import Problem, ProblemError
from roles.postgresql.access import owner_of
from roles.postgresql.partitions import DEFINITION, DEFINITION_DIGEST
from roles.postgresql.quoting import quote_name, quote_text
from roles.postgresql.server import Server
from roles.postgresql.statements import compare_grants

EMPTY: Mapping[str, Any] = {
    "schemas": {"public": {"acl": {"PUBLIC": ["USAGE"]}}}, "relations": [], "defaults": [], "extensions": [],
    "available": None, "definition": "",
}  # fmt: skip
TABLES = {"read": ("SELECT",), "read_write": ("SELECT", "INSERT", "UPDATE", "DELETE"), "owner": ()}
SEQUENCES = {"read": (), "read_write": ("SELECT", "USAGE"), "owner": ()}
SCHEMAS = {"read": ("USAGE",), "read_write": ("USAGE",), "owner": ()}
# Object types of pg_default_acl with their names in ALTER DEFAULT PRIVILEGES.
DEFAULTS = {"r": ("TABLES", TABLES), "S": ("SEQUENCES", SEQUENCES), "n": ("SCHEMAS", SCHEMAS)}


def plan_database(server: Server, database: str, found: Mapping[str, Any]) -> list[str]:
    """Statements, for one transaction, that give one database its extensions, bookkeeping and rights.

    Raises ProblemError for an extension that the host does not offer.
    """
    rights = {login.role: right for login in server.logins for name, right in login.rights if name == database}
    ours = {"PUBLIC", *(login.role for login in server.logins)}
    statements = _plan_extensions(server, database, found)
    if found["definition"] != DEFINITION_DIGEST:
        statements += [*DEFINITION, f"COMMENT ON SCHEMA groundwork IS {quote_text(DEFINITION_DIGEST)}"]

    def give(table: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        return {role: table[right] for role, right in rights.items()}

    for schema, entry in sorted(found["schemas"].items()):
        statements += compare_grants(f"SCHEMA {quote_name(schema)}", entry["acl"], give(SCHEMAS), ours)
    for schema, name, kind, acl in found["relations"]:
        target = f"{'SEQUENCE' if kind == 'S' else 'TABLE'} {quote_name(schema)}.{quote_name(name)}"
        statements += compare_grants(target, acl, give(SEQUENCES if kind == "S" else TABLES), ours)
    owner = owner_of(server.declared, database)
    present = {kind: acl for role, kind, acl in found["defaults"] if role == owner}
    prefix = f"ALTER DEFAULT PRIVILEGES FOR ROLE {quote_name(owner)}"
    for kind, (noun, table) in DEFAULTS.items():
        changes = compare_grants(noun, present.get(kind, {}), give(table), ours)
        statements += [f"{prefix} {change}" for change in changes]
    return statements


def _plan_extensions(server: Server, database: str, found: Mapping[str, Any]) -> list[str]:
    wanted = server.declared.databases[database].extensions
    missing = [name for name in wanted if name not in found["extensions"]]
    known = found["available"]
    unknown = [name for name in missing if known is not None and name not in known]
    if unknown:
        key = f"services.{server.service}.databases.{database}.extensions"
        message = f"PostgreSQL {server.version} on this host has no such extension"
        allowed = "an extension of postgresql-contrib, or one whose package is installed"
        raise ProblemError([Problem(message, key=key, given=", ".join(unknown), allowed=allowed)])
    return [f"CREATE EXTENSION {quote_name(name)} SCHEMA public CASCADE" for name in missing]
