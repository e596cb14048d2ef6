"""What a host says of its container engine and of what its kernel lets containers have."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field

from pyinfra.api import FactBase
from typing_extensions import override

from roles.container_engine.plan import CONFIGURATION


@dataclass(frozen=True)
class EngineState:
    """``configuration`` is the text of daemon.json, None where there is none; ``foreign`` are containers that no
    platform of ours declares."""

    installed: bool = False
    configuration: str | None = None
    maps_users: bool = False
    foreign: tuple[str, ...] = field(default=())

    @property
    def declares_mapping(self) -> bool:
        """Whether the configuration says that users are mapped, should the engine not run."""
        return '"userns-remap"' in (self.configuration or "")


class Engine(FactBase[EngineState]):
    """The engine as it is, before anything is changed. Asks one that runs, and starts none."""

    default = EngineState

    @override
    def command(self) -> str:
        return (
            "command -v dockerd >/dev/null && echo installed; "
            f"test -f {CONFIGURATION} && echo file $(base64 -w0 {CONFIGURATION}); "
            "systemctl --quiet is-active docker.service && { "
            "docker info --format '{{json .SecurityOptions}}' | sed 's/^/options /'; "
            "docker ps --all --format '{{.Names}} {{.Label \"groundwork.platform\"}}' "
            "| awk 'NF == 1 {print \"foreign\", $1}'; }; true"
        )

    @override
    def process(self, output: list[str]) -> EngineState:
        found: dict[str, list[str]] = {}
        for line in output:
            word, _, rest = line.strip().partition(" ")
            found.setdefault(word, []).append(rest)
        options = json.loads((found.get("options") or ["[]"])[0]) or []
        file = found.get("file")
        return EngineState(
            installed="installed" in found,
            configuration=base64.b64decode(file[0]).decode(errors="replace") if file else None,
            maps_users=any(str(option).startswith("name=userns") for option in options),
            foreign=tuple(found.get("foreign", ())),
        )


class UserNamespaces(FactBase[str]):
    """Why a container could not have a user namespace of its own; empty where it could.

    What runc does for a container is tried: a user namespace with the network, process and mount namespaces that
    belong to it, and in them /proc and /sys.
    """

    default = str

    @override
    def requires_command(self) -> str:
        return "unshare"

    @override
    def command(self) -> str:
        script = "mount -t proc proc /proc && mount -t sysfs sysfs /sys"
        return f"unshare --user --map-root-user --net --pid --fork --mount sh -c '{script}' 2>&1 | head -n 1"

    @override
    def process(self, output: list[str]) -> str:
        return output[0].strip() if output else ""
