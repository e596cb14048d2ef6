"""What is checked of a host before agents are installed there."""

from __future__ import annotations

from collections.abc import Iterator

from groundwork.preflight.findings import Finding
from groundwork.preflight.network import PortUse
from groundwork.preflight.questions import Answers
from groundwork.preflight.versions import ask_version, check_version
from groundwork.site import Site

LEAST_PYTHON = "3.11"
"""Debian 12's, the oldest that wheels are collected for."""


def ask(_site: Site, _host: str) -> dict[str, str]:
    """Python's version."""
    return ask_version("python3")


def check_host(_site: Site, host: str, answers: Answers) -> Iterator[Finding]:
    """That a Python is there or can be installed."""
    yield check_version("agent_runtime.python", host, answers, "python3", LEAST_PYTHON, "the release")


def list_ports(site: Site, host: str) -> Iterator[PortUse]:
    """Every agent's port."""
    for process in site.topology.processes_on(host):
        for agent in process.agents:
            if agent.port is not None:
                yield PortUse(agent.port, (process.unit_name,), f"agent {agent.agent}", agent.address)
