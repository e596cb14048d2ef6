"""What somebody could do to a host by hand: each kind with what must find it and whether an apply mends it."""

from __future__ import annotations

from dataclasses import dataclass

from test_site_drift import DRIFTS as KNOWN

NGINX = "/etc/groundwork/chorus/nginx"
CERTIFICATES = "/etc/groundwork/chorus/certificates"
REDIS_DROP_IN = "/etc/systemd/system/redis-server@chorus-redis-1.service.d/50-groundwork.conf"
HELPERS = "/usr/local/lib/groundwork/chorus"
SYSTEM = "/etc/systemd/system"
STAT = "stat -L -c '%A %U:%G'"
REDIS_TELL = (
    "{ echo AUTH _operator $(cat /etc/groundwork/chorus/credentials/chorus-redis-1_operator); cat; }"
    " | redis-cli -s /run/redis-chorus-redis-1/redis.sock"
)
IN_EFFECT = "go by its configuration"
RULES = "nft -s list table inet groundwork | grep -v elements | sha256sum"


@dataclass(frozen=True)
class Drift:
    """One kind. ``probe`` prints the state that ``breaking`` changes; what is ``declared`` has the first state again
    after an apply, anything else only after ``undo``."""

    kind: str
    host: str
    breaking: str
    probe: str
    subject: str
    """Part of a finding's subject: a path, a unit, the name of an operation or of a check."""
    declared: bool = True
    undo: str = ""
    running: bool = False
    """Whether it ends with the process, so that it cannot be seen together with what stops that."""


def _file(kind: str, host: str, path: str, breaking: str = "echo '# by hand' >> {}") -> Drift:
    return Drift(kind, host, breaking.format(path), f"sha256sum {path}", path)


def _state(kind: str, host: str, path: str, breaking: str, subject: str = "") -> Drift:
    return Drift(kind, host, breaking.format(path), f"{STAT} {path}", subject or path)


def _added(kind: str, host: str, path: str, line: str) -> Drift:
    folder = path.rpartition("/")[0]
    made = f"mkdir -p {folder}; echo '{line}' > {path}"
    return Drift(kind, host, made, f"cat {path} 2>&1", path, False, f"rm {path}")


# Those that the site's own test has, too: every one is found by the plan or by a check of Redis.
SHARED = tuple(
    Drift(one.kind, one.host, one.breaking, one.probe, one.operation or IN_EFFECT, running=not one.operation)
    for one in KNOWN
)

