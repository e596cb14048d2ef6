"""The benchmark's site for pyinfra, with its own connector or with ours; imports nothing else of the project."""

import sys
from io import StringIO
from pathlib import Path

from pyinfra.operations import apt, files, server, systemd

sys.path.insert(0, str(Path(__file__).parents[2]))
from benchmarks.fleet import contents

for path, text in (contents.FILES | contents.UNITS).items():
    files.put(name=f"Write {path}", src=StringIO(text), dest=path, mode="644", user="root", group="root")
for path, number in contents.TEMPLATES.items():
    files.template(
        name=f"Write {path}",
        src=str(contents.TEMPLATE),
        dest=path,
        mode="644",
        user="root",
        group="root",
        number=number,
        owner=contents.OWNER,
    )
for user in contents.USERS:
    server.user(
        name=f"Create {user}",
        user=user,
        system=True,
        shell="/usr/sbin/nologin",
        home="/nonexistent",
        create_home=False,
        ensure_home=False,
    )
for line in contents.LINES:
    files.line(name=f"Add {line}", path=contents.LINES_FILE, line=line)
for package in contents.PACKAGES:
    apt.packages(name=f"Install {package}", packages=[package])
for unit in contents.SERVICES:
    systemd.service(name=f"Run {unit}", service=unit, running=True, enabled=True)
for link, target in contents.LINKS.items():
    files.link(name=f"Link {link}", path=link, target=target)
