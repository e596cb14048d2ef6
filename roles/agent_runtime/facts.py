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
_DEFAULT = {"python": "3.13", "machine": "x86_64", "systemd": "252", "debian": "13"}


class HostBase(TypedDict):
    """Python's minor version (that the host has, or would get), the machine, systemd's version, and Debian's."""

    python: str
    machine: str
    systemd: int
    debian: str


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
        release = found.get("debian", "").strip() or _DEFAULT["debian"]
        debian = _DEBIAN_PYTHON.get(release, _DEFAULT["python"])
        systemd = re.search(r"(\d+)", found.get("systemd", ""))
        return {
            "python": python[1] if python else debian,
            "machine": found.get("machine", "").strip() or _DEFAULT["machine"],
            "systemd": int(systemd[1] if systemd else _DEFAULT["systemd"]),
            "debian": release,
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


class Images(FactBase[list[str]]):
    """Names of the engine's images, as NAME:TAG and as NAME@DIGEST; none where no engine runs."""

    default = list

    @override
    def command(self) -> str:
        # Asking by way of the socket would start an engine that somebody has stopped.
        return (
            "! systemctl --quiet is-active docker.service || { "
            "docker image ls --format '{{.Repository}}:{{.Tag}}'; "
            "docker image ls --digests --format '{{.Repository}}@{{.Digest}}'; }"
        )

    @override
    def process(self, output: list[str]) -> list[str]:
        return [line.strip() for line in output if "<none>" not in line]


class PlatformImages(FactBase[list[str]]):
    """Names of the images that were made, or accepted, for one platform; none where no engine runs."""

    default = list

    @override
    def command(self, platform: str) -> StringCommand:
        form = "--format '{{.Repository}}:{{.Tag}}'"
        return StringCommand(
            "! systemctl --quiet is-active docker.service || {",
            f"docker image ls {form} --filter",
            QuoteString(f"label=groundwork.platform={platform}"),
            f"; docker image ls {form}",
            QuoteString(f"groundwork/accepted-{platform}"),
            "; }",
        )

    @override
    def process(self, output: list[str]) -> list[str]:
        return [line.strip() for line in output if "<none>" not in line]


class SignatureCheck(FactBase[str]):
    """The program that checks images' signatures: its path, its package where it can be installed, or nothing."""

    default = str

    @override
    def command(self) -> str:
        return (
            "PATH=/usr/local/bin:$PATH command -v cosign || "
            "{ apt-cache show cosign 2>/dev/null | grep -qx 'Package: cosign' && echo cosign; } || true"
        )

    @override
    def process(self, output: list[str]) -> str:
        return output[0].strip() if output else ""
