"""How each tool is told what to do: files in a working folder, and a command."""

from __future__ import annotations

import hashlib
import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Template

from benchmarks.fleet import contents

HERE = Path(__file__).parent
# Only for comparison; nothing of it becomes part of the project.
COMPARED = HERE / "compared.lock"
NAMES = ("ansible-core", "Mitogen", "pyinfra", "Groundwork", "shell script")
OURS, FLOOR = NAMES[3:]


@dataclass(frozen=True)
class Target:
    """One lab host as a tool reaches it."""

    name: str
    port: int
    user: str
    key: str
    known_hosts: str


@dataclass(frozen=True)
class Tool:
    """A tool's command for a site; ``changed`` reads from what it printed how much it changed."""

    name: str
    command: tuple[str, ...]
    changed: Callable[[str], int]
    environ: Mapping[str, str] = field(default_factory=dict)
    memory: Path | None = None
    """Folder of what it remembers from one run to the next, which makes a run before the counted ones necessary."""

    needs_python: bool = False
    """Whether hosts need ``contents.PREPARE``."""

    def forget(self) -> None:
        """Remove what it remembers."""
        if self.memory is not None:
            shutil.rmtree(self.memory, ignore_errors=True)


def make_environment(folder: Path) -> None:
    """Install what is compared with; does nothing where it is there already."""
    stamp = folder / "compared.lock"
    if stamp.exists() and stamp.read_bytes() == COMPARED.read_bytes():
        return
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    command = [str(folder / "bin/pip"), "install", "--quiet", "--require-hashes", "--requirement", str(COMPARED)]
    subprocess.run(command, check=True)
    stamp.write_bytes(COMPARED.read_bytes())


def make_tools(folder: Path, environment: Path, targets: list[Target]) -> list[Tool]:
    """Write each tool's files below ``folder`` and return the tools."""
    folder.mkdir(parents=True, exist_ok=True)
    return [*_ansible(folder, environment, targets), *_pyinfra(folder, environment, targets), _floor(folder, targets)]


def _ansible(folder: Path, environment: Path, targets: list[Target]) -> list[Tool]:
    hosts = {
        target.name: {
            "ansible_host": "127.0.0.1",
            "ansible_port": target.port,
            "ansible_user": target.user,
            "ansible_ssh_private_key_file": target.key,
            "ansible_python_interpreter": "/usr/bin/python3",
            "ansible_ssh_common_args": f"-F none -o UserKnownHostsFile={target.known_hosts}",
        }
        for target in targets
    }
    (folder / "hosts.json").write_text(json.dumps({"all": {"hosts": hosts}}))
    play = {"hosts": "all", "gather_facts": False, "become": True, "tasks": _ansible_tasks()}
    (folder / "site.json").write_text(json.dumps([play]))
    common = (
        f"[defaults]\nforks = {len(targets)}\nhost_key_checking = False\n"
        "[ssh_connection]\npipelining = True\nssh_args = -o ControlMaster=auto -o ControlPersist=60s\n"
    )
    (folder / "ansible.cfg").write_text(common)
    strategies = next(environment.glob("lib/python*/site-packages/ansible_mitogen/plugins/strategy"))
    mitogen = f"strategy_plugins = {strategies}\nstrategy = mitogen_linear\n[ssh_connection]"
    (folder / "mitogen.cfg").write_text(common.replace("[ssh_connection]", mitogen))
    command = (str(environment / "bin/ansible-playbook"), "-i", str(folder / "hosts.json"), str(folder / "site.json"))

    def changed(printed: str) -> int:
        recap = [line for line in printed.splitlines() if "changed=" in line]
        assert len(recap) == len(targets), printed[-2000:]
        assert all("failed=0" in line and "unreachable=0" in line for line in recap), printed[-2000:]
        return sum(int(line.split("changed=")[1].split()[0]) for line in recap)

    environ = {"ANSIBLE_HOME": str(folder / "home")}
    return [
        Tool(name, command, changed, environ | {"ANSIBLE_CONFIG": str(folder / config)}, needs_python=True)
        for name, config in (("ansible-core", "ansible.cfg"), ("Mitogen", "mitogen.cfg"))
    ]


