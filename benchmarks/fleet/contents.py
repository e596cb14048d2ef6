"""The site of the benchmark: 100 operations, the same for every tool."""

from __future__ import annotations

from pathlib import Path

FOLDER = "/etc/bench"
FILES = {f"{FOLDER}/files/{number}.conf": f"option_{number} = {number * 7}\n" * 20 for number in range(20)}
UNITS = {
    f"/etc/systemd/system/bench-{number}.service": (
        f"[Unit]\nDescription=Benchmark {number}\n\n[Service]\nType=oneshot\nRemainAfterExit=yes\n"
        "ExecStart=/bin/true\n\n[Install]\nWantedBy=multi-user.target\n"
    )
    for number in range(10)
}
TEMPLATE = Path(__file__).with_name("template.j2")
TEMPLATES = {f"{FOLDER}/templates/{number}.conf": number for number in range(15)}
OWNER = "the benchmark"
USERS = [f"bench-{number}" for number in range(10)]
LINES_FILE = f"{FOLDER}/lines.conf"
LINES = [f"line_{number} = yes" for number in range(15)]
# All in the lab's image: what apt takes is not what is measured.
PACKAGES = ["bash", "coreutils", "dash", "findutils", "grep", "gzip", "hostname", "sed", "tar", "util-linux"]
SERVICES = [f"bench-{number}.service" for number in range(10)]
LINKS = {f"{FOLDER}/links/{number}": f"{FOLDER}/templates/{number}.conf" for number in range(10)}

RESET = f"""
systemctl disable --now --quiet {" ".join(SERVICES)} 2>/dev/null
rm -rf {FOLDER} {" ".join(UNITS)}
for user in {" ".join(USERS)}; do userdel $user 2>/dev/null; done
systemctl daemon-reload
mkdir -p {FOLDER}/files {FOLDER}/templates {FOLDER}/links
: >{LINES_FILE}
"""
"""Shell script, run as root, after which nothing of the site is there."""


def count_operations() -> int:
    """How many operations the site has."""
    return sum(len(part) for part in (FILES, UNITS, TEMPLATES, USERS, LINES, PACKAGES, SERVICES, LINKS))


PREPARE = """
python3 -c 'import apt' 2>/dev/null || {
    apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends python3-apt
} >/dev/null
"""
"""Shell script, run as root: what Ansible's module for packages needs on a host."""
