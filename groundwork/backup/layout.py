"""Where the role ``backup`` puts things on hosts, for the role and the commands that call what it put there."""

from __future__ import annotations

from collections.abc import Iterable

from groundwork.authority.paths import CONFIGURATION

PACKAGE = "backup_jobs"
ACCOUNT = "groundwork-backup"
"""Account that keeps repositories for other hosts."""
STATE = "groundwork-backup"
"""Name of the programs' folder below /var/lib."""
CACHE = "/var/cache/groundwork-backup"


def library(platform: str) -> str:
    """Folder of the Python package that makes, checks and restores sets."""
    return f"/usr/local/lib/groundwork/{platform}/{PACKAGE}"


def command(platform: str, *words: str) -> list[str]:
    """Argument vector of that program, for root."""
    folder = library(platform).rpartition("/")[0]
    start = ["/usr/bin/env", f"PYTHONPATH={folder}", "/usr/bin/python3", "-B", "-m", PACKAGE]
    return [*start, *words]


def settings_folder(platform: str) -> str:
    """Folder of the settings."""
    return f"{CONFIGURATION}/{platform}/backup"


def job_settings(platform: str, item: str) -> str:
    """Settings of an item's job on its host."""
    return f"{settings_folder(platform)}/job-{item}.json"


def kept_settings(platform: str, repository: str, item: str) -> str:
    """Settings by which the host of a repository looks after one item in it."""
    return f"{settings_folder(platform)}/keep-{repository}-{item}.json"


def logins(platform: str, repository: str) -> str:
    """Who may log in at a repository's server (htpasswd)."""
    return credential(platform, f"backup-logins-{repository}")


def credential(platform: str, secret: str) -> str:
    """File of one secret, for root."""
    return f"{CONFIGURATION}/{platform}/credentials/{secret}"


def state_folder(platform: str) -> str:
    """Folder of what the programs remember; data that are put together pass through it."""
    return f"/var/lib/{STATE}/{platform}"


def job_units(platform: str, item: str) -> tuple[str, str]:
    """Service and timer of a job. The service is a template: its instance says who asked, a timer or a command."""
    name = f"groundwork-{platform}-backup-{item}"
    return f"{name}@.service", f"{name}.timer"


def job_instance(platform: str, item: str, by: str) -> str:
    """The service as ``timer`` or ``command`` starts it."""
    return job_units(platform, item)[0].replace("@.", f"@{by}.")


def server_unit(platform: str, repository: str) -> str:
    """The server of a repository."""
    return f"groundwork-{platform}-backup-repository-{repository}.service"


def retention_units(platform: str) -> tuple[str, str]:
    """Service and timer that thin out the repositories of a host."""
    name = f"groundwork-{platform}-backup-retention"
    return f"{name}.service", f"{name}.timer"


def keeper_units(platform: str, repositories: Iterable[str]) -> list[str]:
    """Everything that runs on a host because it keeps repositories."""
    return [*(server_unit(platform, name) for name in repositories), *reversed(retention_units(platform))]
