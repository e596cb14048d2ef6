"""Which addresses and bare names of a host a site answers at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from groundwork.addresses import bracketed, is_address
from groundwork.problems import Problem, ProblemError


def listen_addresses(address: str, data: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what to listen on: the host's address and those its datum ``public_addresses`` lists.

    ``*`` where the host is known by a name only, since a name may resolve to a router's address. Raises
    ProblemError when a public address is none.
    """
    extra = data.get("public_addresses") or ()
    public = [str(item) for item in ([extra] if isinstance(extra, str) else extra)]
    wrong = [item for item in public if not is_address(item)]
    if wrong:
        message = "is not an IP address"
        raise ProblemError([Problem(message, key="public_addresses", given=item) for item in wrong])
    if not is_address(address):
        return ("*",)
    return tuple(dict.fromkeys(bracketed(item) for item in (address, *public)))


def host_names(host: str) -> list[str]:
    """Return the inventory's name of a host where it can stand in a certificate; empty where not."""
    name = host.removeprefix("@ssh/").lower()
    plain = all(letter.isalnum() or letter in ".-" for letter in name)
    return [name] if plain and name.isascii() and not is_address(name) else []
