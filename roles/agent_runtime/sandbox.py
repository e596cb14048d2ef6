"""The sandbox of an agent's unit: everything closed, and what a GPU or a just-in-time compiler needs opened again."""

from __future__ import annotations

Setting = tuple[str, str]

# Measured one by one in research/systemd-and-secrets.md; with a static user, what DynamicUser= implies is spelled out.
_ALWAYS: tuple[Setting, ...] = (
    ("NoNewPrivileges", "yes"),
    ("CapabilityBoundingSet", ""),
    ("AmbientCapabilities", ""),
    ("PrivateTmp", "yes"),
    ("PrivateMounts", "yes"),
    ("ProtectSystem", "strict"),
    ("ProtectHome", "yes"),
    ("ProtectProc", "invisible"),
    ("ProtectClock", "yes"),
    ("ProtectHostname", "yes"),
    ("ProtectKernelLogs", "yes"),
    ("ProtectKernelModules", "yes"),
    ("ProtectKernelTunables", "yes"),
    ("ProtectControlGroups", "yes"),
    ("RestrictNamespaces", "yes"),
    ("RestrictRealtime", "yes"),
    ("RestrictSUIDSGID", "yes"),
    ("LockPersonality", "yes"),
    ("RemoveIPC", "yes"),
    ("KeyringMode", "private"),
    ("Delegate", "no"),
    ("UMask", "0077"),
    ("SystemCallArchitectures", "native"),
    ("SystemCallFilter", "@system-service"),
    ("SystemCallFilter", "~@privileged @resources"),
    ("SystemCallErrorNumber", "EPERM"),
    ("DevicePolicy", "closed"),
)
_WITHOUT_GPU: tuple[Setting, ...] = (
    ("PrivateDevices", "yes"),
    ("PrivateUsers", "yes"),
    ("ProcSubset", "pid"),
    ("RestrictAddressFamilies", "AF_INET AF_INET6 AF_UNIX"),
)
# Device files belong to groups that PrivateUsers= would hide; CUDA reads /proc/cpuinfo and locks memory, NCCL
# asks netlink for the interfaces.
_WITH_GPU: tuple[Setting, ...] = (
    ("RestrictAddressFamilies", "AF_INET AF_INET6 AF_UNIX AF_NETLINK"),
    ("LimitMEMLOCK", "infinity"),
)


def list_devices(card: int | None, cards: int) -> tuple[str, ...]:
    """Device files of one card, or of all ``cards`` of the host, with the driver's own and those of MIG instances."""
    numbers = range(cards) if card is None else (card,)
    nodes = [f"/dev/nvidia{number}" for number in numbers]
    return (*nodes, "/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools", "char-nvidia-caps")


def build_sandbox(devices: tuple[str, ...], code_generation: bool) -> tuple[Setting, ...]:
    """Settings of the [Service] section.

    ``devices`` are those of a GPU share, none for other units; ``code_generation`` allows memory that is writable and
    executable. A unit with devices may generate code too, since CUDA compiles kernels when they are first used.
    """
    settings = [*_ALWAYS, *(_WITH_GPU if devices else _WITHOUT_GPU)]
    if not devices and not code_generation:
        settings.append(("MemoryDenyWriteExecute", "yes"))
    settings += [("DeviceAllow", f"{device} rw") for device in devices]
    return tuple(settings)
