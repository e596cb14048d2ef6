from __future__ import annotations

import pytest

from groundwork.facts.systemd_units import UnitStates, parse_timestamp, parse_units

SHOWN = """Id=dbus.service
Names=dbus.service messagebus.service
LoadState=loaded
ActiveState=active
SubState=running
UnitFileState=static
NeedDaemonReload=yes
Result=success
ActiveEnterTimestamp=Sat 2026-11-21 02:12:32.500000 UTC
ExecMainStartTimestamp=Sat 2026-11-21 02:12:31.250000 UTC
StateChangeTimestamp=Sat 2026-11-21 02:12:33.000000 UTC

Id=a.target
Names=a.target
LoadState=loaded
ActiveState=active
UnitFileState=disabled
ActiveEnterTimestamp=Sat 2026-11-21 02:12:32.500000 UTC

Id=gone.service
Names=gone.service
LoadState=not-found
ActiveState=inactive
UnitFileState=
ActiveEnterTimestamp=""".splitlines()


def test_states_by_every_name() -> None:
    states = parse_units(SHOWN)
    assert set(states) == {"dbus.service", "messagebus.service", "a.target", "gone.service"}
    dbus = states["messagebus.service"]
    assert dbus.is_active and dbus.is_enabled and dbus.needs_reload and not dbus.can_be_enabled
    assert dbus.settled - dbus.started == pytest.approx(1.75)
    assert states["a.target"].started == dbus.started + 1.25
    assert not states["a.target"].is_enabled
    gone = states["gone.service"]
    assert (gone.is_active, gone.is_enabled, gone.started) == (False, False, 0.0)


def test_nothing_told_is_nothing_known() -> None:
    assert parse_units([]) == {}
    assert UnitStates().default() == {}


def test_times_as_systemd_writes_them() -> None:
    assert parse_timestamp("") == parse_timestamp("n/a") == 0.0
    assert parse_timestamp("Thu 1970-01-01 00:00:01.500000 UTC") == 1.5
    assert parse_timestamp("Thu 1970-01-01 00:00:02 UTC") == 2.0


def test_unit_names_are_quoted() -> None:
    assert "'a b;c'" in UnitStates().command(["a b;c"]).get_raw_value()
