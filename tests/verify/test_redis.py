"""Every server of Redis lets in whom the manifest names, to what it names, from where it names, and nobody else.

Speaks Redis's own protocol over TLS on the host, with the certificate of its root: no client library, no redis-cli,
no file of the role.
"""

from __future__ import annotations

import binascii
import json
import secrets
import subprocess
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

import pytest
from testinfra.host import Host

from groundwork.authority import paths
from groundwork.manifest.services import RedisService
from groundwork.secrets.value import SecretValue
from groundwork.site import Site
from groundwork.topology.flows import REDIS_BUS_OFFSET
from groundwork.topology.identities import OPERATOR
from groundwork.topology.model import ServiceNode
from groundwork.topology.secrets import credential_name, service_clients

# Reads one JSON line, sends its commands over one connection and prints the answers; errors come as "-TEXT".
SPEAKER = """
import json, socket, ssl, sys
wanted = json.loads(sys.stdin.readline())
context = ssl.create_default_context(cafile=wanted["authority"])
context.load_cert_chain(wanted["certificate"], wanted["key"])
plain = socket.create_connection((wanted["address"], wanted["port"]), 5)
stream = context.wrap_socket(plain, server_hostname=wanted["name"]).makefile("rwb")
def answer():
    line = stream.readline()[:-2].decode()
    mark, rest = line[:1], line[1:]
    if mark == "$":
        return None if rest == "-1" else stream.read(int(rest) + 2)[:-2].decode()
    if mark == "*":
        return [answer() for _ in range(int(rest))]
    return int(rest) if mark == ":" else line if mark == "-" else rest
answers = []
for command in wanted["commands"]:
    parts = [str(part).encode() for part in command]
    stream.write(b"*%d\\r\\n" % len(parts) + b"".join(b"$%d\\r\\n%s\\r\\n" % (len(p), p) for p in parts))
    stream.flush()
    answers.append(answer())
print(json.dumps(answers))
"""


Word = str | SecretValue


def speak(host: Host, site: Site, node: ServiceNode, *commands: list[Word], address: str = "") -> list[Any]:
    """Send commands to a server, at its own or another address. What they say travels over standard input only."""
    address = address or node.address
    port = node.port
    place = {"address": address, "port": port, "name": node.address}
    platform = site.platform.platform
    files = {"certificate": paths.certificate(platform, OPERATOR), "key": paths.key(platform, OPERATOR)}
    try:
        return _speak(host, place | files | {"authority": paths.bundle(platform)}, commands)
    except Exception as error:
        # Not the error itself: a traceback shows the arguments of every call in it.
        pytest.fail(f"cannot ask {address}:{port}: {type(error).__name__}", pytrace=False)


def _speak(host: Host, place: dict[str, Any], commands: tuple[list[Word], ...]) -> list[Any]:
    plain = [[word.reveal() if isinstance(word, SecretValue) else word for word in words] for words in commands]
    request = json.dumps({**place, "commands": plain}) + "\n"
    call = host.backend.get_command("python3 -c %s", SPEAKER)
    client = getattr(host.backend, "client", None)
    if client is None:
        done = subprocess.run(["sh", "-c", call], input=request, capture_output=True, text=True, timeout=30)
        return list(json.loads(done.stdout))
    stdin, stdout, _ = client.exec_command(call, timeout=30)
    stdin.write(request)
    stdin.channel.shutdown_write()
    return list(json.loads(stdout.read().decode()))


@pytest.fixture
def nodes(site: Site, host_name: str) -> tuple[ServiceNode, ...]:
    return site.topology.nodes_on(host_name, "redis")


def instance(site: Site, node: ServiceNode) -> str:
    return f"{site.platform.platform}-{node.service}-{node.index}"


def declared(site: Site, node: ServiceNode) -> RedisService:
    service = site.platform.services[node.service]
    assert isinstance(service, RedisService)
    return service


def login(site: Site, node: ServiceNode, client: str) -> list[Word]:
    return ["AUTH", client, site.secret(credential_name(node.service, client))]


def group_clients(site: Site, node: ServiceNode) -> Iterator[tuple[str, list[str], bool]]:
    """Agent groups with their key patterns and whether they may write."""
    for client in service_clients(site.platform, node.service):
        group = site.platform.groups.get(client)
        if group is None:
            continue
        every = [*group.needs, *(need for agent in group.agents.values() for need in agent.needs)]
        needs = [need for need in every if need.name == node.service]
        default = [f"{site.platform.platform}:*"]
        patterns = [pattern for need in needs for pattern in need.keys or default if need.access != "read"]
        readable = [pattern for need in needs for pattern in need.keys or default]
        yield client, patterns or readable, bool(patterns)