def _ansible_tasks() -> list[dict[str, Any]]:
    def placed(path: str) -> dict[str, str]:
        return {"dest": path, "mode": "0644", "owner": "root", "group": "root"}

    tasks: list[dict[str, Any]] = []
    for path, text in (contents.FILES | contents.UNITS).items():
        tasks.append({"copy": {"content": text, **placed(path)}})
    for path, number in contents.TEMPLATES.items():
        values = {"number": number, "owner": contents.OWNER}
        tasks.append({"template": {"src": str(contents.TEMPLATE), **placed(path)}, "vars": values})
    for user in contents.USERS:
        given = {
            "name": user,
            "system": True,
            "shell": "/usr/sbin/nologin",
            "home": "/nonexistent",
            "create_home": False,
        }
        tasks.append({"user": given})
    tasks += [{"lineinfile": {"path": contents.LINES_FILE, "line": line}} for line in contents.LINES]
    tasks += [{"apt": {"name": package}} for package in contents.PACKAGES]
    tasks += [{"systemd": {"name": unit, "state": "started", "enabled": True}} for unit in contents.SERVICES]
    for link, target in contents.LINKS.items():
        tasks.append({"file": {"src": target, "dest": link, "state": "link"}})
    # The name says what is done; the module's full name saves a search.
    return [
        {"name": f"Operation {number}"}
        | {f"ansible.builtin.{key}" if key != "vars" else key: task[key] for key in task}
        for number, task in enumerate(tasks)
    ]


def _pyinfra(folder: Path, environment: Path, targets: list[Target]) -> list[Tool]:
    def changed(printed: str) -> int:
        totals = next(line for line in printed.splitlines() if "Grand total" in line).split()[2:]
        assert totals[2] == "-", printed[-2000:]
        return 0 if totals[1] == "-" else int(totals[1])

    tools = []
    ours = Path(sys.executable).with_name("pyinfra")
    for name, prefix, program in (("pyinfra", "ssh", environment / "bin/pyinfra"), (OURS, "groundwork", ours)):
        hosts = [
            (
                f"@{prefix}/{target.name}",
                {
                    "ssh_hostname": "127.0.0.1",
                    "ssh_port": target.port,
                    "ssh_user": target.user,
                    "ssh_key": target.key,
                    "ssh_known_hosts_file": target.known_hosts,
                    "ssh_strict_host_key_checking": "yes",
                    "_sudo": True,
                },
            )
            for target in targets
        ]
        inventory = folder / f"hosts_{prefix}.py"
        inventory.write_text(f"hosts = {hosts!r}\n")
        command = (str(program), "-y", str(inventory), str(HERE / "deploy.py"))
        cache = folder / f"{prefix}-cache"
        environ = {"XDG_CACHE_HOME": str(cache), "PYINFRA_PROGRESS": "off"}
        tools.append(Tool(name, command, changed, environ, cache if name == OURS else None))
    return tools


def _floor(folder: Path, targets: list[Target]) -> Tool:
    """One shell script over one connection for each host, all at once: what nobody would want to maintain."""
    script = folder / "floor.sh"
    script.write_text(floor_script())
    lines = [
        f"ssh -F none -i {target.key} -p {target.port} -o UserKnownHostsFile={target.known_hosts} "
        f"{target.user}@127.0.0.1 sudo sh -s <{script} &"
        for target in targets
    ]
    starter = folder / "floor-all.sh"
    starter.write_text("\n".join([*lines, "wait", ""]))

    def changed(printed: str) -> int:
        assert printed.splitlines().count("end") == len(targets), printed[-2000:]
        return printed.splitlines().count("changed")

    return Tool(FLOOR, ("sh", str(starter)), changed)


def floor_script() -> str:
    """The site as a shell script that checks first and changes what differs."""
    template = contents.TEMPLATE.read_text()
    lines = ["set -u"]
    texts = contents.FILES | contents.UNITS
    for path, number in contents.TEMPLATES.items():
        texts[path] = Template(template, keep_trailing_newline=True).render(number=number, owner=contents.OWNER)
    for path, text in texts.items():
        digest = hashlib.sha256(text.encode()).hexdigest()
        lines += [
            f'if [ "$(sha256sum <{path} 2>/dev/null)" != "{digest}  -" ] ||',
            f'[ "$(stat -c %a:%U:%G {path})" != 644:root:root ]',
            f"then printf %s {shlex.quote(text)} >{path}; chmod 644 {path}; echo changed; fi",
        ]
    for user in contents.USERS:
        add = f"useradd --system --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin {user}"
        lines.append(f"getent passwd {user} >/dev/null || {{ {add}; echo changed; }}")
    for line in contents.LINES:
        file = contents.LINES_FILE
        lines.append(f"grep -qx '{line}' {file} || {{ echo '{line}' >>{file}; echo changed; }}")
    for package in contents.PACKAGES:
        lines.append(
            f"dpkg-query -W -f '${{db:Status-Status}}' {package} | grep -qx installed || apt-get install {package}"
        )
    for unit in contents.SERVICES:
        lines.append(
            f"systemctl is-active --quiet {unit} && systemctl is-enabled --quiet {unit} || "
            f"{{ systemctl enable --quiet --now {unit} 2>/dev/null; echo changed; }}"
        )
    for link, target in contents.LINKS.items():
        lines.append(f'[ "$(readlink {link})" = {target} ] || {{ ln -sfn {target} {link}; echo changed; }}')
    return "\n".join([*lines, "echo end", ""])
