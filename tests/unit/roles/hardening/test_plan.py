"""Which controls count on a host, how they stand, and what is laid down for them."""

from __future__ import annotations

from datetime import date

import pytest

from groundwork.problems import ProblemError
from groundwork.report.hardening import ControlStatus, Level, Waiver
from roles.hardening import plan
from roles.hardening.catalogue import ACCESS, CONTROLS, GROUPS, find, select
from roles.hardening.system import MODULES, SSHD, SYSCTL
from tests.unit.roles.hardening.answers import DEFAULTS, make_view

TODAY = date(2026, 11, 25)


def test_names_are_unique_and_every_control_is_described() -> None:
    assert len({control.id for control in CONTROLS}) == len(CONTROLS)
    for control in CONTROLS:
        assert control.title, control.id
        assert control.rationale.endswith((".", ")")), control.id
        assert control.references, control.id
        assert control.requires, control.id
        assert control.group in GROUPS


def test_levels_include_those_before_them() -> None:
    baseline, strict, paranoid = ({c.id for c in select(level)} for level in Level)
    assert baseline < strict < paranoid == {control.id for control in CONTROLS}


def test_a_bare_host_fails_and_says_what_it_found() -> None:
    view = make_view(CONTROLS)
    results = {one.id: one for one in plan.judge(CONTROLS, view, {}, TODAY)}
    assert results["ssh-root"].status is ControlStatus.FAILED
    assert results["ssh-root"].evidence == ("sshd: PermitRootLogin is not told",)
    assert results["module-cramfs"].status is ControlStatus.FAILED
    assert results["files-accounts"].status is ControlStatus.PASSED


def test_workloads_keep_controls_away() -> None:
    view = make_view(CONTROLS, carries=frozenset({"containers", "reverse_proxy"}))
    results = {one.id: one for one in plan.judge(CONTROLS, view, {}, TODAY)}
    for name in ("sysctl-ip-forward", "module-overlay", "sysctl-userns", "service-web"):
        assert results[name].status is ControlStatus.NOT_APPLICABLE
        assert results[name].evidence[0]
        assert find(name) not in plan.list_enforced(Level.PARANOID, view, {})


def test_a_container_is_judged_by_what_it_has() -> None:
    host = {**DEFAULTS["host"], "container": True}
    view = make_view(CONTROLS, {("host", ""): host, ("sysctl", "kernel.kptr_restrict"): {"live": "0", "declared": "2"}})
    results = {one.id: one for one in plan.judge(CONTROLS, view, {}, TODAY)}
    assert results["sysctl-kptr"].status is ControlStatus.PASSED
    assert results["sysctl-kptr"].partly
    assert results["time-kept"].status is ControlStatus.NOT_APPLICABLE


@pytest.mark.parametrize(
    ("until", "status"),
    [
        (date(2026, 11, 25), ControlStatus.WAIVED),
        (date(2026, 11, 24), ControlStatus.EXPIRED),
    ],
)
def test_a_waiver_counts_until_its_day_is_over(until: date, status: ControlStatus) -> None:
    control = find("ssh-root")
    assert control is not None
    waiver = Waiver(reason="the old scanner logs in as root", until=until)
    result = plan.judge([control], make_view([control]), {"ssh-root": waiver}, TODAY)[0]
    assert result.status is status
    assert result.waiver == waiver
    assert control not in plan.list_enforced(Level.BASELINE, make_view(CONTROLS), {"ssh-root": waiver})


def test_files_gather_the_lines_of_all_their_controls() -> None:
    view = make_view(CONTROLS)
    files = {file.path: file for file in plan.assemble(CONTROLS, view)}
    assert "PermitRootLogin no" in files[SSHD].content.splitlines()
    assert files[SSHD].mode == "0600"
    assert "kernel.kptr_restrict = 2" in files[SYSCTL].content.splitlines()
    assert files[MODULES].content.count("install cramfs /bin/false") == 1
    without = plan.assemble([c for c in CONTROLS if c.id != "ssh-root"], view)
    assert "PermitRootLogin" not in next(file.content for file in without if file.path == SSHD)


def test_a_run_as_root_is_refused_before_it_locks_itself_out() -> None:
    controls = select(Level.BASELINE)
    with pytest.raises(ProblemError, match="logs in as root"):
        plan.check_login(controls, make_view(controls, login="root"), "app")
    plan.check_login([c for c in controls if c.id != "ssh-root"], make_view(controls, login="root"), "app")


def test_each_file_of_ours_is_one_groups() -> None:
    view = make_view(CONTROLS)
    owners: dict[str, set[str]] = {}
    for control in CONTROLS:
        for file in plan.assemble([control], view):
            owners.setdefault(file.path, set()).add("access" if control.group in ACCESS else control.group)
    assert {path: groups for path, groups in owners.items() if len(groups) > 1} == {}
