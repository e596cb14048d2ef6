"""Settings of the kernel: the network's and the memory's."""

from __future__ import annotations

from groundwork.report.hardening import Level
from roles.hardening.control import Control
from roles.hardening.system import Sysctl

FORWARDING = {
    "containers": "containers reach the network through the host, which has to forward",
    "vpn": "the host routes for its tunnel",
}


def _control(
    name: str,
    title: str,
    rationale: str,
    settings: dict[str, str | tuple[str, ...]],
    references: tuple[str, ...],
    level: Level = Level.BASELINE,
    unless: dict[str, str] | None = None,
) -> Control:
    wanted = []
    for key, value in settings.items():
        first, *others = (value,) if isinstance(value, str) else value
        wanted.append(Sysctl(key, first, tuple(others)))
    return Control(f"sysctl-{name}", title, rationale, references, level, tuple(wanted), unless=unless or {})


def _both(family: str, name: str, value: str | tuple[str, ...]) -> dict[str, str | tuple[str, ...]]:
    return {f"net.{family}.conf.{scope}.{name}": value for scope in ("all", "default")}


CONTROLS = (
    _control(
        "ip-forward",
        "The host forwards no packets",
        "A host that routes joins networks that a firewall keeps apart.",
        {"net.ipv4.ip_forward": "0", "net.ipv6.conf.all.forwarding": "0"},
        ("CIS 3.3.1", "dev-sec sysctl-01", "ANSSI R12"),
        unless=FORWARDING,
    ),
    _control(
        "send-redirects",
        "The host sends no ICMP redirects",
        "Only a router has a reason to; others can mislead neighbours.",
        _both("ipv4", "send_redirects", "0"),
        ("CIS 3.3.2", "ANSSI R12"),
    ),
    _control(
        "icmp-bogus",
        "Bogus ICMP answers are ignored",
        "They fill the log.",
        {"net.ipv4.icmp_ignore_bogus_error_responses": "1"},
        ("CIS 3.3.3",),
    ),
    _control(
        "icmp-broadcast",
        "Broadcast pings are ignored",
        "Answering them amplifies an attack on whoever is named as the sender.",
        {"net.ipv4.icmp_echo_ignore_broadcasts": "1"},
        ("CIS 3.3.4",),
    ),
    _control(
        "accept-redirects",
        "ICMP redirects are not accepted",
        "Whoever sends one could lead the host's packets through their own machine.",
        {
            **_both("ipv4", "accept_redirects", "0"),
            **_both("ipv6", "accept_redirects", "0"),
            **_both("ipv4", "secure_redirects", "0"),
        },
        ("CIS 3.3.5", "CIS 3.3.6", "ANSSI R12"),
    ),
    _control(
        "rp-filter",
        "Packets from addresses that are routed elsewhere are dropped",
        "It keeps forged senders out.",
        _both("ipv4", "rp_filter", "1"),
        ("CIS 3.3.7", "ANSSI R12"),
        unless={"vpn": "answers may come through the tunnel", "containers": "container networks route asymmetrically"},
    ),
    _control(
        "source-route",
        "The sender does not choose the route",
        "A chosen route gets around filters.",
        {**_both("ipv4", "accept_source_route", "0"), **_both("ipv6", "accept_source_route", "0")},
        ("CIS 3.3.8", "ANSSI R12"),
    ),
    _control(
        "log-martians",
        "Packets with impossible addresses are logged",
        "They show a forger or a mistake in the network.",
        _both("ipv4", "log_martians", "1"),
        ("CIS 3.3.9", "ANSSI R12"),
        Level.STRICT,
    ),
    _control(
        "syncookies",
        "A flood of half-open connections does not exhaust the host",
        "Cookies need no memory for a connection that is never completed.",
        {"net.ipv4.tcp_syncookies": "1"},
        ("CIS 3.3.10", "ANSSI R12"),
    ),
    _control(
        "accept-ra",
        "Router advertisements of IPv6 are not accepted",
        "Anyone on the network can send one and become the host's router. Addresses have to be configured.",
        _both("ipv6", "accept_ra", "0"),
        ("CIS 3.3.11", "ANSSI R13"),
        Level.STRICT,
    ),
    _control(
        "rfc1337",
        "Connections that wait to end are not torn down by stray packets",
        "RFC 1337 describes how such packets end another connection.",
        {"net.ipv4.tcp_rfc1337": "1"},
        ("dev-sec sysctl-10", "ANSSI R12"),
    ),
    _control(
        "arp",
        "ARP is answered for addresses of the asked interface alone",
        "Otherwise the host tells addresses of one network in another.",
        {"net.ipv4.conf.all.arp_ignore": ("1", "2"), "net.ipv4.conf.all.arp_announce": "2"},
        ("dev-sec sysctl-08", "ANSSI R12"),
        Level.PARANOID,
        {"containers": "container networks share a subnet over several interfaces"},
    ),
    _control(
        "local-routes",
        "Packets with the host's own or loopback addresses are not accepted from outside",
        "Only a forger sends them.",
        {"net.ipv4.conf.all.accept_local": "0", "net.ipv4.conf.all.route_localnet": "0"},
        ("ANSSI R12",),
        Level.STRICT,
        {"containers": "ports published on the loopback address are routed"},
    ),
    _control(
        "aslr",
        "Addresses in memory are random",
        "An exploit has to guess where code and data lie.",
        {"kernel.randomize_va_space": "2"},
        ("CIS 1.5.1", "ANSSI R9"),
    ),
    _control(
        "ptrace",
        "A process may trace its own children alone",
        "A captured process cannot read the secrets of its account's other processes.",
        {"kernel.yama.ptrace_scope": ("1", "2", "3")},
        ("CIS 1.5.2", "ANSSI R11"),
    ),
    _control(
        "kptr",
        "The kernel's addresses are hidden",
        "They help to exploit the kernel.",
        {"kernel.kptr_restrict": "2"},
        ("ANSSI R9", "CIS (Debian 13) 1.5.8"),
    ),
    _control(
        "dmesg",
        "The kernel's log is for root",
        "It names addresses and devices.",
        {"kernel.dmesg_restrict": "1"},
        ("ANSSI R9", "CIS (Debian 13) 1.5.5"),
    ),
    _control(
        "sysrq",
        "The magic keys are off",
        "They reboot or dump a machine from its console without a login.",
        {"kernel.sysrq": "0"},
        ("dev-sec sysctl-30", "ANSSI R9"),
        Level.STRICT,
    ),
    _control(
        "kexec",
        "No other kernel can be started from the running one",
        "It would get around a verified boot.",
        {"kernel.kexec_load_disabled": "1"},
        ("dev-sec",),
        Level.PARANOID,
    ),
    _control(
        "bpf",
        "BPF is for root",
        "Its verifier has been the way into the kernel more than once.",
        {"kernel.unprivileged_bpf_disabled": ("1", "2"), "net.core.bpf_jit_harden": "2"},
        ("ANSSI R9", "Lynis KRNL-6000"),
    ),
    _control(
        "userns",
        "User namespaces are for root",
        "They open parts of the kernel to every account that only root reached before.",
        {"kernel.unprivileged_userns_clone": "0"},
        ("dev-sec",),
        Level.PARANOID,
        {"containers": "containers without root need user namespaces"},
    ),
    _control(
        "perf",
        "Performance events are for root",
        "Their interface is large and has had holes.",
        {"kernel.perf_event_paranoid": ("3", "2", "4")},
        ("ANSSI R9",),
    ),
    _control(
        "panic-oops",
        "A damaged kernel stops, and the machine starts again after a minute",
        "Going on with a damaged kernel is what an exploit needs.",
        {"kernel.panic_on_oops": "1", "kernel.panic": "60"},
        ("ANSSI R9",),
        Level.PARANOID,
        {"gpu": "GPU drivers oops on errors of a card that the other cards survive"},
    ),
    _control(
        "ldisc",
        "Line disciplines of terminals are not loaded on demand",
        "Old code that any account could have loaded.",
        {"dev.tty.ldisc_autoload": "0"},
        ("Lynis KRNL-6000",),
    ),
    _control(
        "suid-dumpable",
        "Privileged programs dump no memory",
        "The dump has what they may read and their caller may not.",
        {"fs.suid_dumpable": "0"},
        ("CIS 1.5.3", "ANSSI R14"),
    ),
    _control(
        "protected-links",
        "Links in shared folders lead to their owner's files alone",
        "A link laid in /tmp makes another program write where it should not.",
        {"fs.protected_hardlinks": "1", "fs.protected_symlinks": "1"},
        ("ANSSI R14", "CIS (Debian 13) 1.5.1"),
    ),
    _control(
        "protected-fifos",
        "Files and pipes in shared folders are not opened for another owner",
        "The same trick without links.",
        {"fs.protected_fifos": ("2", "1"), "fs.protected_regular": "2"},
        ("ANSSI R14",),
    ),
)
