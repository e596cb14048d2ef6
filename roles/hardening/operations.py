"""Operations of hardening: they look at the host, keep what is there, and change what is not as the controls want."""

from __future__ import annotations

import json
import shlex
from collections.abc import Generator, Sequence

from pyinfra import host, logger, state
from pyinfra.api import FunctionCommand, QuoteString, StringCommand, operation
from pyinfra.api.command import PyinfraCommand

from groundwork.operations import apt
from groundwork.operations.confirmation import confirm_anew, connector_arguments
from groundwork.operations.placement import Placement, ScriptInput, parse_mode
from groundwork.operations.validated_files import judge_file, validated_file
from roles.hardening import plan
from roles.hardening.control import Control, View
from roles.hardening.draft import Draft
from roles.hardening.facts import Answers, KeptOriginals, Questions
from roles.hardening.questions import ONHOST, build_command, list_questions

TRIAL_SECONDS = 180
_BEFORE = "/var/lib/groundwork/hardening/packages-before"
_ADDED = "/var/lib/groundwork/hardening/packages-added"
_LIST_INSTALLED = "dpkg-query -W -f '${Package} ${db:Status-Status}\\n' | sed -n 's/ installed$//p' | sort"
# Dependencies, too. dpkg keeps what something else has come to depend on.
_REMOVE_ADDED = (
    f"test ! -s {_ADDED} || DEBIAN_FRONTEND=noninteractive xargs -a {_ADDED} dpkg --purge || true; rm -f {_ADDED}"
)
SLOW_SECONDS = 3600
"""AIDE reads every file of the host."""


def look(controls: Sequence[Control], base: View) -> View:
    """The host as some controls see it, asked anew."""
    answers = host.get_fact(Answers, questions=Questions(list_questions(controls)))
    return View(answers, base.carries, base.login, base.controllers)


def _keep(contents: Sequence[str], attributes: Sequence[str], undo: Sequence[tuple[str, str]]) -> PyinfraCommand:
    """Note down on the host what is there, before it is changed."""
    program = (ONHOST / "keep.py").read_text("utf-8")
    task = {"contents": list(contents), "attributes": list(attributes), "undo": [list(pair) for pair in undo]}
    script = f"{program}\nmain('keep', json.loads({json.dumps(json.dumps(task))}))\n"
    return StringCommand("base64 -d | python3 -I -", _stdin=ScriptInput(script.encode()))  # type: ignore[arg-type]


@operation()
def needed_packages(packages: Sequence[str]) -> Generator[PyinfraCommand, None, None]:
    """
    Install what the controls need, noting which of it was not there.

    + packages: names of Debian packages
    """
    present = host.get_fact(Answers, questions=Questions([("package", name) for name in sorted(packages)]))["package"]
    missing = [name for name, there in present.items() if not there]
    if not missing:
        host.noop("the packages are installed")
        return
    yield _keep([], [], [("install packages", _REMOVE_ADDED)])
    # A list that a killed run left is from before what that run installed.
    yield StringCommand(f"test -e {_BEFORE} || {_LIST_INSTALLED} > {_BEFORE}")
    yield from apt.packages._inner(missing)
    yield StringCommand(f"{_LIST_INSTALLED} | comm -13 {_BEFORE} - >> {_ADDED} && rm -f {_BEFORE}")


@operation()
def controls(
    group: str, controls: Sequence[Control], view: View, switch: str = ""
) -> Generator[PyinfraCommand, None, None]:
    """
    Bring a group of controls about.

    + group: its name, for what is said
    + controls: those that are enforced on this host
    + view: what the host carries
    + switch: path of ``access-switch``, for controls that decide who may log in: they are put on trial
    """
    current = look(controls, view)
    draft = Draft(current)
    for control in controls:
        for requirement in control.requires:
            requirement.mend(current, draft)
    own = [file for file in plan.assemble(controls, current) if _differs(file)]
    if draft.is_empty and not own:
        host.noop(f"{group}: as the controls want it")
        return
    if state.config.DIFF:
        _tell(draft, own)
    contents = sorted({*draft.contents, *draft.removals, *draft.touched, *(file.path for file in own)})
    undo = [(command.do, command.undo) for command in draft.commands.values() if command.undo]
    undo += [(f"purge {name}", f"apt-get -q -y install {name}") for name in draft.purges]
    yield _keep(contents, sorted(draft.modes), undo)
    if switch:
        yield _start_trial(switch, [*contents, *draft.modes])
    yield from _change(draft, own)
    if switch:
        yield StringCommand("sshd -t && visudo -cq ||", _revert(switch))
        yield StringCommand("systemctl try-reload-or-restart ssh.service ||", _revert(switch))
        yield FunctionCommand(confirm_anew, (switch, connector_arguments(host), "settings of who may log in"), {})


