"""What ``pki`` asks a host: its certificates, its clock, and the requests it made."""

from __future__ import annotations

from collections.abc import Iterable

from pyinfra.api import FactBase, QuoteString, StringCommand
from typing_extensions import override

from groundwork.authority import questions
from groundwork.authority.questions import HostCertificates


class Certificates(FactBase[HostCertificates]):
    """Certificates, public halves of the keys, owners and modes of the named units of a platform, in one command."""

    default = HostCertificates

    @override
    def command(self, platform: str, units: Iterable[str]) -> str:
        return questions.ask_certificates(platform, units)

    @override
    def process(self, output: list[str]) -> HostCertificates:
        return questions.parse_certificates(output)


class Requests(FactBase[dict[str, str]]):
    """The certificate requests that wait on a host, by unit (PEM); units without one are left out."""

    default = dict

    @override
    def command(self, platform: str, units: Iterable[str]) -> str:
        return questions.ask_requests(platform, units)

    @override
    def process(self, output: list[str]) -> dict[str, str]:
        return questions.parse_requests(output)


class PresentUsers(FactBase[set[str]]):
    """Those of the named users that the host has."""

    default = set

    @override
    def command(self, names: Iterable[str]) -> StringCommand:
        # It ends with 2 when one of them is unknown, and still lists the others.
        return StringCommand("getent passwd --", *(QuoteString(name) for name in names), "|| true")

    @override
    def process(self, output: list[str]) -> set[str]:
        return {line.split(":")[0] for line in output if ":" in line}
