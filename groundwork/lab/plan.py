"""Decides what a lab is to be: hosts and groups from the platform's manifest, and free addresses."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path

from pydantic import BaseModel, ValidationError

from groundwork.lab.errors import lab_error
from groundwork.lab.state import LabHost, LabSpec
from groundwork.lab.subnets import assign_addresses, choose_subnet
from groundwork.manifest.errors import translate_error
from groundwork.manifest.load import load
from groundwork.manifest.machines import Lab
from groundwork.manifest.overlay import merge
from groundwork.manifest.source import read
from groundwork.problems import ProblemError

DEFAULT_PLATFORM = "chorus"
DEFAULT_RELEASE = "trixie"


class _LabSection(BaseModel):
    """The one section of a manifest that booting hosts needs."""

    lab: Lab


@dataclass(frozen=True)
class WantedHost:
    """A host as the manifest's section ``lab`` wants it: its inventory groups and cards."""

    groups: tuple[str, ...]
    gpus: tuple[str, ...] = ()


def read_lab_hosts(root: Path, platform: str, *, whole: bool = True) -> dict[str, WantedHost]:
    """Return each host that the manifest's ``lab.hosts`` asks for, in order.

    ``whole`` False looks at that section alone, so that hosts can be had while the rest is being written.
    Raises ProblemError with every mistake of the manifest, before anything is started.
    """
    if whole:
        lab = load(root / "platforms", platform, "lab", root=root).platform.lab
    else:
        file = root / "platforms" / f"{platform}.yaml"
        source = read(file, name=f"platforms/{platform}.yaml")
        overlay = file.with_name(f"{platform}.lab.yaml")
        if overlay.is_file():
            source = merge(source, read(overlay, name=f"platforms/{platform}.lab.yaml"))
        try:
            lab = _LabSection.model_validate(source.data).lab
        except ValidationError as error:
            errors = error.errors(include_url=False)
            raise ProblemError([translate_error(dict(e), source, _LabSection) for e in errors]) from None
    return {name: WantedHost(tuple(host.groups), tuple(host.gpus)) for name, host in lab.hosts.items()}


def plan_lab(
    name: str,
    platform: str,
    release: str,
    image: str,
    wanted: dict[str, WantedHost],
    taken: Iterable[IPv4Network],
) -> LabSpec:
    """Return a new lab's specification; ``wanted`` has the hosts by name, ``taken`` is not to be overlapped."""
    subnet = choose_subnet(taken)
    addresses = assign_addresses(subnet, {name: host.groups for name, host in wanted.items()})
    hosts = tuple(LabHost(name, addresses[name], host.groups, host.gpus) for name, host in wanted.items())
    return LabSpec(name, platform, release, image, str(subnet), hosts)


def check_unchanged(spec: LabSpec, platform: str | None, release: str | None) -> None:
    """Raise ProblemError if an existing lab is asked for as something else than it is; None asks for nothing."""
    for key, given, current in (("PLATFORM", platform, spec.platform), ("--release", release, spec.release)):
        if given is not None and given != current:
            name = "" if spec.name == "default" else f" --name {spec.name}"
            raise lab_error(
                f"lab {spec.name} runs {spec.platform} on {spec.release}; run `./gw lab down{name}` first, "
                f"or choose another --name",
                key=key,
                given=given,
                allowed=current,
            )


def check_same_hosts(spec: LabSpec, wanted: dict[str, WantedHost]) -> LabSpec:
    """Return ``spec`` with the manifest's present groups; ProblemError where hosts or cards are others now."""
    cards = {host.name: host.gpus for host in spec.hosts}
    if {name: host.gpus for name, host in wanted.items()} != cards:
        what = "cards of lab hosts" if set(wanted) == set(cards) else "lab hosts"
        raise lab_error(
            f"the manifest's {what} changed since this lab was made; run `./gw lab down` first",
            key="lab.hosts",
            given=", ".join(wanted),
            allowed=", ".join(host.name for host in spec.hosts),
        )
    hosts = tuple(LabHost(h.name, h.address, wanted[h.name].groups, h.gpus) for h in spec.hosts)
    return LabSpec(spec.name, spec.platform, spec.release, spec.image, spec.subnet, hosts)
