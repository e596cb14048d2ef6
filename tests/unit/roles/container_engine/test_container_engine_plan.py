"""How an engine is set up: what is refused, what is kept, and what Docker is told."""

from __future__ import annotations

import json

import pytest

from groundwork.inventory import InventoryHost
from groundwork.problems import ProblemError
from groundwork.topology.containers import POOL, container_pool
from roles.container_engine.facts import Engine, EngineState, UserNamespaces
from roles.container_engine.plan import (
    EnginePlan,
    check_owner,
    choose_mapping,
    list_items,
    list_packages,
    render_configuration,
)
from roles.container_engine.settings import read_settings

PLAN = EnginePlan("chorus", POOL, ("chorus-planner@1.service",))


def test_the_configuration_is_hardened() -> None:
    settings = json.loads(render_configuration(PLAN, maps_users=True))
    assert settings["userns-remap"] == "default"
    assert settings["live-restore"] is True
    assert settings["no-new-privileges"] is True
    assert settings["icc"] is False
    assert settings["userland-proxy"] is False
    assert settings["log-opts"] == {"max-size": "10m", "max-file": "3"}
    assert settings["default-address-pools"] == [{"base": "172.30.0.0/16", "size": 26}]
    # No TCP socket, and the profiles of seccomp and AppArmor that Docker brings.
    assert not {"hosts", "tcp", "seccomp-profile", "insecure-registries"} & set(settings)


def test_without_user_namespaces_nothing_else_changes() -> None:
    mapped, plain = (json.loads(render_configuration(PLAN, maps_users=on)) for on in (True, False))
    assert {key for key in mapped if key not in plain} == {"userns-remap"}


@pytest.mark.parametrize(
    ("setting", "obstacle", "mapped", "expected"),
    [
        ("auto", "", False, True),
        ("auto", "mount: permission denied", False, False),
        # Images of the one way are out of sight in the other: it is not taken back by itself.
        ("auto", "mount: permission denied", True, True),
        ("on", "", False, True),
        ("off", "", False, False),
        ("off", "", True, False),
    ],
)
def test_users_are_mapped_where_it_works(setting: str, obstacle: str, mapped: bool, expected: bool) -> None:
    assert choose_mapping(setting, obstacle, mapped=mapped, foreign=(), host="app") is expected  # type: ignore[arg-type]


def test_a_mapping_that_cannot_be_is_refused_with_the_reason() -> None:
    with pytest.raises(ProblemError, match="unshare failed: No space left") as raised:
        choose_mapping("on", "unshare failed: No space left", mapped=False, foreign=(), host="app")
    assert raised.value.problems[0].key == "host app: container_engine_userns"


def test_containers_of_others_are_not_hidden() -> None:
    with pytest.raises(ProblemError, match="registry, runner"):
        choose_mapping("auto", "", mapped=False, foreign=("registry", "runner"), host="app")
    assert choose_mapping("off", "", mapped=False, foreign=("registry",), host="app") is False


def test_somebody_elses_configuration_is_left_alone() -> None:
    check_owner(None, owned=False, host="app")
    check_owner("{}", owned=True, host="app")
    with pytest.raises(ProblemError, match="none of ours"):
        check_owner("{}", owned=False, host="app")


def test_the_command_line_is_a_package_of_its_own_from_debian_13_on() -> None:
    assert "docker-cli" not in list_packages("12")
    assert "docker-cli" in list_packages("13")


def test_the_unit_is_removed_after_its_socket_was_laid_down() -> None:
    assert [item.name for item in list_items()][-2:] == ["docker.socket", "docker.service"]


@pytest.mark.parametrize("given", ["10.0.0.0/28", "8.8.0.0/16", "fd00::/64", "nonsense", "172.30.1.0/16"])
def test_a_pool_that_is_none_is_refused(given: str) -> None:
    model = InventoryHost("app", "10.0.0.11", frozenset({"app"}), {"container_networks": given})
    with pytest.raises(ProblemError, match="container_networks"):
        container_pool(model)


def test_settings_name_what_is_wrong() -> None:
    assert read_settings({"container_engine_userns": "off"}, "app").container_engine_userns == "off"
    with pytest.raises(ProblemError, match="container_engine_userns"):
        read_settings({"container_engine_userns": "maybe"}, "app")


def test_the_engine_is_read() -> None:
    output = ["installed", "file e30K", 'options ["name=seccomp,profile=builtin","name=userns"]', "foreign registry"]
    state = Engine().process(output)
    assert state == EngineState(True, "{}\n", True, ("registry",))
    assert Engine().process([]) == EngineState()
    assert UserNamespaces().process(["unshare: unshare failed: Operation not permitted"]).startswith("unshare")
    assert UserNamespaces().process([]) == ""
