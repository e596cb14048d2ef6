"""Units of systemd: checked before they are installed, restarted only when what they read is newer.

Whether a restart is due is read off the host (is a file newer than the running process?), not remembered
from this run, so a run that was killed between writing a file and restarting is made good by the next.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Generator, Mapping, Sequence

from pyinfra import host, state
from pyinfra.api import QuoteString, StringCommand, operation
from pyinfra.api.command import PyinfraCommand
from pyinfra.api.operation import OperationMeta

from groundwork.facts.placed_files import ChangeTimes
from groundwork.facts.systemd_units import UnitState, UnitStates
from groundwork.operations.placement import PLACEHOLDER
from groundwork.operations.validated_files import validated_file

FOLDER = "/etc/systemd/system"
UNIT_FOLDERS = (FOLDER, "/run/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system")
# It exits 1 on a setting it does not know, too; without --recursive-errors=no a warning about another unit
# would refuse ours. Manual pages are not there on a small host.
VERIFY = ("systemd-analyze", "verify", "--man=no", "--recursive-errors=no")


@operation()
def unit(
    unit: str, content: str, check: bool = True, mode: str | int = "0644"
) -> Generator[PyinfraCommand, None, None]:
    """
    Install a unit file in /etc/systemd/system after ``systemd-analyze verify`` has accepted it.

    + unit: its file name with the suffix, for example ``chorus-planner@.service``
    + content: the whole file, no secret in it
    + check: False where the program it starts is not on the host yet (verify refuses that)

    ``daemon_reload`` comes after the last of them.
    """
    command = [*VERIFY, PLACEHOLDER] if check else None
    yield from validated_file._inner(f"{FOLDER}/{unit}", content, check=command, mode=mode)


def _build_dropin_check(unit: str) -> str:
    """Shell that judges a drop-in together with its unit, in a directory of their own.

    The unit's file is looked up by hand: systemctl knows none while the unit is masked. It gets the unit's own name,
    a template too: an instance's mask in /etc would be found before a template in the directory.
    """
    name = shlex.quote(unit)
    template = shlex.quote(re.sub(r"@[^.]*\.", "@.", unit))
    return (
        "stage=$(mktemp -d) && trap 'rm -rf -- \"$stage\"' EXIT && "
        f'mkdir "$stage/"{name}.d && cp -- {PLACEHOLDER} "$stage/"{name}.d/ && '
        f"for folder in {' '.join(UNIT_FOLDERS)}; do for file in $folder/{name} $folder/{template}; do "
        f'test -f "$file" && cp -- "$file" "$stage/"{name} && break 2; done; done; '
        f'SYSTEMD_UNIT_PATH="$stage": {shlex.join(VERIFY)} "$stage/"{name}'
    )


@operation()
def dropin(unit: str, dropin: str, content: str) -> Generator[PyinfraCommand, None, None]:
    """
    Install a drop-in for a unit that a package or another operation brought, checked together with it.

    + unit: the unit's name with the suffix
    + dropin: the drop-in's file name, for example ``50-groundwork.conf``
    + content: the whole file, no secret in it
    """
    check = _build_dropin_check(unit)
    yield from validated_file._inner(f"{FOLDER}/{unit}.d/{dropin}", content, check=check)


def _read_states(units: Sequence[str]) -> dict[str, UnitState]:
    states = host.get_fact(UnitStates, units=list(units)) if units else {}
    return {name: states.get(name, UnitState()) for name in units}


@operation()
def daemon_reload(units: Sequence[str]) -> Generator[PyinfraCommand, None, None]:
    """
    Let systemd read the unit files again, if one of these units changed on disk since it was read.

    + units: those whose files or drop-ins the role writes
    """
    if any(unit.needs_reload for unit in _read_states(units).values()):
        yield StringCommand("systemctl daemon-reload")
    else:
        host.noop("systemd knows the units as they are")


def _systemctl(verb: str, units: Sequence[str]) -> Generator[PyinfraCommand, None, None]:
    if units:
        yield StringCommand(f"systemctl {verb} --", *[QuoteString(unit) for unit in units])


def _will_change(after: Sequence[OperationMeta]) -> bool:
    """Whether the plan already changes an input; in the run itself the host's own clock decides."""
    return not state.is_executing and any(meta._maybe_is_change for meta in after)


def _newest(times: Mapping[str, float], paths: Sequence[str]) -> float:
    return max((times.get(path, 0.0) for path in paths), default=0.0)


@operation()
def service(
    units: str | Sequence[str],
    running: bool = True,
    enabled: bool | None = True,
    restart_inputs: Sequence[str] = (),
    reload_inputs: Sequence[str] = (),
    after: Sequence[OperationMeta] = (),
) -> Generator[PyinfraCommand, None, None]:
    """
    Bring units to a state: enabled, started, and restarted when a file they read is newer than they are.

    + units: one or several, with their suffix; several are asked for and acted on with one command each
    + running: start or stop them
    + enabled: start them with the host; None leaves that alone (instances that a target wants)
    + restart_inputs: absolute paths; one that changed after the unit started means a restart
    + reload_inputs: the same with a reload, for what the service can read again while running
    + after: results of the operations that write the inputs, so that a plan shows the restart

    A masked unit is unmasked first. Failing to start fails the operation.
    """
    names = [units] if isinstance(units, str) else list(units)
    states = _read_states(names)
    if running or enabled:
        yield from _systemctl("unmask --quiet", [name for name in names if states[name].is_masked])
    if any(unit.needs_reload for unit in states.values()):
        yield StringCommand("systemctl daemon-reload")
    if enabled is not None:
        verb = "enable" if enabled else "disable"
        differing = [name for name in names if states[name].is_enabled != enabled]
        yield from _systemctl(f"{verb} --quiet", [name for name in differing if states[name].can_be_enabled])
    active = [name for name in names if states[name].is_active]
    if not running:
        yield from _systemctl("stop", active)
        return
    stopped = [name for name in names if name not in active]
    yield from _systemctl("reset-failed", [name for name in stopped if states[name].active == "failed"])
    yield from _systemctl("start", stopped)
    inputs = [*restart_inputs, *reload_inputs]
    times = host.get_fact(ChangeTimes, paths=inputs) if inputs and active else {}
    planned = _will_change(after)
    restart_due, reload_due = _newest(times, restart_inputs), _newest(times, reload_inputs)
    stale = [n for n in active if states[n].started < restart_due or (planned and bool(restart_inputs))]
    yield from _systemctl("restart", stale)
    kept = [name for name in active if name not in stale]
    yield from _systemctl("reload", [n for n in kept if states[n].settled < reload_due or planned])


@operation()
def reloaded(units: str | Sequence[str], inputs: Sequence[str]) -> Generator[PyinfraCommand, None, None]:
    """
    Have running units read again what changed after their last start or reload; others are left as they are.

    + units: one or several, with their suffix
    + inputs: absolute paths of what they can read again while running
    """
    states = _read_states([units] if isinstance(units, str) else list(units))
    times = host.get_fact(ChangeTimes, paths=list(inputs))
    newest = _newest(times, inputs)
    stale = [name for name, unit in states.items() if unit.is_active and unit.settled < newest]
    yield from _systemctl("reload", stale)
    if not stale:
        host.noop("what runs has read them")