def _start_trial(switch: str, paths: Sequence[str]) -> PyinfraCommand:
    # Commands of these groups change accounts, whatever files they name.
    always = ["/etc/passwd", "/etc/shadow", "/etc/group", "/etc/gshadow"]
    text = "\n".join(dict.fromkeys([*always, *paths])) + "\n"
    stdin = ScriptInput(text.encode())
    return StringCommand(QuoteString(switch), "try", str(TRIAL_SECONDS), _stdin=stdin)  # type: ignore[arg-type]


def _revert(switch: str) -> StringCommand:
    return StringCommand("{", QuoteString(switch), "revert; exit 1; }")


def _differs(file: plan.OwnFile) -> bool:
    placement = Placement(file.path, "root", "root", parse_mode(file.mode))
    return bool(judge_file(placement, file.content.encode()))


def _change(draft: Draft, own: Sequence[plan.OwnFile]) -> Generator[PyinfraCommand, None, None]:
    reactions: dict[str, None] = {}
    for file in own:
        yield from validated_file._inner(file.path, file.content, check=file.check, mode=file.mode)
        reactions.update({command: None for command in [plan.find_reaction(file.path)] if command})
    for path, content in draft.contents.items():
        entry = draft.view.ask("file", path)
        there = entry["kind"] == "file"
        yield from validated_file._inner(
            path,
            content,
            check=draft.checks.get(path),
            user=entry["user"] if there else "root",
            group=entry["group"] if there else "root",
            mode=int(entry["mode"]) if there else 0o644,
        )
    for path in draft.removals:
        yield StringCommand("rm", "-f", "--", QuoteString(path))
    if draft.purges:
        yield from apt.packages._inner(list(draft.purges), present=False)
    for command in draft.commands.values():
        yield StringCommand(command.do, _timeout=SLOW_SECONDS)
    for path, attributes in draft.modes.items():
        quoted = shlex.quote(path)
        if attributes.user or attributes.group:
            owner = f"{attributes.user or ''}:{attributes.group}" if attributes.group else str(attributes.user)
            yield StringCommand(f"chown -h {owner} -- {quoted}")
        if attributes.mode is not None:
            yield StringCommand(f"chmod {attributes.mode:04o} -- {quoted}")
    for reload in [*reactions, *draft.reloads]:
        yield StringCommand(reload)


def _tell(draft: Draft, own: Sequence[plan.OwnFile]) -> None:
    for file in own:
        host.log(f"Will write {file.path}", logger.info)
    for path in draft.contents:
        host.log(f"Will change {path}", logger.info)
    for path in draft.removals:
        host.log(f"Will remove {path}", logger.info)
    for name in draft.purges:
        host.log(f"Will remove the package {name}", logger.info)
    for path, attributes in draft.modes.items():
        mode = f" {attributes.mode:04o}" if attributes.mode is not None else ""
        host.log(f"Will set{mode} {attributes.user or ''}:{attributes.group or ''} on {path}", logger.info)
    for command in [*draft.commands, *draft.reloads]:
        host.log(f"Will run {command}", logger.info)


@operation()
def originals_restored(switch: str) -> Generator[PyinfraCommand, None, None]:
    """
    Put back what was there before the first run, on trial where it decides who may log in.

    + switch: path of ``access-switch``
    """
    kept = host.get_fact(KeptOriginals)
    if not kept["files"] and not kept["undo"]:
        host.noop("nothing is kept: the host was not hardened, or is reverted already")
        return
    if state.config.DIFF:
        for path in kept["files"]:
            host.log(f"Will put back {path}", logger.info)
        for _do, undo in reversed(kept["undo"]):
            host.log(f"Will run {undo}", logger.info)
    yield _start_trial(switch, list(kept["files"]))
    yield StringCommand(build_command("keep.py", "restore", {}), _timeout=SLOW_SECONDS)
    yield StringCommand("systemctl daemon-reload")
    yield StringCommand("sshd -t && visudo -cq ||", _revert(switch))
    yield StringCommand("systemctl try-reload-or-restart ssh.service ||", _revert(switch))
    yield FunctionCommand(confirm_anew, (switch, connector_arguments(host), "settings of who may log in"), {})
    yield StringCommand(build_command("keep.py", "forget", {}))
