"""What a running server has: the questions put to its catalogue, each answered by one JSON document."""

from __future__ import annotations

# Every list has a fixed order, so that the same catalogue gives the same statements.
_ACL = """
COALESCE((SELECT json_object_agg(grantee, privileges) FROM (
    SELECT COALESCE(r.rolname, 'PUBLIC') AS grantee, json_agg(a.privilege_type ORDER BY a.privilege_type) AS privileges
    FROM aclexplode({acl}) a LEFT JOIN pg_roles r ON r.oid = a.grantee GROUP BY 1) grants), '{{}}')
"""
_KIND = """(CASE WHEN c.relkind = 'S' THEN 's' ELSE 'r' END)::"char\""""

CLUSTER = f"""
SELECT json_build_object(
'roles', (SELECT json_object_agg(r.rolname, json_build_object(
    'attributes', json_build_object('SUPERUSER', r.rolsuper, 'INHERIT', r.rolinherit, 'CREATEROLE', r.rolcreaterole,
        'CREATEDB', r.rolcreatedb, 'LOGIN', r.rolcanlogin, 'REPLICATION', r.rolreplication,
        'BYPASSRLS', r.rolbypassrls),
    'limited', r.rolconnlimit <> -1 OR r.rolvaliduntil IS NOT NULL,
    'password', r.rolpassword IS NOT NULL,
    'mark', COALESCE(shobj_description(r.oid, 'pg_authid'), ''),
    'member_of', COALESCE((SELECT json_agg(g.rolname ORDER BY g.rolname) FROM pg_auth_members m
        JOIN pg_roles g ON g.oid = m.roleid WHERE m.member = r.oid), '[]'),
    'settings', COALESCE((SELECT json_object_agg(COALESCE(d.datname, ''), s.setconfig) FROM pg_db_role_setting s
        LEFT JOIN pg_database d ON d.oid = s.setdatabase WHERE s.setrole = r.oid), '{{}}')))
    FROM pg_authid r WHERE r.rolname !~ '^pg_'),
'databases', (SELECT json_object_agg(d.datname, json_build_object('owner', o.rolname, 'connectable', d.datallowconn,
    'acl', {_ACL.format(acl="COALESCE(d.datacl, acldefault('d', d.datdba))")}))
    FROM pg_database d JOIN pg_roles o ON o.oid = d.datdba),
'slots', COALESCE((SELECT json_agg(slot_name ORDER BY slot_name) FROM pg_replication_slots
    WHERE slot_type = 'physical'), '[]'),
'recovering', pg_is_in_recovery())
"""

# Partitions get their rights with their table's owner; what belongs to an extension is the extension's.
DATABASE = f"""
SELECT json_build_object(
'schemas', (SELECT json_object_agg(n.nspname, json_build_object('acl',
    {_ACL.format(acl="COALESCE(n.nspacl, acldefault('n', n.nspowner))")})) FROM pg_namespace n
    WHERE n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'groundwork')),
'relations', COALESCE((SELECT json_agg(json_build_array(n.nspname, c.relname, c.relkind,
    {_ACL.format(acl=f"COALESCE(c.relacl, acldefault({_KIND}, c.relowner))")})
    ORDER BY n.nspname, c.relname)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND n.nspname !~ '^pg_'
    AND n.nspname NOT IN ('information_schema', 'groundwork')
    AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.classid = 'pg_class'::regclass
        AND d.deptype = 'e')), '[]'),
'defaults', COALESCE((SELECT json_agg(json_build_array(r.rolname, d.defaclobjtype,
    {_ACL.format(acl="d.defaclacl")}) ORDER BY r.rolname, d.defaclobjtype)
    FROM pg_default_acl d JOIN pg_roles r ON r.oid = d.defaclrole WHERE d.defaclnamespace = 0), '[]'),
'extensions', (SELECT json_agg(extname ORDER BY extname) FROM pg_extension),
'available', (SELECT json_agg(name ORDER BY name) FROM pg_available_extensions),
'definition', COALESCE((SELECT obj_description(oid, 'pg_namespace') FROM pg_namespace
    WHERE nspname = 'groundwork'), ''))
"""


def ask_existing(relation: str, query: str) -> str:
    """A question about a table that may be missing, in psql's language; an empty list where it is."""
    return (
        f"SELECT to_regclass('{relation}') IS NOT NULL AS there \\gset\n"
        f"\\if :there\n{query};\n\\else\nSELECT '[]';\n\\endif\nSELECT NULL WHERE false"
    )


APPLIED = ask_existing(
    "groundwork.migrations",
    "SELECT COALESCE(json_agg(json_build_array(name, digest) ORDER BY name), '[]') FROM groundwork.migrations",
)
PARTITIONS = ask_existing(
    "groundwork.partitions",
    "SELECT COALESCE(json_agg(json_build_array(relation, key, period, keep, ahead) ORDER BY relation), '[]')"
    " FROM groundwork.partitions",
)
DUE_PARTITIONS = ask_existing(
    "groundwork.partitions",
    "SELECT COALESCE(json_agg(json_build_array(relation, action, part) ORDER BY 1, 2, 3), '[]')"
    " FROM (SELECT * FROM groundwork.due_partitions()) AS due(relation, action, part)",
)
PENDING_RESTART = "SELECT COALESCE(json_agg(name ORDER BY name), '[]') FROM pg_settings WHERE pending_restart"

QUESTIONS = {
    "cluster": CLUSTER,
    "database": DATABASE,
    "applied": APPLIED,
    "partitions": PARTITIONS,
    "due partitions": DUE_PARTITIONS,
    "pending restart": PENDING_RESTART,
}
"""By name, so that a message about one does not have to show it."""