def patterns_of(site: Site, node: ServiceNode, client: str) -> list[str]:
    """Key patterns that a group may read, or read and write."""
    group = site.platform.groups[client]
    needs = [*group.needs, *(need for agent in group.agents.values() for need in agent.needs)]
    default = [f"{site.platform.platform}:*"]
    return [pattern for need in needs if need.name == node.service for pattern in need.keys or default]


def test_units_run_and_start_with_the_host(host: Host, site: Site, nodes: tuple[ServiceNode, ...]) -> None:
    for node in nodes:
        service = host.service(f"redis-server@{instance(site, node)}")
        assert service.is_running
        assert service.is_enabled


def test_listens_on_the_declared_addresses_only(host: Host, site: Site, nodes: tuple[ServiceNode, ...]) -> None:
    lines = host.check_output("ss -Hltnp").splitlines()
    found = {line.split()[3] for line in lines if "redis-server" in line}
    ports = [(node.address, node.port) for node in nodes]
    ports += [(n.address, n.port + REDIS_BUS_OFFSET) for n in nodes if declared(site, n).mode == "cluster"]
    assert found == {f"{address}:{port}" for own, port in ports for address in ("127.0.0.1", own)}


def test_the_packages_own_server_cannot_start(host: Host) -> None:
    state = host.check_output("systemctl show --property=LoadState,ActiveState --value redis-server.service")
    assert state.split() == ["masked", "inactive"]


def test_nobody_gets_in_without_a_name_and_a_password(host: Host, site: Site, nodes: tuple[ServiceNode, ...]) -> None:
    for node in nodes:
        for address in ("127.0.0.1", node.address):
            commands: list[list[Word]] = [
                ["PING"],
                ["GET", "x"],
                ["AUTH", "default", ""],
                ["AUTH", "anything"],
                ["INFO"],
            ]
            answers = speak(host, site, node, *commands, address=address)
            refusals = ["-NOAUTH", "-NOAUTH", "-WRONGPASS", "-WRONGPASS", "-NOAUTH"]
            assert [str(answer).split()[0] for answer in answers] == refusals


def test_wrong_passwords_are_refused(host: Host, site: Site, nodes: tuple[ServiceNode, ...]) -> None:
    for node in nodes:
        for client in service_clients(site.platform, node.service):
            wrong: list[list[Word]] = [
                ["AUTH", client, word] for word in ("", client, "redis", "*MASKED*", secrets.token_hex(16))
            ]
            answers = speak(host, site, node, *wrong, ["PING"])
            assert [str(answer).split()[0] for answer in answers] == ["-WRONGPASS"] * len(wrong) + ["-NOAUTH"]


def find_owner(host: Host, site: Site, node: ServiceNode, client: str, key: str) -> ServiceNode:
    """The server that takes the writes of a key: the master, or in a cluster the one with the key's slot."""
    mode = declared(site, node).mode
    if mode == "standalone":
        return node
    if mode == "replicated":
        role = speak(host, site, node, login(site, node, client), ["ROLE"])[1]
        place = (node.address, node.port) if role[0] == "master" else (role[1], int(role[2]))
    else:
        slot = binascii.crc_hqx(key.encode(), 0) % 16384
        rows = speak(host, site, node, login(site, node, client), ["CLUSTER", "SLOTS"])[1]
        place = next((row[2][0], row[2][1]) for row in rows if row[0] <= slot <= row[1])
    return next(other for other in site.topology.nodes if (other.address, other.port) == place)


def test_groups_work_with_their_keys(host: Host, site: Site, nodes: tuple[ServiceNode, ...]) -> None:
    for node in nodes:
        for client, patterns, writes in group_clients(site, node):
            for pattern in patterns:
                key = pattern.replace("*", f"groundwork-verify-{secrets.token_hex(8)}")
                if not fnmatchcase(key, pattern):
                    continue
                commands: list[list[Word]] = [["SET", key, "seen", "EX", "30"], ["GET", key], ["DEL", key]]
                serving = find_owner(host, site, node, client, key)
                answers = speak(host, site, serving, login(site, node, client), *commands)
                assert answers[0] == "OK"
                if writes:
                    assert answers[1:] == ["OK", "seen", 1]
                else:
                    assert [str(a).split()[0] for a in (answers[1], answers[3])] == ["-NOPERM"] * 2
                    assert answers[2] is None


