"""Backups, recovery, maintenance windows and the passes that run by themselves."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from groundwork.manifest.values import Calendar, Duration, HostGroup, Model, Name, Port


class Retention(Model):
    """Backups kept of each age."""

    daily: Annotated[int, Field(strict=True, ge=0, le=3660)] = 7
    weekly: Annotated[int, Field(strict=True, ge=0, le=520)] = 4
    monthly: Annotated[int, Field(strict=True, ge=0, le=120)] = 12


class BackupItem(Model):
    """One thing that is backed up."""

    what: Literal[
        "postgresql", "redis", "nats", "files", "configuration", "authority", "secrets", "volumes", "kubernetes"
    ]
    service: Name | None = None
    """The service, for postgresql, redis and nats."""
    hosts: HostGroup | None = None
    """The hosts, for files and configuration."""
    paths: list[Annotated[str, Field(pattern=r"^/[^\n]*$")]] = []
    schedule: Calendar = "daily"
    full_schedule: Calendar | None = None
    """PostgreSQL: when a full backup is made; the others are differential."""
    retention: Retention = Retention()


class BackupRepository(Model):
    """Where backups go."""

    kind: Literal["host", "directory", "s3"]
    hosts: HostGroup | None = None
    path: Annotated[str, Field(pattern=r"^/[A-Za-z0-9._@/-]*$")] = "/var/lib/groundwork/backup"
    port: Port = 8743
    """Where the host that keeps it answers other hosts' backups, for kind host."""
    endpoint: str | None = None
    bucket: str | None = None
    credentials_secret: Name | None = None
    encryption_secret: Name = "backup_encryption"


class Backup(Model):
    """The backup policy of the platform."""

    repository: BackupRepository
    copies: Annotated[list[BackupRepository], Field(max_length=5)] = []
    """Further repositories that every backup is uploaded to."""
    items: dict[Name, BackupItem]


class Recovery(Model):
    """What a recovery must achieve; rehearsals are measured against it."""

    rto: Duration
    """Time from the disaster to the first correct answer."""
    rpo: Duration
    """Age of the newest data that may be lost."""


class MaintenanceWindow(Model):
    """A time in which disturbing work may be done."""

    calendar: Calendar
    duration: Annotated[Duration, Field(ge=60, le=172_800)]
    description: str = ""


class Schedule(Model):
    """A pass that runs by itself on the controller host."""

    task: Literal[
        "harden_check", "harden_enforce", "verify", "drift", "rotate_certificates", "backup_check", "rehearse",
        "health", "resilience", "load", "scan", "archive", "clean", "rotate_secrets", "review",
    ]  # fmt: skip
    calendar: Calendar
    window: Name | None = None
    """Runs only within this maintenance window."""
    arguments: dict[Name, str] = {}
