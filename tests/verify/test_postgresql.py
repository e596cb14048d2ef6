"""PostgreSQL lets in whom the manifest names, by certificate and through the pool, to what it names, and nobody else.

Agents' connections are made on the agents' hosts with the agents' certificates, in PostgreSQL's own protocol over
Python's ``ssl``: no driver, no file of the role. The server's catalogue is read by its superuser on its own host.
"""

from __future__ import annotations

import json
import shlex
from datetime import timedelta
from typing import Any

import pytest
from testinfra.host import Host

from groundwork.authority import paths
from groundwork.engine.inspection import inspect_host
from groundwork.manifest.services import PostgresqlService
from groundwork.site import Site
from groundwork.topology.identities import EXPORTER, OPERATOR, pool_unit
from groundwork.topology.model import ServiceNode

# Reads one JSON line, connects, asks, and prints a JSON line: rows as text, or what refused it. Says at which stage.
SPEAKER = r"""
import json, socket, ssl, struct, sys
wanted = json.loads(sys.stdin.readline())
stage = "connect"
def packet(kind, body):
    return kind + struct.pack("!i", len(body) + 4) + body
def take(stream, count):
    data = b""
    while len(data) < count:
        part = stream.recv(count - len(data))
        if not part:
            raise EOFError("closed")
        data += part
    return data
try:
    stream = socket.create_connection((wanted["address"], wanted["port"]), 5)
    if wanted["tls"]:
        stage = "tls"
        stream.sendall(packet(b"", struct.pack("!i", 80877103)))
        if take(stream, 1) != b"S":
            raise EOFError("no TLS offered")
        context = ssl.create_default_context(cafile=wanted["authority"])
        if wanted["certificate"]:
            context.load_cert_chain(wanted["certificate"], wanted["key"])
        stream = context.wrap_socket(stream, server_hostname=wanted["address"])
    stage = "login"
    names = ["user", wanted["user"], "database", wanted["database"]]
    body = b"".join(name.encode() + b"\0" for name in names) + b"\0"
    stream.sendall(packet(b"", struct.pack("!i", 196608) + body))
    asked, rows, answers = list(wanted["queries"]), [], []
    while True:
        kind = take(stream, 1)
        content = take(stream, struct.unpack("!i", take(stream, 4))[0] - 4)
        if kind == b"R" and struct.unpack("!i", content[:4])[0] != 0:
            raise EOFError("asks for a password")
        if kind == b"E":
            fields = {part[:1]: part[1:].decode() for part in content.split(b"\0") if part}
            if stage == "login":
                raise EOFError(fields[b"C"] + " " + fields[b"M"])
            rows = ["ERROR", fields[b"C"]]
        if kind == b"D":
            row, place = [], 2
            for _ in range(struct.unpack("!h", content[:2])[0]):
                size = struct.unpack("!i", content[place:place + 4])[0]
                place += 4
                row.append(None if size < 0 else content[place:place + size].decode())
                place += max(size, 0)
            rows.append(row)
        if kind == b"Z":
            if stage == "query":
                answers.append(rows)
            stage, rows = "query", []
            if not asked:
                break
            stream.sendall(packet(b"Q", asked.pop(0).encode() + b"\0"))
    print(json.dumps({"answers": answers}))
except Exception as error:
    print(json.dumps({"stage": stage, "refusal": type(error).__name__ + ": " + str(error)}))
"""


def speak(host: Host, **wanted: Any) -> dict[str, Any]:
    """Connect from a host as ``wanted`` says; the answers, or the stage and words of the refusal."""
    request = json.dumps({"tls": True, "certificate": "", "key": "", "queries": ["SELECT 1"], **wanted})
    call = f"printf '%s\\n' {shlex.quote(request)} | timeout 30 python3 -c {shlex.quote(SPEAKER)}"
    return dict(json.loads(host.check_output(call)))


EXPIRED = timedelta(seconds=90)
_HOSTS: dict[str, Host] = {}


