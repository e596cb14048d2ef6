"""Requirements on the kernel, packages, units, mounts and the SSH server."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from typing_extensions import override

from roles.hardening.control import Question, Requirement, View
from roles.hardening.draft import Draft

SYSCTL = "/etc/sysctl.d/99-zz-groundwork-hardening.conf"
MODULES = "/etc/modprobe.d/groundwork-hardening.conf"
SSHD = "/etc/ssh/sshd_config.d/00-groundwork-hardening.conf"


@dataclass(frozen=True)
class Sysctl(Requirement):
    """A kernel setting, now and at the next boot. ``also`` lists further values that are as good."""

    key: str
    value: str
    also: tuple[str, ...] = ()
    needs_kernel = True

    @override
    def questions(self) -> Iterable[Question]:
        return [("sysctl", self.key)]

    def _is_judged_live(self, view: View) -> bool:
        # A container has its own network settings; all others are the machine's, and not every one is shown.
        live = view.ask("sysctl", self.key)["live"]
        return live is not None and (not view.container or self.key.startswith("net."))

    @override
    def judge(self, view: View) -> list[str]:
        answer, good = view.ask("sysctl", self.key), (self.value, *self.also)
        if answer["live"] is None and not view.container:
            # The kernel has no such setting (IPv6 off, another architecture).
            return []
        faults = []
        if self._is_judged_live(view) and answer["live"] not in good:
            faults.append(f"{self.key} is {answer['live']}")
        if answer["declared"] not in good:
            faults.append(f"{self.key} is {answer['declared'] or 'not set'} in sysctl.d")
        return faults

    @override
    def lay_down(self, view: View) -> Mapping[str, tuple[str, ...]]:
        return {SYSCTL: (f"{self.key} = {self.value}",)}

    @override
    def mend(self, view: View, draft: Draft) -> None:
        live = view.ask("sysctl", self.key)["live"]
        if self._is_judged_live(view) and live not in (self.value, *self.also):
            setting, former = shlex.quote(f"{self.key}={self.value}"), shlex.quote(f"{self.key}={live}")
            draft.command(f"sysctl -q -w {setting}", f"sysctl -q -w {former}")


@dataclass(frozen=True)
class NoModule(Requirement):
    """A kernel module that cannot be loaded, and is not."""

    name: str
    needs_kernel = True

    @override
    def questions(self) -> Iterable[Question]:
        return [("module", self.name)]

    @override
    def judge(self, view: View) -> list[str]:
        answer = view.ask("module", self.name)
        faults = [] if answer["refused"] else [f"{self.name} may be loaded"]
        faults += [] if answer["blacklisted"] else [f"{self.name} is not blacklisted"]
        return faults + ([f"{self.name} is loaded"] if answer["loaded"] and not view.container else [])

    @override
    def lay_down(self, view: View) -> Mapping[str, tuple[str, ...]]:
        return {MODULES: (f"install {self.name} /bin/false", f"blacklist {self.name}")}

    @override
    def mend(self, view: View, draft: Draft) -> None:
        if view.ask("module", self.name)["loaded"] and not view.container:
            draft.command(f"modprobe -r -- {self.name} || true")


@dataclass(frozen=True)
class Installed(Requirement):
    """Packages that are there."""

    names: tuple[str, ...]

    @override
    def questions(self) -> Iterable[Question]:
        return [("package", name) for name in self.names]

    @override
    def judge(self, view: View) -> list[str]:
        return [f"{name} is not installed" for name in self.names if not view.installed(name)]

    @override
    def packages(self, view: View) -> tuple[str, ...]:
        return self.names


@dataclass(frozen=True)
class NotInstalled(Requirement):
    """Packages that are not there."""

    names: tuple[str, ...]

    @override
    def questions(self) -> Iterable[Question]:
        return [("package", name) for name in self.names]

    @override
    def judge(self, view: View) -> list[str]:
        return [f"{name} is installed" for name in self.names if view.installed(name)]

    @override
    def mend(self, view: View, draft: Draft) -> None:
        draft.purges.update({name: None for name in self.names if view.installed(name)})


@dataclass(frozen=True)
class Unit(Requirement):
    """A unit that starts at boot and runs. In a container only the first where it ``needs_kernel``."""

    name: str
    runs: bool = True
    needs_kernel: bool = False

    @override
    def questions(self) -> Iterable[Question]:
        return [("unit", self.name)]

    @override
    def judge(self, view: View) -> list[str]:
        answer = view.ask("unit", self.name)
        if answer["load"] == "not-found":
            return [f"{self.name} does not exist"]
        faults = [] if answer["enabled"] not in ("disabled", "masked") else [f"{self.name} is {answer['enabled']}"]
        idle = answer["active"] not in ("active", "activating", "reloading")
        judged = self.runs and not (self.needs_kernel and view.container)
        return faults + ([f"{self.name} is {answer['active']}"] if judged and idle else [])

    @override
    def mend(self, view: View, draft: Draft) -> None:
        answer = view.ask("unit", self.name)
        if answer["enabled"] == "masked":
            draft.unit(self.name, "unmask --quiet", "mask --quiet")
        if answer["enabled"] in ("disabled", "masked"):
            draft.unit(self.name, "enable --quiet", "disable --quiet" if answer["enabled"] == "disabled" else "")
        judged = self.runs and not (self.needs_kernel and view.container)
        if judged and answer["active"] != "active":
            draft.unit(self.name, "start", "stop" if answer["load"] != "not-found" else "")


@dataclass(frozen=True)
class Off(Requirement):
    """Units that neither run nor start: masked where they exist."""

    names: tuple[str, ...]

    @override
    def questions(self) -> Iterable[Question]:
        return [("unit", name) for name in self.names]

    def _wrong(self, view: View) -> list[str]:
        wrong = []
        for name in self.names:
            answer = view.ask("unit", name)
            there = answer["load"] not in ("not-found", "masked") or answer["active"] == "active"
            wrong += [name] if there else []
        return wrong

    @override
    def judge(self, view: View) -> list[str]:
        return [f"{name} is not masked" for name in self._wrong(view)]

    @override
    def mend(self, view: View, draft: Draft) -> None:
        for name in self._wrong(view):
            answer = view.ask("unit", name)
            quoted = shlex.quote(name)
            restore = [f"systemctl unmask --quiet -- {quoted}"]
            restore += [f"systemctl enable --quiet -- {quoted}"] if answer["enabled"] == "enabled" else []
            restore += [f"systemctl start -- {quoted}"] if answer["active"] == "active" else []
            draft.command(f"systemctl mask --now --quiet -- {quoted}", " && ".join(restore))


@dataclass(frozen=True)
class Mounted(Requirement):
    """A file system of its own with mount options; ``source`` is what mounts it, a unit of ours or /etc/fstab."""

    path: str
    options: tuple[str, ...]
    required: bool = False
    """Whether it has to be a file system of its own; otherwise only one that is there is judged."""
    needs_kernel = True

    @override
    def questions(self) -> Iterable[Question]:
        return [("mount", self.path), ("file", "/etc/fstab")]

    @override
    def judge(self, view: View) -> list[str]:
        mount = view.ask("mount", self.path)
        if mount is None:
            return [f"{self.path} is not a file system of its own"] if self.required else []
        return [f"{self.path} is mounted without {option}" for option in self.options if option not in mount["options"]]

    @override
    def mend(self, view: View, draft: Draft) -> None:
        mount = view.ask("mount", self.path)
        lacking = [option for option in self.options if mount and option not in mount["options"]]
        if not lacking:
            return
        draft.edit("/etc/fstab", lambda text: add_mount_options(text, self.path, self.options, str(mount["type"])))
        former = ",".join(f"no{option}".replace("nono", "") for option in lacking)
        quoted = shlex.quote(self.path)
        draft.command(f"mount -o remount,{','.join(self.options)} {quoted}", f"mount -o remount,{former} {quoted}")


def add_mount_options(text: str, path: str, options: tuple[str, ...], kind: str) -> str:
    """Return the text of /etc/fstab with options added to the line of a path; a tmpfs without one gets a line."""
    lines, found = [], False
    for line in text.splitlines():
        fields = line.split()
        if len(fields) >= 4 and not line.lstrip().startswith("#") and fields[1] == path:
            found = True
            given = [option for option in fields[3].split(",") if option != "defaults"]
            fields[3] = ",".join(dict.fromkeys([*given, *options])) or "defaults"
            line = " ".join(fields)
        lines.append(line)
    if not found and kind == "tmpfs":
        lines.append(f"tmpfs {path} tmpfs rw,{','.join(options)} 0 0")
    return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class SshOption(Requirement):
    """A setting of the SSH server, as ``sshd -T`` tells it. ``accept`` judges its value; equality by default."""

    key: str
    value: str
    accept: Callable[[str], bool] | None = None

    @override
    def questions(self) -> Iterable[Question]:
        return [("sshd", "")]

    @override
    def judge(self, view: View) -> list[str]:
        given = " ".join(view.ask("sshd").get(self.key.lower(), []))
        good = self.accept(given.lower()) if self.accept else given.lower() == self.value.lower()
        return [] if good else [f"sshd: {self.key} is {given or 'not told'}"]

    @override
    def lay_down(self, view: View) -> Mapping[str, tuple[str, ...]]:
        return {SSHD: (f"{self.key} {self.value}",)}
