"""How a lab finds its network beside others that come up at the same moment."""

from __future__ import annotations

from functools import partial
from ipaddress import IPv4Network
from pathlib import Path
from types import SimpleNamespace

import docker
import pytest

from groundwork.lab import lifecycle
from groundwork.lab.network import SubnetTakenError
from groundwork.lab.plan import WantedHost, plan_lab
from groundwork.lab.state import LabState
from groundwork.problems import Problem, ProblemError

HOSTS = {"app": WantedHost(("app",))}


class Engine:
    """An engine that refuses subnets which it does not list, as one does while another network is being made."""

    def __init__(self, hidden: int) -> None:
        self.hidden = {f"10.213.{octet}.0/24" for octet in range(hidden)}
        self.asked: list[str] = []

    def ensure_network(self, client: object, root: Path, lab: str, subnet: str) -> None:
        self.asked.append(subnet)
        if subnet in self.hidden:
            raise SubnetTakenError([Problem("overlaps", given=subnet)])


def settle(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(lifecycle, "taken_networks", lambda client: list[IPv4Network]())
    monkeypatch.setattr(lifecycle, "ensure_network", engine.ensure_network)
    monkeypatch.setattr(lifecycle, "read_status", lambda client, root, spec: [SimpleNamespace(state="missing")])
    plan = partial(plan_lab, "one", "chorus", "trixie", "base:tag", HOSTS)
    client = docker.DockerClient.__new__(docker.DockerClient)
    return lifecycle._settle_network(client, tmp_path, LabState("one", tmp_path), None, plan).subnet


def test_a_subnet_that_was_lost_is_not_asked_for_again(tmp_path, monkeypatch):
    engine = Engine(hidden=3)
    assert settle(engine, tmp_path, monkeypatch) == "10.213.3.0/24"
    assert engine.asked == [f"10.213.{octet}.0/24" for octet in range(4)]
    spec = LabState("one", tmp_path).read_spec()
    assert spec is not None
    assert spec.subnet == "10.213.3.0/24"


def test_it_gives_up_after_a_few(tmp_path, monkeypatch):
    engine = Engine(hidden=100)
    with pytest.raises(ProblemError, match="no private network could be made"):
        settle(engine, tmp_path, monkeypatch)
    assert len(engine.asked) == lifecycle.SUBNET_ATTEMPTS