def test_groups_cannot_touch_other_keys(host: Host, site: Site, nodes: tuple[ServiceNode, ...]) -> None:
    for node in nodes:
        for client, patterns, _ in group_clients(site, node):
            key = f"!groundwork-verify:{secrets.token_hex(8)}"
            if any(fnmatchcase(key, pattern) for pattern in patterns):
                continue
            commands: list[list[Word]] = [["GET", key], ["SET", key, "seen", "EX", "5"], ["PUBLISH", key, "seen"]]
            answers = speak(host, site, node, login(site, node, client), *commands)
            assert [str(answer).split()[0] for answer in answers] == ["OK", "-NOPERM", "-NOPERM", "-NOPERM"]


def test_groups_cannot_touch_each_others_keys(host: Host, site: Site, nodes: tuple[ServiceNode, ...]) -> None:
    for node in nodes:
        named = {client: set(patterns_of(site, node, client)) for client, _, _ in group_clients(site, node)}
        for client, own in named.items():
            others = sorted(set().union(*named.values()) - own)
            keys = [pattern.replace("*", f"groundwork-verify-{secrets.token_hex(8)}") for pattern in others]
            for key in keys:
                if any(fnmatchcase(key, pattern) for pattern in own):
                    continue
                commands: list[list[Word]] = [["GET", key], ["SET", key, "seen", "EX", "5"]]
                answers = speak(host, site, node, login(site, node, client), *commands)
                assert [str(answer).split()[0] for answer in answers] == ["OK", "-NOPERM", "-NOPERM"], (client, key)


# DEBUG is switched off for everybody, which Redis says before it looks at who asks.
REFUSALS = ("-NOPERM", "-ERR DEBUG command not allowed")


def test_clients_cannot_administer(host: Host, site: Site, nodes: tuple[ServiceNode, ...]) -> None:
    # A word too many makes each a syntax error, should it be allowed after all: nothing is lost by trying.
    commands: list[list[Word]] = [
        ["CONFIG", "GET", "maxmemory"],
        ["KEYS", "no-such-key"],
        ["FLUSHALL", "NO-SUCH-WORD"],
        ["FLUSHDB", "NO-SUCH-WORD"],
        ["SHUTDOWN", "NO-SUCH-WORD"],
        ["ACL", "LIST"],
        ["CLIENT", "LIST"],
        ["DEBUG", "NO-SUCH-WORD"],
        ["FUNCTION", "LIST"],
        ["REPLICAOF", "NO-SUCH-WORD", "NO-SUCH-WORD"],
        ["MODULE", "LIST"],
        ["BGSAVE", "NO-SUCH-WORD"],
    ]
    for node in nodes:
        for client, _, _ in group_clients(site, node):
            answers = speak(host, site, node, login(site, node, client), *commands)
            assert answers[0] == "OK"
            assert [a for a in answers[1:] if not str(a).startswith(REFUSALS)] == []


def test_declared_users_get_in(host: Host, site: Site, nodes: tuple[ServiceNode, ...]) -> None:
    for node in nodes:
        for user in declared(site, node).users:
            answers = speak(host, site, node, login(site, node, user), ["CONFIG", "GET", "maxmemory"])
            assert answers[0] == "OK"
            assert str(answers[1]).startswith("-NOPERM") or "@all" in declared(site, node).users[user].commands


def test_limits_and_persistence_are_in_effect(host: Host, site: Site, nodes: tuple[ServiceNode, ...]) -> None:
    for node in nodes:
        service = declared(site, node)
        client = next((name for name, _, _ in group_clients(site, node)), None)
        if client is None:
            pytest.skip(f"no agent group uses {node.service}")
        questions: list[list[Word]] = [["INFO", "memory"], ["INFO", "persistence"], ["INFO", "clients"]]
        answers = speak(host, site, node, login(site, node, client), *questions)
        facts = dict(line.split(":", 1) for text in answers[1:] for line in text.splitlines() if ":" in line)
        assert facts["maxmemory"] == str(service.memory_max) if service.memory_max else int(facts["maxmemory"]) > 0
        assert facts["maxmemory_policy"] == service.memory_policy
        assert facts["aof_enabled"] == str(int(service.persistence.append_only))
        assert facts["rdb_last_bgsave_status"] == facts["aof_last_write_status"] == "ok"
        assert facts["maxclients"] == str(service.maximum_clients)


