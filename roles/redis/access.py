"""Who may do what in a Redis, as the lines of its access control list (redis.io, "ACL")."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from groundwork.manifest.agents import Need
from groundwork.manifest.platform import Platform
from groundwork.manifest.services import RedisService, RedisUser
from groundwork.problems import Problem, ProblemError
from groundwork.topology.secrets import METRICS, service_clients

REPLICATION = "replication"
"""The servers' own user: by it replicas follow, and the helper on a host arranges a cluster."""
OPERATOR = "_operator"
"""Root's own user; no client can have the name, since names of a manifest begin with a letter."""

CATEGORIES = frozenset(
    [
        "admin", "all", "bitmap", "blocking", "connection", "dangerous", "fast", "geo", "hash", "hyperloglog",
        "keyspace", "list", "pubsub", "read", "scripting", "set", "slow", "sortedset", "stream", "string",
        "transaction", "write",
    ]
)  # fmt: skip
_COMMAND = re.compile(r"[a-z][a-z0-9._-]*(\|[a-z][a-z0-9_-]*)?")

# What clients may do with their keys. @dangerous is left out (KEYS, FLUSHALL, SORT, ...) but for INFO, by which
# client libraries tell the server's version; FUNCTION and SCRIPT FLUSH act on what all clients share.
# ROLE is what clients of a replicated service find the master by.
READ_WRITE = ("+@all", "-@admin", "-@dangerous", "-function", "-script|flush", "-script|kill", "+info", "+role")
READ = ("+@all", "-@admin", "-@dangerous", "-@write", "-function", "-script|flush", "-script|kill", "+info", "+role")
_FOLLOWING = ("-@all", "+auth", "+ping", "+role", "+psync", "+replconf")
_SERVERS = {
    "replicated": (*_FOLLOWING, "+replicaof", "+failover"),
    # Keys are moved between servers by MIGRATE, which logs in at the other one and restores them there.
    "cluster": ("~*", *_FOLLOWING, "+cluster", "+dbsize", "+select", "+migrate", "+restore", "+restore-asking"),
}
# Figures and nothing else: no key's content, and no CONFIG, which tells passwords.
_METRICS = (
    "-@all", "+auth", "+hello", "+ping", "+info", "+select", "+dbsize", "+latency|latest", "+latency|histogram",
    "+slowlog|len", "+slowlog|get", "+cluster|info", "+client|setname", "+client|list",
)  # fmt: skip
_LONGEST_PATTERN = 500


@dataclass(frozen=True)
class Access:
    """One user: its keys, channels and commands as ACL rules."""

    client: str
    rules: tuple[str, ...]


def list_access(platform: Platform, service: str) -> tuple[Access, ...]:
    """Return every client of a service with its rules.

    Raises ProblemError for key and channel patterns, commands and names that an access list cannot hold.
    """
    declared = platform.services[service]
    assert isinstance(declared, RedisService)
    problems: list[Problem] = []
    result: list[Access] = []
    for client in service_clients(platform, service):
        if client == REPLICATION and declared.mode != "standalone":
            for key in _names_of(platform, service, client):
                problems.append(Problem("is the name of the servers' own user", key=key, given=client))
            result.append(Access(client, _SERVERS[declared.mode]))
            continue
        if client == METRICS and platform.observability.prometheus:
            for key in _names_of(platform, service, client):
                problems.append(Problem("is the name of the exporter's user", key=key, given=client))
            result.append(Access(client, _METRICS))
            continue
        user, needs = declared.users.get(client), _needs_of_group(platform, client, service)
        key = f"services.{service}.users.{client}" if user else f"groups.{client}"
        if client == "default":
            message = "is the name of Redis's own user, which is switched off"
            problems.append(Problem(message, key=key, given=client, allowed="another name"))
        if user and needs:
            problems.append(Problem("an agent group has this name too", key=key, given=client))
        for place, need in needs.items():
            problems += _check_patterns(need.keys, f"{place}.keys")
            problems += _check_patterns(need.channels, f"{place}.channels")
        problems += _check_user(user, key) if user else []
        rules = _user_rules(user) if user else _group_rules(platform.platform, needs.values())
        result.append(Access(client, rules))
    if problems:
        raise ProblemError(problems)
    return tuple(result)


