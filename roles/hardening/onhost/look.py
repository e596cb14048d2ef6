"""Answers questions about a host: what hardening is judged by, read in one go and changing nothing.

It is sent as the text of ``python3 -c`` with its questions, needs Python alone, and never prints a password's hash.
"""

from __future__ import annotations

import glob
import grp
import json
import os
import pwd
import stat
import subprocess
import sys
from typing import Any

LARGEST = 262144
"""Bytes of a file that are read."""
SYSCTL_FOLDERS = ("/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d")
MODPROBE_FOLDERS = ("/etc/modprobe.d", "/run/modprobe.d", "/usr/local/lib/modprobe.d", "/usr/lib/modprobe.d")
# Data of services and containers: large, and not the system's own.
PRUNED = ("/proc", "/sys", "/dev", "/run", "/var/lib/docker", "/var/lib/containerd", "/var/lib/containers",
          "/var/lib/kubelet", "/var/lib/rancher", "/snap")  # fmt: skip


def run(command: list[str] | str, timeout: float = 60) -> tuple[int, str]:
    """Exit status and output of a command; 127 where there is no such program."""
    try:
        done = subprocess.run(command, shell=isinstance(command, str), stdin=subprocess.DEVNULL, check=False,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=timeout)  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return 127, ""
    return done.returncode, done.stdout.decode(errors="replace")


def read(path: str) -> str | None:
    """Text of a file, or None."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:  # noqa: PTH123
            return file.read(LARGEST)
    except OSError:
        return None


def name_user(number: int) -> str:
    """Account name of a number, or the number."""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def name_group(number: int) -> str:
    """Group name of a number, or the number."""
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def attributes(path: str) -> dict[str, Any]:
    """Kind, permission bits and owner of a path, itself and not what a link points to."""
    try:
        found = os.lstat(path)
    except OSError:
        return {"kind": "absent"}
    kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "link"}
    result: dict[str, Any] = {"kind": kinds.get(stat.S_IFMT(found.st_mode), "other")}
    if result["kind"] == "link":
        result["target"] = os.readlink(path)  # noqa: PTH115
    return {**result, "mode": stat.S_IMODE(found.st_mode), "user": name_user(found.st_uid),
            "group": name_group(found.st_gid)}  # fmt: skip


def look_files(paths: list[str]) -> dict[str, Any]:
    """Attributes and content of files; those of its target where a path is a link."""
    result = {}
    for path in paths:
        entry = attributes(path)
        if entry["kind"] in ("file", "link"):
            entry["content"] = read(path)
        result[path] = entry
    return result


def look_globs(patterns: list[str]) -> dict[str, Any]:
    """Attributes of every path that a pattern matches; ``**`` goes through all folders below."""
    result = {}
    for pattern in patterns:
        paths = sorted(glob.glob(pattern, recursive="**" in pattern, include_hidden=True))  # noqa: PTH207
        result[pattern] = {path: attributes(path) for path in paths}
    return result


def look_units(names: list[str]) -> dict[str, Any]:
    """Whether units exist, start at boot and run."""
    properties = "--property=Names,LoadState,UnitFileState,ActiveState"
    _, output = run(["systemctl", "show", properties, "--", *names])
    result = {name: {"load": "not-found", "enabled": "", "active": "inactive"} for name in names}
    for block in output.split("\n\n"):
        values = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        for name in values.get("Names", "").split():
            if name in result:
                result[name] = {"load": values.get("LoadState", ""), "enabled": values.get("UnitFileState", ""),
                                "active": values.get("ActiveState", "")}  # fmt: skip
    return result


def look_packages(names: list[str]) -> dict[str, Any]:
    """Which packages are installed."""
    _, output = run(["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\\n", *names])
    installed = {line.split()[0] for line in output.splitlines() if line.endswith(" installed")}
    return {name: name in installed for name in names}


def read_sysctl_files() -> dict[str, str]:
    """What the files of sysctl.d say, as systemd-sysctl reads them: by file name, the last one wins."""
    files: dict[str, str] = {}
    for folder in reversed(SYSCTL_FOLDERS):
        for path in glob.glob(folder + "/*.conf"):  # noqa: PTH207
            files[os.path.basename(path)] = path  # noqa: PTH119
    values: dict[str, str] = {}
    for name in sorted(files):
        for line in (read(files[name]) or "").splitlines():
            key, found, value = line.strip().lstrip("-").partition("=")
            if found and not key.startswith(("#", ";")):
                values[key.strip().replace("/", ".")] = " ".join(value.split())
    return values


def look_sysctls(keys: list[str]) -> dict[str, Any]:
    """The kernel's value of each key and the one that the next boot sets."""
    declared = read_sysctl_files()
    result = {}
    for key in keys:
        live = read("/proc/sys/" + key.replace(".", "/"))
        result[key] = {"live": None if live is None else " ".join(live.split()), "declared": declared.get(key)}
    return result