DECLARED = (
    _state("mode of a folder", "data", "/var/lib/groundwork", "chmod 0777 {}"),
    _state("group of a folder", "data", "/usr/local/lib/groundwork", "chgrp nogroup {}"),
    _file("journal limits removed", "data", "/etc/systemd/journald.conf.d/50-groundwork.conf", "rm {}"),
    Drift(
        "time zone", "data", "ln -sfn /usr/share/zoneinfo/Asia/Tokyo /etc/localtime", "readlink -f /etc/localtime",
        "/etc/localtime",
    ),
    _file("language", "app", "/etc/default/locale", "echo LANG=de_DE.UTF-8 > {}"),
    _file("security updates switched off", "app", "/etc/apt/apt.conf.d/52-groundwork-security-upgrades", "echo > {}"),
    _file("clock's servers", "data", "/etc/chrony/chrony.conf"),
    Drift(
        "setting of a running server", "data", f"echo CONFIG SET maxclients 99 | {REDIS_TELL}",
        f"echo CONFIG GET maxclients | {REDIS_TELL}", IN_EFFECT, running=True,
    ),
    _state("mode of a sudoers file", "app", "/etc/sudoers.d/50-groundwork-alice", "chmod 0644 {}"),
    _state("mode of a key list", "app", "/home/alice/.ssh/authorized_keys", "chmod 0666 {}"),
    _state("owner of a key folder", "app", "/home/alice/.ssh", "chown nobody {}"),
    Drift("shell of an account", "app", "usermod -s /bin/sh alice", "getent passwd alice", "alice"),
    _file("unit's confinement removed", "data", REDIS_DROP_IN, "rm {}"),
    _file("unit's confinement loosened", "app", f"{SYSTEM}/nginx.service.d/50-groundwork.conf", "echo > {}"),
    _file("page of a site", "app", "/var/lib/groundwork/www/chorus/web/*/index.html", "echo '<b>x</b>' >> $(ls {})"),
    _state("mode of a key", "app", f"{CERTIFICATES}/nginx/current/key.pem", "chmod 0644 {}", "certificates/nginx/"),
    _state(
        "owner of a certificate", "app", f"{CERTIFICATES}/site-web/current/certificate.pem", "chown nobody {}",
        "certificates/site-web/",
    ),
    Drift(
        "certificate removed", "data", f"rm -r {CERTIFICATES}/operator/*",
        f"openssl x509 -noout -subject -in {CERTIFICATES}/operator/current/certificate.pem", "Issue certificates",
    ),
    _file("revocation list emptied", "data", "/etc/groundwork/chorus/authority/crl.pem", "echo > {}"),
    Drift(
        "rule added to our table", "app", "nft insert rule inet groundwork input tcp dport 4444 accept", RULES,
        "tcp dport 4444 accept",
    ),
    Drift("firewall removed", "data", "nft delete table inet groundwork", RULES, "Put the rules into effect"),
    _file("rules for the next boot", "app", "/etc/groundwork/chorus/firewall.nft", "echo > {}"),
    _state("mode of the rules", "data", "/etc/groundwork/chorus/firewall.nft", "chmod 0666 {}"),
    Drift(
        "firewall not started at boot", "app", "systemctl disable groundwork-firewall",
        "systemctl is-enabled groundwork-firewall", "groundwork-firewall.service",
    ),
    _file("firewall's program", "app", f"{HELPERS}/firewall-switch"),
    _file("limits of log files", "app", "/etc/groundwork/chorus/logrotate.conf", "echo > {}"),
    _file("timer's unit", "app", f"{SYSTEM}/groundwork-logrotate-chorus.timer"),
    Drift(
        "agents' environment", "app", "echo DEBUG=true >> /etc/groundwork/chorus/prediction.env",
        "sha256sum /etc/groundwork/chorus/prediction.env", "prediction.env",
    ),
    _state(
        "mode of agents' environment", "app", "/etc/groundwork/chorus/simulation.env", "chmod 0666 {}",
        "simulation.env",
    ),
    _file("limits of a slice", "app", f"{SYSTEM}/groundwork-chorus-prediction.slice", "echo '[Slice]' > {}"),
    _file("target removed", "app", f"{SYSTEM}/chorus-simulation.target", "rm {}"),
    _file("instance's limits", "app", f"{SYSTEM}/chorus-agent-predictor@1.service.d/50-groundwork.conf", "echo > {}"),
    _state("mode of a credential", "app", "/etc/groundwork/chorus/credentials/redis_prediction", "chmod 0644 {}"),
    _state("owner of a credential", "app", "/etc/groundwork/chorus/credentials/redis_simulation", "chown nobody {}"),
    _file("credential removed", "app", "/etc/groundwork/chorus/credentials/redis_simulation", "rm {}"),
    _file("program of a role edited", "data", f"{HELPERS}/redis-reload"),
    _file("kernel setting's file", "data", "/etc/sysctl.d/60-groundwork-chorus-redis.conf", "echo > {}"),
    _file("access list emptied", "data", "/etc/redis/users-chorus-redis-1.acl", "echo > {}"),
    Drift(
        "agent masked", "app", "systemctl mask --now chorus-agent-predictor@2",
        "systemctl is-enabled chorus-agent-predictor@2; systemctl is-active chorus-agent-predictor@2",
        "chorus-agent-predictor@2",
    ),
    _file("ledger removed", "data", "/var/lib/groundwork/ledger/redis-chorus.json", "rm {}"),
)  # fmt: skip