def reach(site: Site, name: str) -> Host:
    if name not in _HOSTS:
        _HOSTS[name] = inspect_host(site.inventory.host(name))
    return _HOSTS[name]


def node_on(site: Site, host_name: str) -> ServiceNode:
    return site.topology.nodes_on(host_name, "postgresql")[0]


@pytest.fixture
def node(site: Site, host_name: str) -> ServiceNode:
    return node_on(site, host_name)


@pytest.fixture
def primary(node: ServiceNode) -> ServiceNode:
    if node.role != "primary":
        pytest.skip("a replica")
    return node


def declared(site: Site, node: ServiceNode) -> PostgresqlService:
    service = site.platform.services[node.service]
    assert isinstance(service, PostgresqlService)
    return service


def ask(host: Host, node: ServiceNode, query: str, database: str = "postgres") -> Any:
    """What the superuser is answered by the local socket: JSON."""
    psql = f"psql -X -q -A -t -h /run/postgresql -p {node.port} -U postgres -d {shlex.quote(database)}"
    command = (
        f"cd / && printf '%s\\n' {shlex.quote(f'SELECT json_agg(q) FROM ({query}) q;')} | runuser -u postgres -- {psql}"
    )
    return json.loads(host.check_output(command) or "null") or []


def clients(site: Site, node: ServiceNode) -> list[tuple[str, str, str, str]]:
    """Group, access, database and one host for every agent group that uses the service."""
    found = []
    service = declared(site, node)
    for name, group in site.platform.groups.items():
        hosts = [process.host for process in site.topology.processes if process.group == name]
        needs = [*group.needs, *(need for agent in group.agents.values() for need in agent.needs)]
        for need in needs:
            if need.name == node.service and hosts:
                found.append((name, need.access, need.database or next(iter(service.databases)), hosts[0]))
    return list(dict.fromkeys(found))


def identity(site: Site, host: str, group: str) -> dict[str, str]:
    """Certificate, key and trust of one process of a group."""
    unit = next(p.unit_name for p in site.topology.processes if p.host == host and p.group == group)
    return files(site, unit.removesuffix(".service"))


def files(site: Site, unit: str) -> dict[str, str]:
    platform = site.platform.platform
    return {
        "certificate": paths.certificate(platform, unit),
        "key": paths.key(platform, unit),
        "authority": paths.bundle(platform),
    }


def entry(site: Site, node: ServiceNode) -> dict[str, Any]:
    """Where agents connect: the pool where there is one."""
    pool = declared(site, node).pgbouncer
    return {"address": node.address, "port": pool.port if pool else node.port}


def refused(result: dict[str, Any], *stages: str) -> bool:
    return result.get("stage") in stages


def test_units_run_and_start_with_the_host(host: Host, site: Site, node: ServiceNode) -> None:
    clusters = host.check_output("pg_lsclusters --no-header").splitlines()
    assert [line.split()[1:4] for line in clusters] == [
        ["main", str(node.port), "online" if node.role == "primary" else "online,recovery"]
    ]
    units = [f"postgresql@{clusters[0].split()[0]}-main"]
    if node.role == "primary" and declared(site, node).pgbouncer:
        units.append("pgbouncer")
    for unit in units:
        assert host.service(unit).is_running
        assert host.service(unit).is_enabled


def test_listens_on_the_declared_address_only(host: Host, site: Site, node: ServiceNode) -> None:
    lines = host.check_output("ss -Hltnp").splitlines()
    found = {line.split()[3] for line in lines if '"postgres"' in line or '"pgbouncer"' in line}
    pool = declared(site, node).pgbouncer
    ports = {node.port} | ({pool.port} if pool and node.role == "primary" else set())
    assert found == {f"{node.address}:{port}" for port in ports}


def test_data_have_checksums_and_passwords_would_be_scram(host: Host, node: ServiceNode) -> None:
    names = ("data_checksums", "password_encryption", "ssl", "log_statement", "log_min_error_statement", "fsync")
    rows = ask(host, node, f"SELECT name, setting FROM pg_settings WHERE name IN {names}")
    assert {row["name"]: row["setting"] for row in rows} == {
        "data_checksums": "on",
        "password_encryption": "scram-sha-256",
        "ssl": "on",
        "log_statement": "none",
        "log_min_error_statement": "panic",
        "fsync": "on",
    }


