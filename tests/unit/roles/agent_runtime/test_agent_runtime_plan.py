from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from groundwork.inventory import make_inventory
from groundwork.manifest import load
from groundwork.problems import ProblemError
from groundwork.topology import derive
from groundwork.topology.accounts import user_name
from roles.agent_runtime.environment import process_variables, render_configuration, render_instance
from roles.agent_runtime.network import permitted_addresses
from roles.agent_runtime.plan import plan_host


def test_names_are_cut_and_kept_apart() -> None:
    assert user_name("chorus", "prediction") == "chorus-prediction"
    long = [user_name("a" * 20, "b" * 30 + end) for end in ("x", "y")]
    assert [len(name) for name in long] == [32, 32]
    assert long[0] != long[1]


def test_hosts_without_agents_have_an_empty_plan(case: Any) -> None:
    plan = plan_host(case.platform, case.topology, "data")
    assert (plan.groups, plan.processes, plan.phases, plan.credentials) == ((), (), (), ())


def test_restarts_go_by_dependency_and_try_one_of_each_first(case: Any) -> None:
    plan = plan_host(case.platform, case.topology, "app")
    predictor = [f"chorus-agent-predictor@{n}.service" for n in (1, 2, 3, 4)]
    assert plan.phases == ((predictor[0],), tuple(predictor[1:]), ("chorus-simulation@1.service",))


def test_a_dependency_on_a_group_waits_for_all_its_units(case: Any) -> None:
    case.manifest["groups"]["simulation"]["needs"] = []
    case.manifest["groups"]["simulation"]["after"] = ["prediction"]
    plan = plan_host(case.platform, case.topology, "app")
    assert plan.phases[-1] == ("chorus-simulation@1.service",)
    assert plan.processes[-1].after == ("chorus-prediction.target",)


def test_the_environment_holds_paths_of_secrets_and_no_secret(case: Any) -> None:
    case.group["environment"] = {
        "TOKEN": {"secret": "llm_api_key"},
        "PLAIN": "x",
        "PEER": {"url_of": "agent-simulator"},
    }
    process = case.topology.processes_on("app")[1]
    plain, secrets = process_variables(case.platform, case.topology, process)
    assert secrets == {
        "TOKEN_FILE": "llm_api_key",
        "LLM_API_KEY_FILE": "llm_api_key",
        "REDIS_PASSWORD_FILE": "redis_prediction",
    }
    assert plain["PLAIN"] == "x"
    assert plain["PEER"] == "https://10.0.0.11:8010"
    assert (plain["REDIS_HOST"], plain["REDIS_PORT"], plain["REDIS_USERNAME"]) == ("10.0.0.12", "6379", "prediction")
    assert (plain["AGENT_NAME"], plain["AGENT_REPLICA"], plain["AGENT_PORT"]) == ("agent-predictor", "2", "8001")
    assert plain["GROUNDWORK_INSTANCE_FILE"] == "/etc/groundwork/chorus/instances/chorus-agent-predictor@2.json"


def test_the_configuration_file_names_secrets_only_in_what_the_check_sees(case: Any) -> None:
    configuration = case.platform.groups["prediction"].configuration
    content, candidate = render_configuration(case.platform, case.topology, "app", configuration)
    assert "REDIS_HOST=10.0.0.12" in content.splitlines()
    assert "DEBUG=false" in content.splitlines()
    assert not [line for line in content.splitlines() if line.startswith("LLM_API_KEY")]
    assert "LLM_API_KEY_FILE=%d/llm_api_key" in candidate.splitlines()


def test_a_json_configuration_keeps_types(case: Any) -> None:
    values = {"flag": True, "number": 3, "name": "x", "store": {"port_of": "redis"}, "key": {"secret": "llm_api_key"}}
    case.group["configuration"] = {"file": "prediction.json", "format": "json", "values": values}
    configuration = case.platform.groups["prediction"].configuration
    content, candidate = render_configuration(case.platform, case.topology, "app", configuration)
    assert json.loads(content) == {"flag": True, "number": 3, "name": "x", "store": "6379"}
    assert json.loads(candidate)["key_FILE"] == "%d/llm_api_key"


