#!/usr/bin/env python3
"""Looks after a server of Consul from its own host, with the standard library alone.

consul-admin ready ADDRESS PORT SERVERS AUTHORITY CERTIFICATE KEY
                                wait until it answers and, with a majority there, has a leader and
                                access control (at most 60 s)
consul-admin differences FILE   print how policies and tokens differ from FILE
consul-admin apply FILE         make, change and remove them until they do not

Interface: Consul, HTTP API, "ACL" and "Status".
"""

from __future__ import annotations

import json
import ssl
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PATIENCE = 60.0
PREFIX = "groundwork"
MANAGEMENT_POLICY = "00000000-0000-0000-0000-000000000001"
"""The built-in policy that allows everything (Consul, ACL system)."""
# What Consul itself calls the token that it makes from its configuration, before and since 1.11.
OWN_TOKENS = ("Master Token", "Initial Management Token")


Change = tuple[str, list[tuple[str, str, Any]]]
"""What differs in words, and the requests that mend it."""


class AdminError(Exception):
    """What went wrong, in one line without a secret."""


class Api:
    """Consul's interface as the server's own certificate and one token see it."""

    def __init__(self, address: str, port: int, authority: str, certificate: str, key: str, token: str = "") -> None:
        host = f"[{address}]" if ":" in address else address
        self._root, self._token = f"https://{host}:{port}/v1", token
        context = ssl.create_default_context(cafile=authority)
        context.load_cert_chain(certificate, key)
        handlers = (urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
        self._opener = urllib.request.build_opener(*handlers)

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """The answer as JSON; None where there is nothing of that name. Raises AdminError, OSError."""
        data = json.dumps(body).encode() if body is not None else None
        headers = {"X-Consul-Token": self._token} if self._token else {}
        request = urllib.request.Request(f"{self._root}/{path}", data=data, method=method, headers=headers)
        try:
            with self._opener.open(request, timeout=10) as answer:
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            text = error.read().decode(errors="replace").strip()
            # Consul answers 403 where it knows no token of an accessor, 404 since 1.14. The same words about anything
            # else are about the token that asks.
            asks_for_token = method == "GET" and path.startswith("acl/token/")
            if error.code == 404 or (asks_for_token and ("not found" in text or "does not exist" in text)):
                return None
            if error.code >= 500:
                raise OSError(f"{path}: {error.code} {text[:200]}") from None
            raise AdminError(f"{path}: {error.code} {text[:200]}") from None


def wait_for_leader(api: Api) -> None:
    """Return once there is a leader that answers. Raises AdminError after a minute without one."""
    end = time.monotonic() + PATIENCE
    reason = "there is no leader"
    while time.monotonic() < end:
        try:
            if api.ask("GET", "status/leader"):
                return
        except (OSError, AdminError) as error:
            reason = str(error)
        time.sleep(0.3)
    raise AdminError(reason)


def in_legacy_mode(api: Api) -> bool:
    """Whether the server still waits for its cluster to take up access control (Consul before 1.11).

    Each server leaves that mode by itself once it has heard of the leader's having left it; until then it answers
    every request about access control with 500.
    """
    try:
        api.ask("GET", "acl/token/self")
    except AdminError:
        return False
    except OSError as error:
        if "legacy mode" in str(error):
            return True
        raise
    return False


def get_ready(arguments: list[str]) -> None:
    """Wait until a server answers, and for a leader where it stands alone or others are up."""
    address, port, servers, authority, certificate, key = arguments
    api = Api(address, int(port), authority, certificate, key)
    end = time.monotonic() + PATIENCE
    while True:
        try:
            ready = api.ask("GET", "status/leader") and not in_legacy_mode(api)
            # At the very first start of a cluster the others may come later than this one's patience lasts.
            if ready or (int(servers) > 1 and time.monotonic() > end - PATIENCE / 2):
                return
        except (OSError, AdminError) as error:
            if time.monotonic() > end:
                raise AdminError(f"does not answer: {error}") from None
        if time.monotonic() > end:
            raise AdminError("there is no leader")
        time.sleep(0.2)


def open_access(path: str) -> tuple[dict[str, Any], Api]:
    """What is declared, and the interface with the management token."""
    wanted: dict[str, Any] = json.loads(Path(path).read_text())
    files = (wanted["authority"], wanted["certificate"], wanted["key"])
    return wanted, Api(wanted["address"], wanted["port"], *files, token=wanted["management"])


def list_changes(wanted: dict[str, Any], api: Api) -> Iterator[Change]:
    """Yield what differs in words, and the requests that mend it, in their order."""
    policies = {one["Name"]: one["ID"] for one in api.ask("GET", "acl/policies") or []}
    for name, rules in wanted["policies"].items():
        body = {"Name": name, "Rules": rules, "Description": "made by Groundwork"}
        if name not in policies:
            yield f"policy {name}: absent", [("PUT", "acl/policy", body)]
        elif (api.ask("GET", f"acl/policy/{policies[name]}") or {}).get("Rules") != rules:
            yield (
                f"policy {name}: other rules",
                [("PUT", f"acl/policy/{policies[name]}", {"ID": policies[name], **body})],
            )
    for accessor, token in wanted["tokens"].items():
        found = api.ask("GET", f"acl/token/{accessor}")
        body = {
            "AccessorID": accessor,
            "SecretID": token["secret"],
            "Description": token["description"],
            "Policies": [{"Name": token["policy"]}],
        }
        if found is None:
            yield f"token of {token['description']}: absent", [("PUT", "acl/token", body)]
        elif found["SecretID"] != token["secret"]:
            # A token's secret cannot be changed.
            requests = [("DELETE", f"acl/token/{accessor}", None), ("PUT", "acl/token", body)]
            yield f"token of {token['description']}: another secret", requests
        elif [one["Name"] for one in found.get("Policies") or []] != [token["policy"]]:
            yield f"token of {token['description']}: other policies", [("PUT", f"acl/token/{accessor}", body)]
    yield from _list_leftovers(wanted, api, policies)


def _list_leftovers(wanted: dict[str, Any], api: Api, policies: dict[str, str]) -> Iterator[Change]:
    """Tokens and policies of ours that are no longer declared, and former management tokens."""
    own = (api.ask("GET", "acl/token/self") or {}).get("AccessorID")
    for token in api.ask("GET", "acl/tokens") or []:
        accessor, description = token["AccessorID"], token.get("Description") or ""
        ours = description.startswith(f"{PREFIX}: ") and accessor not in wanted["tokens"]
        managing = any(one["ID"] == MANAGEMENT_POLICY for one in token.get("Policies") or [])
        former = managing and accessor != own and any(description.startswith(one) for one in OWN_TOKENS)
        if ours or former:
            yield f"token {accessor} of {description}: not declared", [("DELETE", f"acl/token/{accessor}", None)]
    for name, identity in policies.items():
        if name.startswith(f"{PREFIX}-") and name not in wanted["policies"]:
            yield f"policy {name}: not declared", [("DELETE", f"acl/policy/{identity}", None)]


def apply(path: str) -> None:
    """Bring policies and tokens to what the file says. Raises AdminError."""
    wanted, api = open_access(path)
    wait_for_leader(api)
    end = time.monotonic() + PATIENCE
    while True:
        try:
            changes = list(list_changes(wanted, api))
            for _, requests in changes:
                for method, where, body in requests:
                    api.ask(method, where, body)
            if not changes:
                return
        except AdminError as error:
            # The leader makes the management token a moment after it has become leader.
            if time.monotonic() > end or "403" not in str(error):
                raise
            time.sleep(0.5)
        except OSError as error:
            if time.monotonic() > end:
                raise AdminError(str(error)) from None
            time.sleep(0.5)
        if time.monotonic() > end:
            raise AdminError("policies and tokens do not become as declared")


def main(arguments: list[str]) -> int:
    """Run the program; 1 with one line of reason where it cannot do what it is told."""
    verb, *rest = arguments
    try:
        if verb == "ready":
            get_ready(rest)
        elif verb == "differences":
            for line, _ in list_changes(*open_access(rest[0])):
                print(line)
        elif verb == "apply":
            apply(rest[0])
        else:
            raise AdminError(f"unknown verb {verb}")
    except (AdminError, OSError) as error:
        print(f"consul-admin: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