def test_no_setting_or_rule_is_wrong_or_waits(host: Host, node: ServiceNode) -> None:
    assert ask(host, node, "SELECT name, error FROM pg_file_settings WHERE error IS NOT NULL") == []
    assert ask(host, node, "SELECT line_number, error FROM pg_hba_file_rules WHERE error IS NOT NULL") == []
    assert ask(host, node, "SELECT line_number, error FROM pg_ident_file_mappings WHERE error IS NOT NULL") == []
    assert ask(host, node, "SELECT name FROM pg_settings WHERE pending_restart") == []


def test_memory_fits_the_host(host: Host, site: Site, node: ServiceNode) -> None:
    query = "SELECT name, setting::bigint * CASE unit WHEN '8kB' THEN 8192 WHEN 'kB' THEN 1024 ELSE 1 END AS value"
    names = ("shared_buffers", "work_mem", "maintenance_work_mem", "max_connections", "wal_buffers")
    rows = ask(host, node, f"{query} FROM pg_settings WHERE name IN {names}")
    value = {row["name"]: row["value"] for row in rows}
    limit = declared(site, node).memory_max or host.check_output("grep MemTotal /proc/meminfo").split()[1]
    total = int(limit) if declared(site, node).memory_max else int(limit) * 1024
    used = value["shared_buffers"] + value["wal_buffers"] + value["maintenance_work_mem"]
    assert used + value["max_connections"] * value["work_mem"] <= total


def test_agents_get_in_with_their_certificate(site: Site, primary: ServiceNode) -> None:
    seen = clients(site, primary)
    for group, access, database, name in seen:
        queries = ["SELECT current_user::text", "SELECT current_setting('statement_timeout')"]
        result = speak(
            reach(site, name), user=group, database=database, queries=queries, **identity(site, name, group),
            **entry(site, primary),
        )  # fmt: skip
        assert "answers" in result, result
        acting = (declared(site, primary).databases[database].owner or database) if access == "owner" else group
        assert result["answers"] == [[[acting]], [["1min"]]]


def test_agents_may_do_what_is_declared(host: Host, site: Site, primary: ServiceNode) -> None:
    wanted = {"read": {"SELECT"}, "read_write": {"SELECT", "INSERT", "UPDATE", "DELETE"}}
    kinds = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER")
    checks = ", ".join(f"has_table_privilege(r.rolname, c.oid, '{kind}') AS \"{kind}\"" for kind in kinds)
    for group, access, database, _ in clients(site, primary):
        if access == "owner":
            continue
        query = (
            f"SELECT c.relname, {checks} FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace, pg_roles r"
            f" WHERE r.rolname = '{group}' AND n.nspname = 'public' AND c.relkind IN ('r', 'p', 'v', 'm')"
        )
        for row in ask(host, primary, query, database):
            granted = {kind for kind in kinds if row[kind]}
            assert granted == wanted[access], f"{group} on {row['relname']}"


def test_agents_may_not_change_the_schema_or_read_what_is_the_servers(site: Site, primary: ServiceNode) -> None:
    # Each fails for lack of a right; what must not be lost is not named.
    queries = [
        "CREATE TABLE public.groundwork_verify (x int)",
        "CREATE SCHEMA groundwork_verify",
        "SELECT * FROM pg_authid LIMIT 1",
        "SELECT * FROM groundwork.migrations LIMIT 1",
        "SELECT pg_read_file('/etc/passwd')",
        "COPY (SELECT 1) TO PROGRAM 'true'",
        "SET ROLE postgres",
        "ALTER SYSTEM SET work_mem = '4MB'",
        "CREATE ROLE groundwork_verify",
    ]
    for group, access, database, name in clients(site, primary):
        if access == "owner":
            continue
        result = speak(
            reach(site, name), user=group, database=database, queries=queries, **identity(site, name, group),
            **entry(site, primary),
        )  # fmt: skip
        assert result.get("answers") == [["ERROR", "42501"]] * len(queries)


