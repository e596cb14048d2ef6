#!/usr/bin/env python3
"""Compares what a running Redis goes by with its files, settings and users, with the standard library alone.

redis-settings differences CONFIGURATION SOCKET PASSWORD    print what differs, a line each, never a password's hash
redis-settings restore CONFIGURATION SOCKET PASSWORD        set it as the files say; 1 where only a restart can

PASSWORD is the file with the local operator's. Interface: redis.io, "Redis configuration", CONFIG GET and ACL LIST.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

# Units of memory in the file; answers are in bytes (redis.conf, "Note on units").
UNITS = {"": 1, "b": 1, "k": 1000, "kb": 1 << 10, "m": 10**6, "mb": 1 << 20, "g": 10**9, "gb": 1 << 30}
SIZE = re.compile(r"(\d+)(k|kb|m|mb|g|gb|b)", re.IGNORECASE)
# Which server one follows is decided while it runs, and passwords are not for printing.
LEFT_OUT = {"include", "replicaof", "user", "masteruser", "masterauth", "aclfile"}
BUFFER_LIMIT = "client-output-buffer-limit"
AS_GIVEN = (7, 2)
"""From this release on ``ACL LIST`` answers the words of a user's commands as they were given."""
# Words of a user's rules that say what holds without them, or begin anew what then follows.
IDLE_WORDS = {"resetpass", "resetkeys", "resetchannels", "sanitize-payload", "-@all"}


class SettingsError(Exception):
    """What went wrong, in one line without a secret."""


def normalise(word: str) -> str:
    """A value as Redis answers it: sizes in bytes, a replica's class by its former name."""
    size = SIZE.fullmatch(word)
    if size:
        return str(int(size[1]) * UNITS[size[2].lower()])
    return "slave" if word == "replica" else word


def read_file(text: str) -> dict[str, str]:
    """The settings of a configuration file, each as ``CONFIG GET`` would answer it."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, *words = shlex.split(line)
        if name in LEFT_OUT:
            continue
        value = " ".join(normalise(word) for word in words)
        if name in ("save", BUFFER_LIMIT):
            found.setdefault(name, []).append(value)
        else:
            found[name] = [value]
    return {name: " ".join(values).strip() for name, values in found.items()}


def list_differences(wanted: dict[str, str], running: dict[str, str]) -> Iterator[tuple[str, str, str]]:
    """Yield name, declared and running value of what differs; what a release does not know is left out."""
    for name, value in wanted.items():
        there = running.get(name)
        if there is None:
            continue
        if name == BUFFER_LIMIT:
            # The order of the classes is the server's own.
            if sorted(_classes(value)) != sorted(_classes(there)):
                yield name, value, there
        elif value != there:
            yield name, value, there


def _classes(value: str) -> list[tuple[str, ...]]:
    words = value.split()
    return [tuple(words[at : at + 4]) for at in range(0, len(words), 4)]


def read_users(lines: Iterable[str], whole: bool = True) -> dict[str, list[str]]:
    """Rules by user, of an access list or of what ``ACL LIST`` answers; of commands, the last word counts.

    Redis 7.0 lists what categories meant, in words of its own. Not ``whole``: of commands only what it begins with and
    whether anything was added or taken away.
    """
    found = {}
    for line in lines:
        words = line.split()
        if words[:1] == ["user"]:
            rules = [word for word in words[2:] if word not in IDLE_WORDS]
            commands = [word for word in rules if word[0] in "+-"]
            others = sorted(set(rules) - set(commands))
            if all(word[0] == "+" and word[1] != "@" for word in commands):
                # Commands one by one: their order says nothing, and is not the same in every release.
                commands.sort()
            elif not whole:
                commands = [*commands[:1], "..."][: len(commands)]
            found[words[1]] = others + commands
    return found


def list_user_differences(wanted: dict[str, list[str]], running: dict[str, list[str]]) -> Iterator[str]:
    """Yield in words which users are too many, are missing, or have other rights."""
    for name in sorted({*wanted, *running}):
        if name not in wanted:
            yield f"a user that is not declared: {name}"
        elif name not in running:
            yield f"no user {name}"
        elif wanted[name] != running[name]:
            yield f"other rights of user {name}"


def ask(socket: str, password: Path, *commands: str) -> list[str]:
    """The answers to inline commands, one line of JSON each. Raises SettingsError."""
    told = "\n".join([f"AUTH _operator {password.read_text().strip()}", *commands, ""])
    line = ["redis-cli", "-2", "--json", "-s", socket]
    done = subprocess.run(line, input=told, capture_output=True, text=True, timeout=30, check=False)
    answers = done.stdout.splitlines()
    if done.returncode or len(answers) != len(commands) + 1 or json.loads(answers[0]) != "OK":
        raise SettingsError("the server does not let its local operator in")
    return answers[1:]


def read_running(socket: str, password: Path) -> tuple[dict[str, str], list[str], bool]:
    """All settings that the server goes by, its users, and whether it lists their rights as they were given."""
    commands = ("CONFIG GET *", "ACL LIST", "HELLO")
    settings, users, server = (json.loads(answer) for answer in ask(socket, password, *commands))
    version = _pairs(server)["version"].split(".")
    return _pairs(settings), users, tuple(map(int, version[:2])) >= AS_GIVEN


def _pairs(answer: Any) -> dict[str, str]:
    """A map, which the older protocol sends as a list of keys and values in turn."""
    found = answer if isinstance(answer, dict) else dict(zip(answer[::2], answer[1::2], strict=True))
    return {name: str(value) for name, value in found.items()}


def main(arguments: list[str]) -> int:
    """Run the program; 1 with one line of reason where it cannot do what it is told."""
    verb, configuration, socket, password = arguments
    try:
        text = Path(configuration).read_text()
        settings, listed, as_given = read_running(socket, Path(password))
        differing = list(list_differences(read_file(text), settings))
        (access_list,) = re.findall(r"^aclfile (.+)$", text, re.MULTILINE)
        users = read_users(Path(access_list).read_text().splitlines(), as_given)
        strangers = list(list_user_differences(users, read_users(listed, as_given)))
        if verb == "restore":
            commands = [f"CONFIG SET {name} {json.dumps(value)}" for name, value, _ in differing]
            commands += ["ACL LOAD"] if strangers else []
            for answer in ask(socket, Path(password), *commands) if commands else ():
                if json.loads(answer) != "OK":
                    raise SettingsError(f"not while it runs: {answer[:200]}")
            return 0
        for name, value, there in differing:
            print(f"{name}: {there!r}, declared is {value!r}")
        print(*strangers, sep="\n", end="\n" if strangers else "")
    except (OSError, ValueError, SettingsError, subprocess.SubprocessError) as error:
        print(f"redis-settings: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