def look_modules(names: list[str]) -> dict[str, Any]:
    """Whether kernel modules are loaded, and whether loading them is refused."""
    loaded = {line.split()[0].replace("_", "-") for line in (read("/proc/modules") or "").splitlines()}
    refused, listed = set(), set()
    for folder in MODPROBE_FOLDERS:
        for path in glob.glob(folder + "/*.conf"):  # noqa: PTH207
            for line in (read(path) or "").splitlines():
                words = line.split()
                if len(words) > 2 and words[0] == "install" and words[2] in ("/bin/false", "/bin/true"):
                    refused.add(words[1].replace("_", "-"))
                elif len(words) == 2 and words[0] == "blacklist":
                    listed.add(words[1].replace("_", "-"))
    plain = {name: name.replace("_", "-") for name in names}
    return {name: {"loaded": key in loaded, "refused": key in refused, "blacklisted": key in listed}
            for name, key in plain.items()}  # fmt: skip


def look_sshd(_arguments: list[str]) -> dict[str, Any]:
    """The SSH server's settings as it would apply them to somebody's login; empty where it does not say."""
    os.makedirs("/run/sshd", exist_ok=True)  # noqa: PTH103
    status, output = run(["/usr/sbin/sshd", "-T", "-C", "user=nobody,host=host,addr=192.0.2.1"])
    result: dict[str, list[str]] = {}
    for line in output.splitlines() if status == 0 else ():
        key, _sep, value = line.partition(" ")
        result.setdefault(key, []).append(value)
    return {"": result}


def look_mounts(paths: list[str]) -> dict[str, Any]:
    """Type and options of what is mounted at each path, now."""
    mounts: dict[str, Any] = {}
    for line in (read("/proc/self/mounts") or "").splitlines():
        _device, path, kind, options, *_rest = line.split()
        mounts[path] = {"type": kind, "options": options.split(",")}
    return {path: mounts.get(path) for path in paths}


def look_runs(commands: list[str]) -> dict[str, Any]:
    """Exit status and output of commands that only read."""
    results = {}
    for command in commands:
        status, output = run(command)
        results[command] = {"status": status, "output": output.strip()}
    return results


def look_accounts(_arguments: list[str]) -> dict[str, Any]:
    """Accounts with what their passwords are like, and groups; hashes stay on the host."""
    shadow = {}
    for line in (read("/etc/shadow") or "").splitlines():
        fields = (line.split(":") + [""] * 9)[:9]
        secret = fields[1]
        kind = "empty" if not secret else "locked" if secret[0] in "!*" else "set"
        shadow[fields[0]] = {"password": kind, "changed": fields[2], "minimum": fields[3], "maximum": fields[4],
                             "warning": fields[5], "inactive": fields[6]}  # fmt: skip
    users = []
    for line in (read("/etc/passwd") or "").splitlines():
        fields = line.split(":")
        if len(fields) == 7:
            users.append(
                {
                    "name": fields[0],
                    "in_passwd": fields[1],
                    "uid": int(fields[2]),
                    "gid": int(fields[3]),
                    "home": fields[5],
                    "shell": fields[6],
                    **shadow.get(fields[0], {"password": "none"}),
                }
            )
    groups = []
    for line in (read("/etc/group") or "").splitlines():
        fields = line.split(":")
        if len(fields) == 4:
            groups.append({"name": fields[0], "gid": int(fields[2]), "members": [m for m in fields[3].split(",") if m]})
    return {"": {"users": users, "groups": groups}}


