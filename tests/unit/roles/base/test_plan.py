from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundwork.inventory import InventoryHost
from groundwork.operations.ledger_items import PREFIXES, Item, check_item
from groundwork.operations.rendering import render_template
from groundwork.problems import ProblemError
from roles.base import plan
from roles.base.settings import HostSettings

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGmZ5Yw0s7c0Y3Xv7m1bq4nQ8kq0oE0a1b2c3d4e5f6g alice"


@pytest.mark.parametrize(
    ("distribution", "codename", "expected"),
    [("debian", "bullseye", None), ("ubuntu", "noble", None), ("", "", None), ("debian", "trixie", "bookworm")],
)
def test_another_release_is_refused_in_one_line(distribution: str, codename: str, expected: str | None) -> None:
    with pytest.raises(ProblemError) as caught:
        plan.check_release(distribution, codename, expected, "web1")
    assert str(caught.value).startswith("host web1: ")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(("codename", "expected"), [("trixie", None), ("bookworm", "bookworm")])
def test_supported_releases_pass(codename: str, expected: str | None) -> None:
    plan.check_release("debian", codename, expected, "web1")


def test_only_accounts_of_this_role_are_ever_removed() -> None:
    settings = HostSettings.model_validate({"operators": {"alice": {"keys": [KEY]}, "bob": {"keys": [KEY]}}})
    items = plan.list_items(settings, ["bob"], {"bob": "/home/bob"})
    assert Item("user", "bob") in items
    assert Item("user", "alice") not in items
    assert Item("file", "/home/bob/.ssh/authorized_keys") in items
    assert [item for item in items if check_item(item, (*PREFIXES, "/home/bob/.ssh/"))] == []


def test_the_account_we_came_by_is_kept_when_it_is_no_longer_declared() -> None:
    declared = HostSettings.model_validate({"operators": {"alice": {"keys": [KEY]}, "bob": {"keys": [KEY]}}})
    homes = {"alice": "/home/alice", "bob": "/home/bob"}
    old = plan.list_items(declared, ["alice", "bob"], homes)
    kept = plan.keep_connecting(old, {"alice"})
    names = {item.name for item in kept}
    assert names == {"alice", "/etc/sudoers.d/50-groundwork-alice", "/home/alice/.ssh/authorized_keys"}
    assert plan.list_leaving(old, kept) == ["bob"]


def test_a_home_elsewhere_keeps_its_keys_file() -> None:
    settings = HostSettings.model_validate({"operators": {"alice": {"keys": [KEY]}}})
    assert Item("file", "/srv/alice/.ssh/authorized_keys") not in plan.list_items(settings, [], {"alice": "/srv/alice"})


def test_host_lines_name_every_host_with_an_address() -> None:
    hosts = [
        InventoryHost("app", "10.0.0.1"),
        InventoryHost("@ssh/db.example.org", "10.0.0.2"),
        InventoryHost("named.example.org", "named.example.org"),
        InventoryHost("10.0.0.4", "10.0.0.4"),
        InventoryHost("x y", "10.0.0.5"),
    ]
    assert plan.list_host_lines(hosts) == ["10.0.0.1 app", "10.0.0.2 db.example.org db"]


lines = st.lists(st.text(alphabet="abc #.:1", min_size=1).filter(lambda line: line.strip()), max_size=6)


@given(lines, lines, lines)
def test_the_hosts_file_keeps_what_is_not_ours(theirs: list[str], first: list[str], second: list[str]) -> None:
    text = "".join(f"{line}\n" for line in theirs)
    once = plan.place_host_lines(plan.place_host_lines(text, first), second)
    assert once == plan.place_host_lines(once, second)
    assert once.splitlines() == [plan.HOSTS_BEGIN, *second, plan.HOSTS_END, *theirs]


def test_a_block_without_its_end_loses_nothing() -> None:
    placed = plan.place_host_lines(f"{plan.HOSTS_BEGIN}\n10.0.0.1 app\n127.0.0.1 localhost\n", ["10.0.0.1 app"])
    assert placed.splitlines()[3:] == ["10.0.0.1 app", "127.0.0.1 localhost"]


def render_upgrades(**data: object) -> str:
    return render_template("base/security-upgrades.j2", settings=HostSettings.model_validate(data))


def test_held_packages_are_left_alone_exactly() -> None:
    assert '    "^libstdc\\+\\+6$";' in render_upgrades(held_packages=["libstdc++6"]).splitlines()


def test_reboots_only_when_a_time_is_given() -> None:
    assert 'Automatic-Reboot "false";' in render_upgrades()
    assert 'Automatic-Reboot-Time "02:30";' in render_upgrades(security_upgrades_reboot="02:30")


def test_declared_time_servers_replace_the_pool() -> None:
    text = render_template("base/chrony.conf.j2", servers=["ntp1.example.org"])
    assert "server ntp1.example.org iburst" in text
    assert "pool " not in text
    assert "pool 2.debian.pool.ntp.org iburst" in render_template("base/chrony.conf.j2", servers=[])