def test_nobody_gets_in_without_a_certificate(site: Site, primary: ServiceNode) -> None:
    for group, _, database, name in clients(site, primary):
        trusted = {"authority": files(site, "")["authority"]}
        for user in (group, "postgres", "pgbouncer"):
            result = speak(reach(site, name), user=user, database=database, **trusted, **entry(site, primary))
            assert refused(result, "tls", "login"), result


def test_plain_text_is_refused(site: Site, primary: ServiceNode) -> None:
    for group, _, database, name in clients(site, primary):
        result = speak(reach(site, name), user=group, database=database, tls=False, **entry(site, primary))
        assert refused(result, "login"), result


def test_another_groups_name_is_refused(site: Site, primary: ServiceNode) -> None:
    seen = clients(site, primary)
    names = {group for group, *_ in seen} | {"postgres", "pgbouncer", "_replication", "public"}
    names |= {declared(site, primary).databases[db].owner or db for db in declared(site, primary).databases}
    for group, _, database, name in seen:
        for other in sorted(names - {group}):
            own = identity(site, name, group)
            result = speak(reach(site, name), user=other, database=database, **own, **entry(site, primary))
            assert refused(result, "login"), (group, other, result)


def test_a_certificate_without_a_role_is_refused(host: Host, site: Site, primary: ServiceNode) -> None:
    own = files(site, OPERATOR)
    for group, _, database, _ in clients(site, primary):
        for user in (group, "operator", "postgres"):
            result = speak(host, user=user, database=database, **own, **entry(site, primary))
            assert refused(result, "login"), result


def test_other_databases_are_refused(site: Site, primary: ServiceNode) -> None:
    for group, _, _, name in clients(site, primary):
        for database in ("postgres", "template1", "pgbouncer", "replication"):
            own = identity(site, name, group)
            result = speak(reach(site, name), user=group, database=database, **own, **entry(site, primary))
            assert refused(result, "login"), (database, result)


def test_foreign_and_expired_certificates_are_refused(site: Site, primary: ServiceNode) -> None:
    for group, _, database, name in clients(site, primary)[:1]:
        agent = reach(site, name)
        folder = agent.check_output("mktemp -d /run/groundwork-verify-XXXXXX")
        try:
            for label, certificate, key in forge_certificates(site, name, group):
                for file, text in ((f"{label}.pem", certificate), (f"{label}.key", key)):
                    agent.check_output(f"umask 077; printf %s {shlex.quote(text)} > {folder}/{file}")
                own = {"certificate": f"{folder}/{label}.pem", "key": f"{folder}/{label}.key"}
                own["authority"] = files(site, "")["authority"]
                result = speak(agent, user=group, database=database, **own, **entry(site, primary))
                assert refused(result, "tls", "login"), (label, result)
        finally:
            agent.check_output(f"rm -rf -- {folder}")


def forge_certificates(site: Site, host: str, group: str) -> list[tuple[str, str, str]]:
    """Throw-away certificates with the group's name: of an authority nobody trusts, and an expired one of ours."""
    import tempfile
    from datetime import UTC, datetime
    from pathlib import Path

    from cryptography import x509
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    from groundwork.authority.leaves import sign_leaf
    from groundwork.authority.store import AuthorityStore
    from groundwork.secrets.store import SecretStore

    unit = next(p.unit_name for p in site.topology.processes if p.host == host and p.group == group)
    wanted = next(i for i in site.topology.identities if i.host == host and i.unit == unit.removesuffix(".service"))
    made = []
    with tempfile.TemporaryDirectory() as folder:
        secrets = SecretStore(Path(folder) / "secrets", Path(folder) / "key")
        secrets.initialise()
        foreign = AuthorityStore(Path(folder) / "authority", secrets, "elsewhere")
        foreign.initialise()
        now = datetime.now(UTC)
        for label, store in (("foreign", foreign), ("expired", site.authority)):
            issuer, key = store.issuer(), ec.generate_private_key(ec.SECP256R1())
            # The expired one was good for half a minute, a minute ago.
            moment, life = (now, timedelta(days=1)) if label == "foreign" else (now - EXPIRED, EXPIRED / 3)
            leaf = sign_leaf(issuer, wanted, key.public_key(), moment, life)
            chain: list[x509.Certificate] = [leaf, issuer.certificate]
            text = b"".join(one.public_bytes(serialization.Encoding.PEM) for one in chain).decode()
            plain = key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            made.append((label, text, plain.decode()))
    return made


