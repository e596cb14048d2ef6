"""What is checked of a host before its firewall is set up."""

from __future__ import annotations

from collections.abc import Iterator

from groundwork.preflight.findings import Finding, Severity, judge, skip
from groundwork.preflight.questions import Answers
from groundwork.site import Site

OTHERS = ("ufw", "firewalld", "netfilter-persistent", "shorewall", "ferm")
"""Units of other programs that write the packet filter's rules."""


def ask(_site: Site, _host: str) -> dict[str, str]:
    """Whether the kernel has nf_tables, and who else writes rules."""
    # nft may not be installed yet, and a container has no files of its kernel's modules.
    probe = (
        "if nft list tables >/dev/null 2>&1 || grep -q ^nf_tables /proc/modules; then echo yes; "
        'elif test ! -d "/lib/modules/$(uname -r)"; then echo unknown; '
        'elif grep -qs /nf_tables "/lib/modules/$(uname -r)"/modules.*; then echo yes; else echo no; fi'
    )
    units = " ".join(f"{name}.service" for name in OTHERS)
    running = f"for unit in {units}; do ! systemctl is-active --quiet $unit || echo $unit; done"
    return {"firewall_kernel": probe, "firewall_others": running}


def check_host(_site: Site, host: str, answers: Answers) -> Iterator[Finding]:
    """nf_tables, and no second master of the rules."""
    known = answers.text("firewall_kernel")
    if known in ("yes", "no"):
        remedy = "use Debian's kernel, or firewall_managed = False where something else filters"
        evidence = "the kernel has nf_tables" if known == "yes" else "the kernel has no module nf_tables"
        yield judge("firewall.kernel", host, known == "yes", evidence, remedy)
    else:
        yield skip(
            "firewall.kernel", host, "nftables is not installed yet, and the kernel's modules are not to be seen"
        )
    others = answers.lines("firewall_others")
    evidence = f"{', '.join(others)} is active" if others else "no other program manages the rules"
    remedy = "systemctl disable --now it, or firewall_managed = False for this host"
    yield judge("firewall.rivals", host, not others, evidence, remedy, Severity.WARNING)
