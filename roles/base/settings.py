"""The plain values of the inventory that ``base`` reads, checked before a host is changed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, StringConstraints, ValidationError, field_validator
from pydantic_core import PydanticCustomError

from groundwork.manifest.values import Duration, Flag, Model, Size
from groundwork.problems import Problem, ProblemError

_KEY = re.compile(
    r"(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(256|384|521)|sk-ssh-ed25519@openssh\.com|"
    r"sk-ecdsa-sha2-nistp256@openssh\.com) AAAA[A-Za-z0-9+/]+={0,3}( [^\x00-\x1f\x7f]+)?"
)
# Accounts that every Debian has (base-passwd), and the one whose loss would lock everybody out.
SYSTEM_ACCOUNTS = frozenset(
    [
        "root", "daemon", "bin", "sys", "sync", "games", "man", "lp", "mail", "news", "uucp", "proxy", "www-data",
        "backup", "list", "irc", "nobody", "_apt", "sshd", "redis",
    ]
)  # fmt: skip

AccountName = Annotated[str, StringConstraints(pattern=r"^[a-z_][a-z0-9_-]{0,31}$")]
PackageName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.+-]+$", max_length=100)]
ServerName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9]([A-Za-z0-9.:-]*[A-Za-z0-9])?$", max_length=253)]


class Operator(Model):
    """A person who may log in."""

    keys: Annotated[list[str], Field(min_length=1)]
    """Public SSH keys, each one line as in an authorized_keys file; no others are accepted for this account."""
    sudo: Flag = True
    """Whether the account may become root. There are no passwords, so sudo asks for none."""

    @field_validator("keys")
    @classmethod
    def _public_keys(cls, keys: list[str]) -> list[str]:
        for key in keys:
            if not _KEY.fullmatch(key):
                allowed = "one line such as 'ssh-ed25519 AAAA... name'; a public key, without options"
                # The value is not shown: somebody may have pasted the private half.
                raise PydanticCustomError("groundwork", "is not a public SSH key", {"allowed": allowed})
        return keys


class HostSettings(Model):
    """Everything of the inventory's data that ``base`` uses; each name is a host datum."""

    operators: dict[AccountName, Operator] = {}
    """People who may log in, by account name."""
    timezone: Annotated[str, StringConstraints(pattern=r"^[A-Za-z]+([/_+-][A-Za-z0-9_+-]+)*$", max_length=64)] = (
        "Etc/UTC"
    )
    """Name of the time zone database."""
    locale: Annotated[str, StringConstraints(pattern=r"^(C|POSIX|C\.UTF-8|[a-z]{2,3}_[A-Z]{2}\.UTF-8)$")] = "C.UTF-8"
    """Default language of programs."""
    journal_maximum: Size = 1024**3
    """What the journal takes on the disk at most."""
    journal_keep_free: Size = 512 * 1024**2
    """What the journal leaves free on the disk."""
    journal_retention: Duration = 30 * 86400.0
    """How long entries are kept."""
    security_upgrades: Flag = True
    """Install Debian's security updates every day."""
    security_upgrades_reboot: Annotated[str, StringConstraints(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")] | None = (
        None
    )
    """Time of day (host's time zone) to reboot when an update asks for it; never where left out."""
    held_packages: list[PackageName] = []
    """Packages that are never upgraded by themselves."""
    time_servers: list[ServerName] = []
    """NTP servers; Debian's pool where left out."""
    release: Annotated[str, StringConstraints(pattern=r"^[a-z]+$")] | None = None
    """Codename that the host is expected to run."""

    @field_validator("operators")
    @classmethod
    def _no_system_accounts(cls, operators: dict[str, Operator]) -> dict[str, Operator]:
        for name in operators:
            if name in SYSTEM_ACCOUNTS:
                details = {"allowed": "a person's account", "given": name}
                raise PydanticCustomError("groundwork", "is an account of the system", details)
        return operators


def read_settings(data: Mapping[str, Any], host: str) -> HostSettings:
    """Read a host's settings from its data.

    Raises ProblemError with every wrong value, named by its key.
    """
    given = {key: data[key] for key in HostSettings.model_fields if data.get(key) is not None}
    try:
        return HostSettings.model_validate(given)
    except ValidationError as error:
        raise ProblemError(_describe(dict(item), host) for item in error.errors(include_url=False)) from None


def _describe(error: dict[str, Any], host: str) -> Problem:
    context = error.get("ctx", {})
    location = [str(part) for part in error["loc"] if part != "[key]"]
    shown = context.get("given", error.get("input"))
    given = repr(shown) if isinstance(shown, (str, int, float, bool)) and "keys" not in location else ""
    allowed = str(context.get("allowed") or context.get("pattern") or "")
    return Problem(error["msg"], file=f"host {host}", key=".".join(location), given=given, allowed=allowed)