def test_the_server_itself_takes_the_pool_and_nobody_else(host: Host, site: Site, primary: ServiceNode) -> None:
    if declared(site, primary).pgbouncer is None:
        pytest.skip("agents reach the server itself")
    way = {"address": primary.address, "port": primary.port}
    pool = files(site, pool_unit(primary.service, primary.index))
    for group, _, database, name in clients(site, primary):
        assert "answers" in speak(host, user=group, database=database, **pool, **way)
        own = identity(site, name, group)
        assert refused(speak(reach(site, name), user=group, database=database, **own, **way), "connect", "login")
    bare = {"authority": pool["authority"]}
    for user in ("postgres", "pgbouncer", "_replication"):
        for database in declared(site, primary).databases:
            assert refused(speak(host, user=user, database=database, **pool, **way), "login")
            assert refused(speak(host, user=user, database=database, **bare, **way), "tls", "login")
            assert refused(speak(host, user=user, database=database, tls=False, **way), "login")


def test_the_pool_is_administered_by_its_socket_only(host: Host, site: Site, primary: ServiceNode) -> None:
    pool = declared(site, primary).pgbouncer
    if pool is None:
        pytest.skip("there is no pool")
    admin = f"psql -X -q -A -t -h /run/pgbouncer-groundwork -p {pool.port} -U pgbouncer -d pgbouncer -c 'SHOW CONFIG'"
    rows = host.check_output(f"cd / && runuser -u postgres -- {admin}").splitlines()
    shown = {row.split("|")[0]: row.split("|")[1] for row in rows}
    assert shown["pool_mode"] == pool.pool_mode
    assert shown["default_pool_size"] == str(pool.default_pool_size)
    assert shown["max_client_conn"] == str(pool.maximum_client_connections)
    assert (shown["client_tls_sslmode"], shown["server_tls_sslmode"]) == ("verify-full", "verify-full")
    # Figures are for the exporter's certificate alone, where there is a Prometheus that collects them.
    readers = EXPORTER if site.platform.observability.prometheus else ""
    assert (shown["admin_users"], shown["stats_users"]) == ("", readers)
    own = files(site, OPERATOR)
    way = {"address": primary.address, "port": pool.port}
    for user in ("pgbouncer", "postgres", "operator"):
        assert refused(speak(host, user=user, database="pgbouncer", queries=["SHOW CONFIG"], **own, **way), "login")


def test_roles_are_the_declared_ones(host: Host, site: Site, primary: ServiceNode) -> None:
    rows = ask(
        host,
        primary,
        "SELECT rolname, rolsuper OR rolcreaterole OR rolcreatedb OR rolbypassrls AS strong, rolcanlogin,"
        " rolreplication, rolpassword IS NOT NULL AS password FROM pg_authid"
        " WHERE rolname !~ '^pg_' AND rolname <> 'postgres'",
    )
    service = declared(site, primary)
    groups = {group for group, *_ in clients(site, primary)}
    # The exporter of its figures, where there is a Prometheus.
    groups |= {"prometheus"} if site.platform.observability.prometheus else set()
    owners = {service.databases[name].owner or name for name in service.databases}
    replicas = any(other.service == primary.service and other.role == "replica" for other in site.topology.nodes)
    found = {row["rolname"]: row for row in rows}
    assert set(found) == groups | owners | ({"_replication"} if replicas or "_replication" in found else set())
    assert {name for name, row in found.items() if row["rolcanlogin"]} == groups | (
        {"_replication"} if replicas else set()
    )
    assert not [name for name, row in found.items() if row["strong"] or row["password"]]
    assert {name for name, row in found.items() if row["rolreplication"]} == ({"_replication"} if replicas else set())