def _names_of(platform: Platform, service: str, client: str) -> list[str]:
    """Where the manifest gives a client of its own this name."""
    declared = platform.services[service]
    assert isinstance(declared, RedisService)
    users = [f"services.{service}.users.{client}"] if client in declared.users else []
    return users + ([f"groups.{client}"] if _needs_of_group(platform, client, service) else [])


def _needs_of_group(platform: Platform, name: str, service: str) -> dict[str, Need]:
    """The group's own needs of the service and its agents', by their place in the manifest."""
    group = platform.groups.get(name)
    if group is None:
        return {}
    found = {f"groups.{name}.needs.{n}": need for n, need in enumerate(group.needs)}
    for agent_name, agent in group.agents.items():
        found |= {f"groups.{name}.agents.{agent_name}.needs.{n}": need for n, need in enumerate(agent.needs)}
    return {key: need for key, need in found.items() if need.name == service}


def _group_rules(platform: str, needs: Iterable[Need]) -> tuple[str, ...]:
    keys: list[str] = []
    channels: list[str] = []
    commands: tuple[str, ...] = READ
    for need in needs:
        mark = "%R~" if need.access == "read" else "~"
        keys += [f"{mark}{pattern}" for pattern in need.keys or [f"{platform}:*"]]
        channels += [f"&{pattern}" for pattern in need.channels or [f"{platform}:*"]]
        commands = commands if need.access == "read" else READ_WRITE
    return tuple(dict.fromkeys([*keys, *channels])) + commands


def _user_rules(user: RedisUser) -> tuple[str, ...]:
    patterns = [f"~{key}" for key in user.keys] + [f"&{channel}" for channel in user.channels]
    return (*patterns, "-@all", *(f"+{command}" for command in user.commands))


def _check_user(user: RedisUser, key: str) -> list[Problem]:
    problems = _check_patterns(user.keys, f"{key}.keys") + _check_patterns(user.channels, f"{key}.channels")
    for number, command in enumerate(user.commands):
        name = command.removeprefix("@")
        known = name in CATEGORIES if command.startswith("@") else bool(_COMMAND.fullmatch(command))
        if not known:
            allowed = "a command such as get or client|list, or @ and one of " + ", ".join(sorted(CATEGORIES))
            problem = Problem("is no command", key=f"{key}.commands.{number}", given=repr(command), allowed=allowed)
            problems.append(problem)
    return problems


def _check_patterns(patterns: Iterable[str], key: str) -> list[Problem]:
    allowed = f"1 to {_LONGEST_PATTERN} printable characters without blanks"
    return [
        Problem("an access list cannot hold this pattern", key=f"{key}.{number}", given=repr(pattern), allowed=allowed)
        for number, pattern in enumerate(patterns)
        if not is_pattern(pattern)
    ]


def is_pattern(pattern: str) -> bool:
    """Whether a pattern is one word of an access list: Redis splits at blanks and knows no quotes."""
    return 0 < len(pattern) <= _LONGEST_PATTERN and pattern.isprintable() and not any(map(str.isspace, pattern))


def hash_password(password: str) -> str:
    """What an access list holds in place of a password (``#`` and this): SHA-256 in hexadecimal."""
    return hashlib.sha256(password.encode()).hexdigest()


def render_access(access: Iterable[Access], hashes: Mapping[str, str], operator_hash: str) -> str:
    """Return the file: nobody gets in without a name and a password. It cannot hold comments.

    ``hashes`` are the clients' passwords as ``hash_password`` gives them, ``operator_hash`` that of root's own.
    """
    # Off: no connection is ever this user. But Redis replays its append-only file as it and checks the commands of
    # transactions against its rules: without rights, they would be lost at every start (redis/redis#14541).
    lines = ["user default off resetpass ~* &* +@all"]
    lines.append(_line(OPERATOR, operator_hash, ["~*", "&*", "+@all"]))
    lines += [_line(one.client, hashes[one.client], one.rules) for one in access]
    return "\n".join(lines) + "\n"


def _line(user: str, password_hash: str, rules: Iterable[str]) -> str:
    return " ".join([f"user {user} on resetpass #{password_hash} resetkeys resetchannels", *rules])
