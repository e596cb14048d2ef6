"""Programs that a server of these platforms has no use for."""

from __future__ import annotations

from groundwork.report.hardening import Level
from roles.hardening.control import Control
from roles.hardening.probes import Probe
from roles.hardening.system import NotInstalled, Off

UNUSED = "What does not run is not attacked."


def _control(
    name: str,
    title: str,
    packages: tuple[str, ...],
    reference: str,
    level: Level = Level.BASELINE,
    unless: dict[str, str] | None = None,
) -> Control:
    return Control(f"service-{name}", title, UNUSED, (reference,), level, (NotInstalled(packages),),
                   unless=unless or {})  # fmt: skip


CONTROLS = (
    _control("automount", "No automounter", ("autofs",), "CIS 2.1.1"),
    _control("avahi", "No discovery of services by multicast", ("avahi-daemon",), "CIS 2.1.2"),
    _control("dhcp", "No DHCP server", ("isc-dhcp-server", "isc-dhcp-server-ldap", "kea-dhcp4-server"), "CIS 2.1.3"),
    _control("dns", "No name server", ("bind9", "dnsmasq"), "CIS 2.1.4"),
    _control("ftp", "No FTP or TFTP server", ("vsftpd", "tftpd-hpa", "tftpd"), "CIS 2.1.6"),
    _control("ldap", "No LDAP or NIS server", ("slapd", "nis", "ypserv"), "CIS 2.1.7"),
    _control("mail-store", "No mail store", ("dovecot-core", "dovecot-imapd", "dovecot-pop3d"), "CIS 2.1.8"),
    _control("nfs", "No NFS server or port mapper", ("nfs-kernel-server", "rpcbind"), "CIS 2.1.9", Level.STRICT),
    _control("print", "No printing", ("cups", "cups-browsed", "cups-daemon"), "CIS 2.1.11"),
    _control("samba", "No file sharing for Windows", ("samba",), "CIS 2.1.14"),
    _control("snmp", "No SNMP", ("snmpd", "snmp"), "CIS 2.1.15"),
    _control("proxy", "No web proxy", ("squid",), "CIS 2.1.17"),
    _control("web", "No web server where none is declared", ("nginx", "apache2", "lighttpd"), "CIS 2.1.18",
             Level.STRICT, {"reverse_proxy": "the platform is reached through nginx here"}),
    _control("inetd", "No internet super-server", ("xinetd", "openbsd-inetd", "inetutils-inetd"), "CIS 2.1.19"),
    _control("display", "No display server", ("xserver-common", "gdm3"), "CIS 2.1.20", Level.STRICT,
             {"gpu": "some drivers' tools need its files"}),
    _control("legacy", "No programs that send passwords in clear",
             ("telnet", "inetutils-telnet", "telnetd", "rsh-client", "rsh-server", "talk", "ftp", "tnftp",
              "nis", "ldap-utils"), "CIS 2.2.1"),
    _control("prelink", "No prelink, no crash reports to others", ("prelink", "apport", "whoopsie"), "CIS 1.5.6"),
    Control(
        id="service-rsync",
        title="No rsync server",
        rationale="It hands files out without a login. The program itself may stay.",
        references=("CIS 2.1.13",),
        level=Level.BASELINE,
        requires=(Off(("rsync.service",)),),
    ),
    Control(
        id="service-rsync-package",
        title="rsync is not installed",
        rationale="CIS wants the package gone where nothing uses it.",
        references=("CIS 2.1.13",),
        level=Level.PARANOID,
        requires=(NotInstalled(("rsync",)),),
    ),
    Control(
        id="service-bluetooth",
        title="Bluetooth is off",
        rationale="It is reachable without a login.",
        references=("CIS 3.1.3",),
        level=Level.BASELINE,
        requires=(Off(("bluetooth.service",)),),
    ),
    Control(
        id="service-mail-local",
        title="Mail is taken from the host itself alone",
        rationale="An open mail server sends others' mail.",
        references=("CIS 2.1.21", "ANSSI R74"),
        level=Level.BASELINE,
        requires=(
            Probe("ss -lntH 'sport = :25 or sport = :465 or sport = :587' 2>/dev/null | awk '{print $4}' | "
                  "grep -vE '^(127\\.|\\[::1\\])' | sed 's/$/ takes mail from everywhere/'"),
        ),
    ),
    Control(
        id="service-ctrl-alt-del",
        title="Ctrl-Alt-Del does nothing",
        rationale="A key on the console is no reason to reboot.",
        references=("konstruktoid", "STIG"),
        level=Level.STRICT,
        requires=(Off(("ctrl-alt-del.target",)),),
    ),
)  # fmt: skip