def test_a_value_with_a_line_end_is_a_problem(case: Any) -> None:
    case.group["configuration"]["values"]["LLM_MODEL"] = "x\nDEBUG=true"
    with pytest.raises(ProblemError, match=r"groups\.prediction\.configuration\.values: .*control character"):
        plan_host(case.platform, case.topology, "app")


def test_instance_files_follow_the_contract(case: Any) -> None:
    processes = case.topology.processes_on("app")
    content = json.loads(render_instance(case.platform, case.topology, processes[-1]))
    assert content["unit"] == "chorus-simulation@1"
    assert content["agents"] == [
        {
            "name": "agent-simulator",
            "replica": 1,
            "module": "agent_runtime.chorus.simulator",
            "bind": "10.0.0.11",
            "port": 8010,
            "health_subject": None,
        }
    ]
    assert [peer["port"] for peer in content["peers"]["agent-predictor"]] == [8000, 8001, 8002, 8003]
    redis = content["services"]["redis"]
    assert redis["endpoints"] == [{"host": "data", "address": "10.0.0.12", "port": 6379}]
    assert (redis["username"], redis["credential"], redis["keys"]) == ("simulation", "redis_simulation", ["chorus:*"])


def test_only_addresses_of_flows_are_let_through(case: Any) -> None:
    first, *_, simulation = case.topology.processes_on("app")
    assert permitted_addresses(case.topology, first) == ("10.0.0.11", "10.0.0.12")
    case.manifest["groups"]["simulation"]["needs"] = ["agent-predictor"]
    assert permitted_addresses(case.topology, simulation) == ("10.0.0.11",)


def test_a_flow_to_a_name_leaves_the_filter_open(case: Any) -> None:
    case.manifest["services"]["model"] = {"kind": "external", "address": "api.example.org"}
    case.group["needs"].append("model")
    assert permitted_addresses(case.topology, case.topology.processes_on("app")[0]) is None


def test_instance_files_say_what_a_process_can_do_without(case: Any) -> None:
    case.manifest["services"]["model"] = {"kind": "external", "address": "api.example.org"}
    case.group["needs"].append({"name": "model", "required": False})
    content = json.loads(render_instance(case.platform, case.topology, case.topology.processes_on("app")[0]))
    assert {name: service["required"] for name, service in content["services"].items()} == {
        "redis": True,
        "model": False,
    }


def test_two_groups_do_not_share_a_log_folder(case: Any) -> None:
    case.manifest["groups"]["simulation"]["log_file"] = {"path": "/var/log/chorus/simulation.log"}
    with pytest.raises(ProblemError, match="is in the same folder as the one of group prediction"):
        plan_host(case.platform, case.topology, "app")


def test_instance_files_say_how_to_get_into_each_service() -> None:
    root = Path(__file__).resolve().parents[4]
    platform = load(root / "platforms", "ymera", "lab").platform
    hosts = {name: (frozenset({name}), {"address": f"10.0.0.{n}"}) for n, name in enumerate(("app", "data"), 11)}
    topology = derive(platform, make_inventory(hosts, "test"), "lab")
    process = next(p for p in topology.processes if p.group == "communication")
    content = json.loads(render_instance(platform, topology, process))
    assert content["agents"][0]["health_subject"] == "communication.health"
    services = content["services"]
    # The pool's port, and the group's own name as account: the certificate proves it.
    assert services["postgresql"]["endpoints"] == [{"host": "data", "address": "10.0.0.12", "port": 6432}]
    assert services["postgresql"]["username"] == "communication"
    assert (services["postgresql"]["database"], services["postgresql"]["access"]) == ("ymera", "read_write")
    need = next(need for need in platform.groups["communication"].needs if need.name == "nats")
    assert (services["nats"]["publish"], services["nats"]["subscribe"]) == (need.publish, need.subscribe)
    assert all(services[name]["tls"] for name in ("nats", "postgresql", "redis"))