UNDECLARED = (
    Drift("account added", "data", "useradd mallory", "id mallory 2>&1", "mallory", False, "userdel mallory"),
    Drift(
        "account made root's equal", "app", "useradd -o -u 0 toor", "getent passwd toor || echo none", "toor", False,
        "sed -i /^toor:/d /etc/passwd /etc/shadow; sed -i /^toor:/d /etc/group /etc/gshadow",
    ),
    Drift("group added", "app", "groupadd plotters", "getent group plotters || echo none", "plotters", False,
          "groupdel plotters"),
    Drift("member added to a group", "data", "usermod -a -G sudo games", "getent group sudo", "sudo", False,
          "gpasswd -d games sudo"),
    Drift("password set", "data", "echo games:Xk29-fjw-2Kq | chpasswd", "passwd -S games", "games", False,
          "usermod -p '*' games"),
    _added("key of root", "app", "/root/.ssh/authorized_keys", "ssh-ed25519 AAAAC3Nz mallory"),
    _added("right to become root", "app", "/etc/sudoers.d/99-mallory", "nobody ALL=(ALL) ALL"),
    _added("cron job", "app", "/etc/cron.d/mallory", "* * * * * root true"),
    _added("crontab of an account", "data", "/var/spool/cron/crontabs/games", "* * * * * true"),
    Drift("setuid bit", "data", "chmod u+s /usr/bin/env", f"{STAT} /usr/bin/env", "/usr/bin/env", False,
          "chmod u-s /usr/bin/env"),
    Drift("setgid bit", "app", "chmod g+s /usr/bin/tac", f"{STAT} /usr/bin/tac", "/usr/bin/tac", False,
          "chmod g-s /usr/bin/tac"),
    Drift("capability of a program", "app", "setcap cap_net_raw+ep /usr/bin/sort", "getcap /usr/bin/sort; echo .",
          "/usr/bin/sort", False, "setcap -r /usr/bin/sort"),
    Drift("program of a package replaced", "data", "cp -p /usr/bin/pinky /root/pinky; echo >> /usr/bin/pinky",
          "sha256sum /usr/bin/pinky", "/usr/bin/pinky", False, "mv /root/pinky /usr/bin/pinky"),
    Drift(
        "port that listens", "data",
        "systemd-run --quiet --unit=odd-listener python3 -m http.server 8099 --directory /var/empty-of-nothing; "
        "for n in $(seq 50); do ss -Hltn 'sport = :8099' | grep -q . && break; sleep 0.2; done",
        "ss -Hltn 'sport = :8099' | wc -l", "8099", False, "systemctl stop odd-listener",
    ),
    Drift(
        "unit that runs", "app", "systemd-run --quiet --unit=odd-service sleep 3600",
        "systemctl is-active odd-service", "odd-service.service", False, "systemctl stop odd-service",
    ),
    _added("unit added", "data", f"{SYSTEM}/mallory.service", "[Service]"),
    Drift(
        "unit overridden by a drop-in", "app",
        f"printf '[Service]\\nEnvironment=X=1\\n' > {SYSTEM}/nginx.service.d/99-mallory.conf",
        f"ls {SYSTEM}/nginx.service.d", "99-mallory.conf", False, f"rm {SYSTEM}/nginx.service.d/99-mallory.conf",
    ),
    _added("unit overridden until the next boot", "data", "/run/systemd/system/ssh.service.d/99.conf", "[Service]"),
    Drift("unit of the system masked", "data", "systemctl mask systemd-pstore", "systemctl is-enabled systemd-pstore",
          "systemd-pstore.service", False, "systemctl unmask systemd-pstore"),
    Drift(
        "package added", "data", "DEBIAN_FRONTEND=noninteractive apt-get -q -y install hello >/dev/null 2>&1",
        "dpkg-query -W hello 2>&1", "hello", False, "apt-get -q -y purge hello",
    ),
    Drift("package held", "app", "apt-mark hold nginx", "apt-mark showhold | grep nginx || echo none", "nginx", False,
          "apt-mark unhold nginx"),
    _added("package source", "data", "/etc/apt/sources.list.d/mallory.list", "# deb http://192.0.2.1 trixie main"),
    _added("setting of apt", "app", "/etc/apt/apt.conf.d/99-mallory", "// by hand"),
    _added("trusted authority", "app", "/usr/local/share/ca-certificates/mallory.crt", "none"),
    _added("library loaded into every program", "data", "/etc/ld.so.preload", ""),
    _added("program in the path", "app", "/usr/local/bin/ls2", "true"),
    _added("script of every login", "data", "/etc/profile.d/mallory.sh", "true"),
    Drift("script of root's logins", "app", "echo '# by hand' >> /root/.bashrc", "sha256sum /root/.bashrc",
          "/root/.bashrc", False, "sed -i '$d' /root/.bashrc"),
    Drift("authentication", "data", "echo '# by hand' >> /etc/pam.d/common-auth", "sha256sum /etc/pam.d/common-auth",
          "/etc/pam.d/common-auth", False, "sed -i '$d' /etc/pam.d/common-auth"),
    _added("SSH server's setting", "data", "/etc/ssh/sshd_config.d/99-mallory.conf", "# PermitRootLogin yes"),
    _added("kernel setting at boot", "app", "/etc/sysctl.d/99-mallory.conf", "net.ipv4.ip_forward = 0"),
    # The network's settings are a lab host's own and can be written. A remount of /proc/sys would make all of /proc
    # read-only, and then nobody can log in.
    Drift(
        "kernel setting", "app",
        "sysctl -qw net.ipv4.conf.all.log_martians=1",
        "sysctl -n net.ipv4.conf.all.log_martians", "net.ipv4.conf.all.log_martians", False,
        "sysctl -qw net.ipv4.conf.all.log_martians=0",
    ),
    _added("kernel module at boot", "data", "/etc/modules-load.d/mallory.conf", "dummy"),
    Drift("file system mounted over a folder", "app", "mount --bind /tmp /mnt", "findmnt -n /mnt || echo none", "/mnt",
          False, "umount /mnt"),
    Drift(
        "table of rules added", "data",
        "nft 'add table inet odd; add chain inet odd c; add rule inet odd c tcp dport 5555 drop'",
        "nft list tables | grep -c odd", "tcp dport 5555 drop", False, "nft delete table inet odd",
    ),
    _added("processes that outlive a login", "app", "/var/lib/systemd/linger/games", ""),
    Drift("folder that everybody writes to", "data", "chmod 0777 /etc/ssl", f"{STAT} /etc/ssl", "/etc/ssl", False,
          "chmod 0755 /etc/ssl"),
    Drift("order of names' sources", "data", "echo '# by hand' >> /etc/nsswitch.conf", "sha256sum /etc/nsswitch.conf",
          "/etc/nsswitch.conf", False, "sed -i '$d' /etc/nsswitch.conf"),
)  # fmt: skip

ALL = SHARED + DECLARED + UNDECLARED
