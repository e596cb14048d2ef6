"""Groups that run as containers: the compose project, the units, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from groundwork.manifest.agents import GpuShare, Resources
from groundwork.manifest.checks import check
from groundwork.problems import ProblemError
from roles.agent_runtime.compose import limit, request_gpu
from roles.agent_runtime.containers import ContainerPlan, publish_ports
from roles.agent_runtime.generation import Generation, build_generation
from roles.agent_runtime.images import base_tag, list_images
from roles.agent_runtime.plan import plan_host
from roles.agent_runtime.wheelhouse import Wheelhouse

RELEASE = "0.2.0+aabbccdd"
IMAGES = {"prediction": "runtime:1", "simulation": "runtime:1"}
FOLDER = Path(__file__).resolve().parents[4] / "platforms"


def boxed(case: Any, image: str = "runtime", **more: str) -> Any:
    for group in case.manifest["groups"].values():
        group |= {"mode": "container", "container": {"image": image, **more}}
    return case


def render(case: Any) -> Generation:
    plan = plan_host(case.platform, case.topology, "app")
    return build_generation(case.platform, plan, RELEASE, 257, IMAGES)


def project(generation: Generation, group: str = "prediction") -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(generation.files[f"containers/{group}.yaml"].content)
    return loaded


def test_a_container_has_no_rights(case: Any) -> None:
    service = project(render(boxed(case)))["services"]["chorus-agent-predictor-1"]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["user"].startswith("${GROUNDWORK_USER:?")
    assert service["restart"] == "no"
    assert service["cgroup_parent"] == "groundwork-chorus-prediction.slice"
    assert service["mem_limit"] == service["memswap_limit"] == 384 * 2**20
    assert service["pids_limit"] > 0
    assert not {"privileged", "network_mode", "pid", "userns_mode", "devices", "cap_add"} & set(service)
    assert all(volume.endswith(":ro") for volume in service["volumes"][:2])
    assert not any("docker.sock" in volume for volume in service["volumes"])


def test_ports_are_published_at_the_hosts_address_alone(case: Any) -> None:
    services = project(render(boxed(case)))["services"]
    assert services["chorus-agent-predictor-2"]["ports"] == ["10.0.0.11:8001:8001/tcp"]
    agents = case.topology.processes_on("app")[0].agents
    assert agents[0].address == "10.0.0.11"
    assert publish_ports(agents) == ["10.0.0.11:8000:8000/tcp"]


def test_secrets_are_files(case: Any) -> None:
    document = project(render(boxed(case)))
    service = document["services"]["chorus-agent-predictor-1"]
    environment = service["environment"]
    assert environment["REDIS_PASSWORD_FILE"] == "/run/secrets/redis_prediction"
    assert environment["LLM_API_KEY_FILE"] == "/run/secrets/llm_api_key"
    assert {secret["target"] for secret in service["secrets"]} == {"redis_prediction", "llm_api_key"}
    files = {secret["source"]: document["secrets"][secret["source"]]["file"] for secret in service["secrets"]}
    folder = "/run/groundwork/containers/chorus-agent-predictor@1/secrets"
    assert set(files.values()) == {f"{folder}/redis_prediction", f"{folder}/llm_api_key"}
    # Each container has copies of its own.
    assert len(document["secrets"]) == 2 * len(document["services"])


def test_a_container_listens_at_all_of_its_own_addresses(case: Any) -> None:
    generation = render(boxed(case))
    environment = project(generation)["services"]["chorus-agent-predictor-1"]["environment"]
    assert (environment["AGENT_BIND"], environment["AGENT_PORT"]) == ("0.0.0.0", "8000")
    instance = yaml.safe_load(generation.files["instances/chorus-agent-predictor@1.json"].content)
    assert [agent["bind"] for agent in instance["agents"]] == ["0.0.0.0"]
    assert instance["address"] == "10.0.0.11"


def test_the_configuration_is_in_the_environment_with_dollars_kept(case: Any) -> None:
    case.group["configuration"]["values"]["LLM_MODEL"] = "a$b ${HOME} 'c'"
    environment = project(render(boxed(case)))["services"]["chorus-agent-predictor-1"]["environment"]
    assert environment["LLM_MODEL"] == "a$$b $${HOME} 'c'"
    assert environment["AGENTS_MAX"] == "50"


def test_the_unit_supervises_and_says_no_secret(case: Any) -> None:
    generation = render(boxed(case))
    unit = generation.files["units/chorus-agent-predictor@.service"].content
    assert "Type=notify" in unit
    assert "-m agent_runtime_chorus.supervise run /etc/groundwork/chorus/containers/%p@%i.json" in unit
    assert "After=network-online.target docker.service" in unit
    dropin = generation.files["units/chorus-agent-predictor@1.service.d/50-groundwork.conf"].content
    assert "LoadCredential" not in dropin
    assert "GROUNDWORK_REVISION=" in dropin
    order = generation.files["units/chorus-simulation@1.service.d/50-groundwork.conf"].content
    assert "After=chorus-agent-predictor@1.service" in order
    assert "containers" in generation.links


def test_the_slice_keeps_containers_to_their_flows(case: Any) -> None:
    text = render(boxed(case)).files["units/groundwork-chorus-prediction.slice"].content
    assert "IPAddressDeny=any" in text
    assert "IPAddressAllow=localhost 172.30.0.0/16 10.0.0.11 10.0.0.12" in text


def test_groups_of_processes_are_as_before(case: Any) -> None:
    before = render(case)
    case.manifest["groups"]["simulation"] |= {"mode": "container", "container": {"image": "runtime"}}
    after = render(case)
    unit = "units/chorus-agent-predictor@1.service.d/50-groundwork.conf"
    assert before.files[unit] == after.files[unit]
    assert not any(name.startswith("containers/") for name in before.files)
    assert "containers" not in before.links


def test_one_containers_change_leaves_the_others_revision(case: Any) -> None:
    first = render(boxed(case)).document["inputs"]
    case.manifest["groups"]["simulation"]["environment"] = {"EXTRA": "1"}
    second = render(case).document["inputs"]
    assert [u for u in first if first[u]["revision"] != second[u]["revision"]] == ["chorus-simulation@1.service"]


def test_another_image_runs_its_own_program(case: Any) -> None:
    boxed(case, f"registry.example.org/agents@sha256:{'0' * 64}")
    del case.group["agents"]["agent-predictor"]["liveness"]
    services = project(render(case))["services"]
    assert "entrypoint" not in services["chorus-agent-predictor-1"]
    assert "healthcheck" not in services["chorus-agent-predictor-1"]


def test_health_is_asked_for_as_declared(case: Any) -> None:
    check = project(render(boxed(case)))["services"]["chorus-agent-predictor-1"]["healthcheck"]
    assert check["test"] == ["CMD", "/usr/bin/python3", "/run/groundwork/probe.py", "8000/health"]
    assert (check["interval"], check["timeout"], check["retries"], check["start_period"]) == ("30s", "10s", 3, "60s")


def test_limits_become_dockers() -> None:
    resources = Resources(cpu_quota=150, cpu_weight=200, memory_max=2**30, memory_high=2**29, tasks_max=64)
    assert limit(resources) == {
        "pids_limit": 64,
        "mem_limit": 2**30,
        "memswap_limit": 2**30,
        "mem_reservation": 2**29,
        "cpu_period": 100_000,
        "cpu_quota": 150_000,
        "cpu_shares": 2048,
    }
    assert limit(Resources()) == {"pids_limit": 512}


def test_a_gpu_is_asked_for_by_what_is_known_of_it() -> None:
    share = GpuShare(fraction=0.25)
    mig = "MIG-a1b2c3d4-0000-1111-2222-333344445555"
    assert request_gpu(share, (mig,))["device_ids"] == [mig]
    assert request_gpu(share)["count"] == 1
    assert request_gpu(GpuShare(fraction=0.25, card=1))["device_ids"] == ["1"]


def test_a_group_with_a_gpu_requests_it(case: Any) -> None:
    boxed(case).group["gpu"] = {"fraction": 0.5, "card": 0}
    service = project(render(case))["services"]["chorus-agent-predictor-1"]
    devices = service["deploy"]["resources"]["reservations"]["devices"]
    assert devices == [{"driver": "nvidia", "capabilities": ["gpu"], "device_ids": ["0"]}]


@pytest.mark.parametrize(
    ("container", "key", "message"),
    [
        ({"image": f"a@sha256:{'0' * 64}", "build": "support"}, "image", "has no digest yet"),
        ({"image": "a", "signature_key": "chorus.yaml"}, "signature_key", "only an image that is pulled"),
        ({"image": "registry.example.org/a:1"}, "image", "is declared by its digest"),
        ({"image": f"a@sha256:{'0' * 64}", "signature_key": "no.pub"}, "signature_key", "no such file"),
    ],
)
def test_what_does_not_go_together_is_named(case: Any, container: dict[str, str], key: str, message: str) -> None:
    case.group.update({"mode": "container", "container": container})
    problems = check(case.platform, FOLDER)
    assert [(p.key, message in p.message) for p in problems] == [(f"groups.prediction.container.{key}", True)]


def test_images_are_named_by_what_is_in_them(case: Any, tmp_path: Path) -> None:
    (tmp_path / "box").mkdir()
    boxed(case, "agents:old")
    case.manifest["groups"]["simulation"]["container"] = {"image": "acme/sim", "build": "box"}
    plan = plan_host(case.platform, case.topology, "app")
    house = Wheelhouse(RELEASE, tmp_path / "release.tar", "")
    with pytest.raises(ProblemError, match="no Dockerfile"):
        list_images(tmp_path, tmp_path, plan, house, "13")
    (tmp_path / "box/Dockerfile").write_text("FROM scratch\n")
    first = list_images(tmp_path, tmp_path, plan, house, "13")
    assert first["prediction"].reference == f"agents:0.2.0-aabbccdd-{base_tag('13').rpartition('-')[2]}"
    assert base_tag("13") != base_tag("12")
    assert list_images(tmp_path, tmp_path, plan, house, "13") == first
    (tmp_path / "box/Dockerfile").write_text("FROM scratch\nLABEL a=b\n")
    second = list_images(tmp_path, tmp_path, plan, house, "13")
    assert first["simulation"].reference != second["simulation"].reference
    assert second["simulation"].archive is not None
    assert second["simulation"].archive.is_file()


def test_an_accepted_image_is_known_by_digest_and_key(case: Any, tmp_path: Path) -> None:
    (tmp_path / "key.pub").write_text("one")
    boxed(case, f"registry.example.org/agents@sha256:{'ab' * 32}", signature_key="key.pub")
    plan = plan_host(case.platform, case.topology, "app")
    house = Wheelhouse(RELEASE, tmp_path / "release.tar", "")
    first = list_images(tmp_path, tmp_path, plan, house, "13")["prediction"]
    assert first.accepted.startswith("groundwork/accepted-chorus:abababababab-")
    (tmp_path / "key.pub").write_text("two")
    assert list_images(tmp_path, tmp_path, plan, house, "13")["prediction"].accepted != first.accepted


def test_a_repository_keeps_its_registrys_port() -> None:
    assert ContainerPlan("localhost:5000/a/b:tag", "build").repository == "localhost:5000/a/b"
    assert ContainerPlan("chorus", "runtime").repository == "chorus"