def look_audit(_arguments: list[str]) -> dict[str, Any]:
    """Lines of the audit rules' files, and those that the kernel has."""
    declared = []
    for path in sorted(glob.glob("/etc/audit/rules.d/*.rules")):  # noqa: PTH207
        declared += [" ".join(line.split()) for line in (read(path) or "").splitlines() if line.startswith("-")]
    code, output = run(["/usr/sbin/auditctl", "-l"])
    live = [" ".join(line.split()) for line in output.splitlines()] if code == 0 else []
    _, told = run(["/usr/sbin/auditctl", "-s"])
    return {"": {"declared": declared, "live": live, "status": told}}


def look_tree(_arguments: list[str]) -> dict[str, Any]:
    """Files that anyone may write, that nobody owns, or that run as their owner; on real file systems only."""
    roots = ["/"]
    for line in (read("/proc/self/mounts") or "").splitlines():
        device, path, kind = line.split()[:3]
        if device.startswith("/dev/") and kind in ("ext4", "xfs", "btrfs", "ext3") and path != "/":
            roots += [path] if os.path.isdir(path) and not path.startswith(PRUNED) else []  # noqa: PTH112
    prune = " -o ".join(f"-path {path}" for path in PRUNED)
    tests = (r"\( -type f -perm -0002 -printf 'world %p\n' \) , \( -type d -perm -0002 ! -perm -1000 -printf "
             r"'sticky %p\n' \) , \( \( -nouser -o -nogroup \) -printf 'unowned %p\n' \) , "
             r"\( -type f -perm /6000 -printf 'privileged %p\n' \)")  # fmt: skip
    _, output = run(f"find {' '.join(sorted(set(roots)))} -xdev \\( {prune} \\) -prune -o \\( {tests} \\)", 300)
    result: dict[str, list[str]] = {"world": [], "sticky": [], "unowned": [], "privileged": []}
    for line in output.splitlines():
        kind, _sep, path = line.partition(" ")
        if kind in result:
            result[kind].append(path)
    return {"": result}


def look_host(_arguments: list[str]) -> dict[str, Any]:
    """What the host is: its release, whether a container, and what it carries besides what is declared."""
    release = dict(line.split("=", 1) for line in (read("/etc/os-release") or "").splitlines() if "=" in line)
    _, virtual = run(["systemd-detect-virt", "--container"])
    carries = []
    if any(os.path.exists(p) for p in ("/usr/bin/dockerd", "/usr/sbin/dockerd", "/usr/bin/podman",  # noqa: PTH110
                                       "/usr/bin/containerd", "/usr/local/bin/k3s")):  # fmt: skip
        carries.append("containers")
    if os.path.exists("/dev/nvidiactl") or os.path.exists("/proc/driver/nvidia"):  # noqa: PTH110
        carries.append("gpu")
    if glob.glob("/etc/wireguard/*.conf"):  # noqa: PTH207
        carries.append("vpn")
    if os.path.exists("/usr/lib/systemd/systemd-timesyncd"):  # noqa: PTH110
        carries.append("timesyncd")
    if os.path.exists("/boot/grub/grub.cfg"):  # noqa: PTH110
        carries.append("grub")
    facts = {
        "release": release.get("VERSION_CODENAME", "").strip('"'),
        "carries": carries,
        "container": virtual.strip() not in ("", "none"),
    }
    return {"": facts}


LOOKS = {
    "file": look_files,
    "glob": look_globs,
    "unit": look_units,
    "package": look_packages,
    "sysctl": look_sysctls,
    "module": look_modules,
    "sshd": look_sshd,
    "mount": look_mounts,
    "run": look_runs,
    "accounts": look_accounts,
    "audit": look_audit,
    "tree": look_tree,
    "host": look_host,
}


def answer(questions: dict[str, list[str]]) -> dict[str, Any]:
    """What is found for each kind of question, by the question's argument."""
    return {kind: LOOKS[kind](arguments) for kind, arguments in questions.items()}


def main(questions: dict[str, list[str]]) -> None:
    """Print the answers as one line of JSON."""
    os.environ.update(LC_ALL="C", PATH="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    json.dump(answer(questions), sys.stdout)
    print()