def test_databases_have_their_owner_and_every_migration(host: Host, site: Site, primary: ServiceNode) -> None:
    import hashlib

    for name, database in declared(site, primary).databases.items():
        owner = f"SELECT rolname FROM pg_database d JOIN pg_roles r ON r.oid = datdba WHERE datname = '{name}'"
        assert ask(host, primary, owner) == [{"rolname": database.owner or name}]
        if database.migrations:
            files = sorted(site.path(database.migrations).glob("*.sql"))
            digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
            rows = ask(host, primary, "SELECT name, digest FROM groundwork.migrations", name)
            assert {row["name"]: row["digest"] for row in rows} == digests
        invalid = "SELECT indexrelid::regclass::text AS name FROM pg_index WHERE NOT indisvalid OR NOT indisready"
        assert ask(host, primary, invalid, name) == []


def test_partitions_reach_ahead(host: Host, site: Site, primary: ServiceNode) -> None:
    for name, database in declared(site, primary).databases.items():
        for one in database.partitions:
            query = (
                f"SELECT count(*) FILTER (WHERE pg_get_expr(c.relpartbound, c.oid) <> 'DEFAULT') AS parts"
                f" FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE inhparent = '{one.table}'::regclass"
            )
            assert ask(host, primary, query, name)[0]["parts"] >= one.ahead + 1
            ahead = f"now() + interval '{one.ahead} {one.interval}'"
            covered = (
                "SELECT count(*) AS hits FROM groundwork.list_partitions("
                f"'{one.table}'::regclass) WHERE lower_bound <= {ahead} AND upper_bound > {ahead}"
            )
            assert ask(host, primary, covered, name) == [{"hits": 1}]
        if database.partitions:
            timer = f"{site.platform.platform}-postgresql-partitions.timer"
            assert host.service(timer).is_running
            assert host.service(timer).is_enabled


def test_replicas_stream(host: Host, site: Site, node: ServiceNode) -> None:
    replicas = [n for n in site.topology.nodes if n.service == node.service and n.role == "replica"]
    if node.role == "replica":
        assert ask(host, node, "SELECT status FROM pg_stat_wal_receiver") == [{"status": "streaming"}]
        assert ask(host, node, "SELECT pg_is_in_recovery() AS standby") == [{"standby": True}]
    elif replicas:
        rows = ask(host, node, "SELECT client_addr, state FROM pg_stat_replication WHERE usename = '_replication'")
        assert {(row["client_addr"], row["state"]) for row in rows} == {(n.address, "streaming") for n in replicas}
    else:
        assert ask(host, node, "SELECT slot_name FROM pg_replication_slots") == []


def test_sandboxes_are_tight(host: Host, site: Site, node: ServiceNode) -> None:
    version = host.check_output("pg_lsclusters --no-header").split()[0]
    units = [f"postgresql@{version}-main.service"]
    if node.role == "primary" and declared(site, node).pgbouncer:
        units.append("pgbouncer.service")
    for unit in units:
        result = host.run(f"systemd-analyze security --no-pager --threshold=15 {unit}")
        assert result.rc == 0, result.stdout.splitlines()[-1:]


def test_data_and_rules_are_the_servers_own(host: Host, node: ServiceNode) -> None:
    version = host.check_output("pg_lsclusters --no-header").split()[0]
    data = host.file(f"/var/lib/postgresql/{version}/main")
    assert (data.user, data.group, data.mode) == ("postgres", "postgres", 0o700)
    for name in ("groundwork_hba.conf", "groundwork_ident.conf"):
        file = host.file(f"/etc/postgresql/{version}/main/{name}")
        assert (file.user, file.group, file.mode) == ("root", "postgres", 0o640)
