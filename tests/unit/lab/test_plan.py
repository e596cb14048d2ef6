from __future__ import annotations

from ipaddress import IPv4Network

import pytest

from groundwork.lab.plan import WantedHost, check_same_hosts, check_unchanged, plan_lab, read_lab_hosts
from groundwork.lab.state import checkout_root
from groundwork.problems import ProblemError

GROUPS = {"app": WantedHost(("app",)), "data": WantedHost(("data", "gpu"))}


def make_spec():
    return plan_lab("one", "chorus", "trixie", "base:tag", GROUPS, [IPv4Network("10.213.0.0/24")])


def test_a_new_lab_gets_the_manifests_hosts_on_a_free_network():
    spec = make_spec()
    assert spec.subnet == "10.213.1.0/24"
    assert [(host.name, host.address, host.groups) for host in spec.hosts] == [
        ("app", "10.213.1.11", ("app",)),
        ("data", "10.213.1.12", ("data", "gpu")),
    ]


def test_an_existing_lab_is_not_silently_turned_into_another():
    spec = make_spec()
    check_unchanged(spec, None, None)
    check_unchanged(spec, "chorus", "trixie")
    with pytest.raises(ProblemError, match=r"--release: .*lab down --name one` first.*given bookworm"):
        check_unchanged(spec, None, "bookworm")
    with pytest.raises(ProblemError, match=r"PLATFORM: .*given support; allowed: chorus"):
        check_unchanged(spec, "support", None)


def test_changed_groups_are_taken_over_and_changed_hosts_are_refused():
    spec = make_spec()
    again = check_same_hosts(spec, {"app": WantedHost(("app", "web")), "data": WantedHost(("data",))})
    assert [host.groups for host in again.hosts] == [("app", "web"), ("data",)]
    assert [host.address for host in again.hosts] == [host.address for host in spec.hosts]
    with pytest.raises(ProblemError, match="lab hosts changed"):
        check_same_hosts(spec, {"app": WantedHost(("app",))})


def test_the_lab_section_alone_is_enough_to_boot(tmp_path):
    folder = tmp_path / "platforms"
    folder.mkdir()
    (folder / "one.yaml").write_text("lab:\n  hosts:\n    app: [app]\nnonsense: 1\n")
    assert read_lab_hosts(tmp_path, "one", whole=False) == {"app": WantedHost(("app",))}
    with pytest.raises(ProblemError, match="nonsense"):
        read_lab_hosts(tmp_path, "one")
    (folder / "one.yaml").write_text("lab:\n  hosts:\n    App_1: [app]\n")
    with pytest.raises(ProblemError, match=r"platforms/one\.yaml:3"):
        read_lab_hosts(tmp_path, "one", whole=False)


def test_chorus_asks_for_two_hosts():
    assert list(read_lab_hosts(checkout_root(), "chorus", whole=False)) == ["app", "data"]


def test_changed_cards_need_new_hosts():
    spec = make_spec()
    wanted = {"app": WantedHost(("app",), ("NVIDIA H200",)), "data": WantedHost(("data", "gpu"))}
    with pytest.raises(ProblemError, match="cards"):
        check_same_hosts(spec, wanted)
