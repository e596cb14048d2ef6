"""What a host says of its Python, its systemd, and the releases it has."""

from __future__ import annotations

import json
import re
from typing import TypedDict

from pyinfra.api import FactBase, QuoteString, StringCommand
from typing_extensions import override

from roles.agent_runtime.accounts import package_name

LIBRARY = "/usr/local/lib/groundwork"
# The Python of each supported Debian, for hosts that have none yet.
_DEBIAN_PYTHON = {"12": "3.11", "13": "3.13"}
_DEFAULT = {"python": "3.13", "machine": "x86_64", "systemd": "252"}


class HostBase(TypedDict):
    """Python's minor version (that the host has, or would get), the machine, and systemd's version."""

    python: str
    machine: str
    systemd: int


class HostSystem(FactBase[HostBase]):
    """The host's Python, machine and systemd; of a bare host, what its Debian release would bring."""

    @override
    def command(self) -> str:
        return (
            "echo python $(/usr/bin/python3 --version 2>/dev/null); echo machine $(uname -m); "
            "echo systemd $(systemctl --version 2>/dev/null | head -n 1); "
            "echo debian $(. /etc/os-release 2>/dev/null && echo $VERSION_ID)"
        )

    @override
    def process(self, output: list[str]) -> HostBase:
        found = dict(line.partition(" ")[::2] for line in output)
        python = re.search(r"(\d+\.\d+)", found.get("python", ""))
        debian = _DEBIAN_PYTHON.get(found.get("debian", "").strip(), _DEFAULT["python"])
        systemd = re.search(r"(\d+)", found.get("systemd", ""))
        return {
            "python": python[1] if python else debian,
            "machine": found.get("machine", "").strip() or _DEFAULT["machine"],
            "systemd": int(systemd[1] if systemd else _DEFAULT["systemd"]),
        }


class RuntimeStatus(TypedDict):
    """Complete releases; staged generations with their damaged files; which is live and which proven; what of the
    live one is not in force."""

    releases: list[str]
    generations: dict[str, list[str]]
    live: str
    proven: str
    lags: list[str]


def _no_status() -> RuntimeStatus:
    return {"releases": [], "generations": {}, "live": "", "proven": "", "lags": []}


class Releases(FactBase[RuntimeStatus]):
    """The state of one platform's runtime, as the host's own helper reports it; empty where there is none."""

    default = staticmethod(_no_status)

    @override
    def command(self, platform: str) -> StringCommand:
        package = package_name(platform)
        return StringCommand(
            f"! test -f {LIBRARY}/{package}/__main__.py || ! test -x /usr/bin/python3 ||",
            f"PYTHONPATH={LIBRARY} PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 -m {package}",
            QuoteString(platform),
            # A damaged helper counts as none: it is mended before the operations that need it.
            "status 2>/dev/null || true",
        )

    @override
    def process(self, output: list[str]) -> RuntimeStatus:
        status: RuntimeStatus = {**_no_status(), **json.loads("".join(output))}
        return status
