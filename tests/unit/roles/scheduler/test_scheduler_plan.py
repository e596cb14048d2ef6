"""Which passes the controller host gets, what is refused, and what units say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from groundwork.operations.ledger_items import Item
from groundwork.operations.rendering import render_template
from groundwork.preflight.findings import Status
from groundwork.preflight.questions import Answers
from groundwork.problems import ProblemError
from groundwork.site import Site, load_site
from groundwork.topology.roles import roles_on
from roles.scheduler import plan, preflight
from roles.scheduler.settings import SchedulerSettings, read_settings
from tests.unit.preflight.projects import Project


def declare(project: Project, *controllers: str, **data: Any) -> Site:
    """The site with these hosts in the group ``controller``."""
    project.data |= data
    project.load()
    inventory = project.root / "inventories/farm.py"
    names = "".join(f"({name!r}, {name}[0][1])," for name in controllers)
    inventory.write_text(f"{inventory.read_text()}controller = [{names}]\n")
    # pyinfra keeps what it compiled of a file under its path.
    named = project.root / "inventories/other.py"
    named.write_text(inventory.read_text())
    return load_site("other", project.root)


def test_the_controller_gets_what_can_run(project: Project) -> None:
    project.manifest["schedules"] |= {"drift": {"task": "drift", "calendar": "daily"}}
    site = declare(project, "app")
    assert "scheduler" in roles_on(site.topology, "app")
    assert "scheduler" not in roles_on(site.topology, "data")
    passes = {one.schedule: one for one in plan.plan_passes(site.platform, site.topology, "app")}
    assert {"verification", "certificates", "drift"} <= set(passes)
    assert plan.plan_passes(site.platform, site.topology, "data") == []
    left_out = plan.list_left_out(site.platform)
    assert set(passes) | set(left_out) == set(site.platform.schedules)
    assert passes["verification"].unit == "groundwork-chorus-verification"
    assert passes["verification"].delay == 900
    window = site.platform.maintenance["weekly"].duration
    assert passes["certificates"].delay <= window * plan.SHARE_OF_WINDOW
    items = plan.list_items("chorus", list(passes.values()))
    assert Item("unit", "groundwork-chorus-verification.timer") in items
    assert plan.list_items("chorus", []) == []


def test_two_controllers_are_refused(project: Project) -> None:
    site = declare(project, "app", "data")
    with pytest.raises(ProblemError, match="only one host can be the controller"):
        plan.check_platform(site.platform, site.topology)


def test_enforcing_needs_a_window(project: Project) -> None:
    project.manifest["schedules"]["enforce"] = {"task": "harden_enforce", "calendar": "weekly"}
    site = declare(project, "app")
    with pytest.raises(ProblemError, match=r"schedules\.enforce\.window: changes hosts"):
        plan.check_platform(site.platform, site.topology)
    assert any(one.status is Status.FAILED for one in preflight.check_site(site))


@pytest.mark.parametrize("given", ["relative", "/with blank", "/x;y", 5])
def test_wrong_settings_are_refused(given: object) -> None:
    with pytest.raises(ProblemError, match="controller_checkout"):
        read_settings({"controller_checkout": given}, "app")


def test_units_say_who_runs_what_and_when(project: Project) -> None:
    site = declare(project, "app")
    one = next(p for p in plan.plan_passes(site.platform, site.topology, "app") if p.schedule == "verification")
    data = {
        "pass_": one,
        "site": site,
        "settings": SchedulerSettings(controller_key="/etc/groundwork/farm.agekey"),
        "owner": "deployer",
        "publisher": "/usr/local/lib/groundwork/chorus/publish-metrics",
        "state": "/srv/groundwork/.state/farm/scheduled",
        "local": False,
    }
    service = render_template("scheduler/pass.service.j2", **data).splitlines()
    assert "User=deployer" in service
    assert "ExecStart=/srv/groundwork/gw schedule run other verification" in service
    assert "LoadCredential=agekey:/etc/groundwork/farm.agekey" in service
    assert "NoNewPrivileges=yes" in service
    timer = render_template("scheduler/pass.timer.j2", **data).splitlines()
    assert "OnCalendar=Mon *-*-* 05:00:00 UTC" in timer
    assert {"RandomizedDelaySec=900", "Persistent=yes"} <= set(timer)
    bare = render_template("scheduler/pass.service.j2", **(data | {"settings": SchedulerSettings(), "local": True}))
    assert "LoadCredential" not in bare
    assert "NoNewPrivileges=no" in bare


def test_preflight_tells_what_the_timers_would_lack(project: Project, tmp_path: Path) -> None:
    site = declare(project, "app", controller_key="/etc/groundwork/farm.agekey")
    assert {"scheduler_checkout", "scheduler_key", "scheduler_calendars"} == set(preflight.ask(site, "app"))
    bad = Answers({"scheduler_key": "deployer 644", "scheduler_calendars": "blue moon"}, {"scheduler_checkout": 1})
    assert {one.id for one in preflight.check_host(site, "app", bad) if one.status is Status.FAILED} == {
        "scheduler.checkout", "scheduler.key", "scheduler.calendars",
    }  # fmt: skip
    good = Answers({"scheduler_key": "root 600"}, {"scheduler_checkout": 0})
    assert all(one.status is Status.PASSED for one in preflight.check_host(site, "app", good))