def test_a_cluster_is_complete_and_its_servers_agree(host: Host, site: Site, nodes: tuple[ServiceNode, ...]) -> None:
    for node in nodes:
        service = declared(site, node)
        client = next((name for name, _, _ in group_clients(site, node)), None)
        if service.mode != "cluster" or client is None:
            continue
        info, rows = speak(host, site, node, login(site, node, client), ["CLUSTER", "INFO"], ["CLUSTER", "SLOTS"])[1:]
        facts = dict(line.split(":", 1) for line in info.splitlines())
        servers = [other for other in site.topology.nodes if other.service == node.service]
        assert facts["cluster_state"] == "ok"
        assert facts["cluster_slots_ok"] == "16384"
        assert facts["cluster_known_nodes"] == str(len(servers))
        assert facts["cluster_size"] == str(len(servers) // (1 + service.replicas_per_master))
        declared_places = {(other.address, other.port) for other in servers}
        found = [[(place[0], place[1]) for place in row[2:]] for row in rows]
        assert {place for row in found for place in row} == declared_places
        assert {len(row) for row in found} == {1 + service.replicas_per_master}


def test_one_server_is_master_and_the_others_follow_it(host: Host, site: Site, nodes: tuple[ServiceNode, ...]) -> None:
    for node in nodes:
        client = next((name for name, _, _ in group_clients(site, node)), None)
        if declared(site, node).mode != "replicated" or client is None:
            continue
        info = speak(host, site, node, login(site, node, client), ["INFO", "replication"])[1]
        facts = dict(line.split(":", 1) for line in info.splitlines() if ":" in line)
        others = len([other for other in site.topology.nodes if other.service == node.service]) - 1
        if facts["role"] == "master":
            assert facts["connected_slaves"] == str(others)
        else:
            assert facts["master_link_status"] == "up"
            assert facts["slave_read_only"] == "1"


def test_files_belong_to_root_and_data_to_redis(host: Host, site: Site, nodes: tuple[ServiceNode, ...]) -> None:
    platform = site.platform.platform
    for node in nodes:
        name = instance(site, node)
        expected = {
            f"/etc/redis/redis-{name}.conf": ("root", "redis", 0o640),
            f"/etc/redis/users-{name}.acl": ("root", "redis", 0o640),
            f"/etc/groundwork/{platform}/credentials/{name}_operator": ("root", "root", 0o600),
            f"/var/lib/redis/{name}": ("redis", "redis", 0o700),
            f"/run/redis-{name}/redis.sock": ("redis", "redis", 0o700),
        }
        found = {path: host.file(path) for path in expected}
        assert {path: (f.user, f.group, f.mode) for path, f in found.items()} == expected


def test_no_clients_password_lies_on_the_host(host: Host, site: Site, nodes: tuple[ServiceNode, ...]) -> None:
    content = host.check_output("cat /etc/redis/*.conf /etc/redis/*.acl /etc/systemd/system/redis-server@*/*")
    for node in nodes:
        for client in service_clients(site.platform, node.service):
            # Compared outside the assertion, which would show both when it fails.
            leaked = site.secret(credential_name(node.service, client)).reveal() in content
            assert not leaked, f"the password of {client} lies on the host"


def test_sandbox_is_tight(host: Host, site: Site, nodes: tuple[ServiceNode, ...]) -> None:
    for node in nodes:
        unit = f"redis-server@{instance(site, node)}.service"
        result = host.run(f"systemd-analyze security --no-pager --threshold=15 {unit}")
        assert result.rc == 0, result.stdout.splitlines()[-1:]


def test_only_hosts_with_a_need_can_connect(host: Host, site: Site, nodes: tuple[ServiceNode, ...]) -> None:
    for node in nodes:
        flows = [f for f in site.topology.flows if (f.destination_host, f.port) == (node.host, node.port)]
        sources = {site.inventory.host(flow.source_host).address for flow in flows if flow.source_host}
        unit = f"redis-server@{instance(site, node)}.service"
        allowed = host.check_output(f"systemctl show --property=IPAddressAllow --value {unit}").split()
        found = {network.partition("/")[0] for network in allowed if not network.startswith(("127.", "::1"))}
        assert found == sources | {node.address}
        denied = host.check_output(f"systemctl show --property=IPAddressDeny --value {unit}").split()
        assert sorted(denied) == ["0.0.0.0/0", "::/0"]


def test_snapshots_may_overcommit(host: Host) -> None:
    in_container = host.run("systemd-detect-virt --container --quiet").rc == 0
    if in_container:
        pytest.skip("a container has the kernel settings of its machine")
    assert host.check_output("cat /proc/sys/vm/overcommit_memory") == "1"
