"""Fixtures for the checks on live hosts: ``pytest tests/verify --env lab``, or ``groundwork verify lab``.

A module named after a role (``test_redis.py``) runs on the hosts that have the role; any other module on every
host. ``@pytest.mark.role("redis")`` says it for a single test. Fixtures: ``site``, ``host`` (testinfra),
``host_model`` (the inventory's host) and ``host_name``.
"""

from __future__ import annotations

import os

import pytest
from testinfra.host import Host
from xdist.remote import Producer

from groundwork.engine.api import name_environment
from groundwork.engine.checks import CheckReporter, name_check
from groundwork.engine.inspection import UnreachableError, inspect_host
from groundwork.engine.scheduling import HostScheduling
from groundwork.engine.selection import role_of, select_hosts
from groundwork.inventory import InventoryHost
from groundwork.problems import ProblemError
from groundwork.site import Site, load_site

SITE = pytest.StashKey[Site]()
CONNECTIONS: dict[str, Host] = {}
UNREACHABLE: dict[str, str] = {}


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("groundwork")
    group.addoption("--env", default=os.environ.get("GROUNDWORK_ENV"), help="environment to verify")
    group.addoption("--limit", action="append", default=[], help="hosts or groups to verify")
    group.addoption("--checks-to", default=None, help="file that takes each check's result as a line of JSON")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "role(name): run on the hosts that have this role")
    environment = config.getoption("--env")
    if not environment:
        raise pytest.UsageError("tests/verify needs --env NAME, an environment of inventories/")
    try:
        config.stash[SITE] = load_site(name_environment(environment))
        select_hosts(config.stash[SITE], "", config.getoption("--limit"))
    except ProblemError as error:
        raise pytest.UsageError(str(error)) from None
    target = config.getoption("--checks-to")
    if target and not hasattr(config, "workerinput"):
        config.pluginmanager.register(CheckReporter(target), "groundwork-checks")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "host_name" not in metafunc.fixturenames:
        return
    site = metafunc.config.stash[SITE]
    role = role_of(metafunc.definition, metafunc.module)
    names = select_hosts(site, role, metafunc.config.getoption("--limit"))
    if names:
        metafunc.parametrize("host_name", names, indirect=True, scope="session", ids=names)
        return
    nowhere = pytest.param("", marks=pytest.mark.skip(reason=f"no host has the role {role}"))
    metafunc.parametrize("host_name", [nowhere], indirect=True, scope="session", ids=["nowhere"])


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        callspec = getattr(item, "callspec", None)
        name = callspec.params.get("host_name", "") if callspec else ""
        item.user_properties += name_check(item, name)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> HostScheduling:
    """With ``-n 4`` one worker, and so one connection, takes all checks of a host."""
    return HostScheduling(config, log, [host.name for host in config.stash[SITE].inventory.hosts])


@pytest.fixture(scope="session")
def site(pytestconfig: pytest.Config) -> Site:
    """The environment under verification."""
    return pytestconfig.stash[SITE]


@pytest.fixture(scope="session")
def host_name(request: pytest.FixtureRequest) -> str:
    """Name of the host under verification."""
    return str(request.param)


@pytest.fixture(scope="session")
def host_model(site: Site, host_name: str) -> InventoryHost:
    """What the inventory says about the host."""
    return site.inventory.host(host_name)


@pytest.fixture
def host(host_model: InventoryHost) -> Host:
    """The host, connected once per session; if it cannot be reached, its first check fails and the rest skip."""
    name = host_model.name
    if name in UNREACHABLE:
        pytest.skip(f"{name} is unreachable")
    if name not in CONNECTIONS:
        try:
            CONNECTIONS[name] = inspect_host(host_model)
        except UnreachableError as error:
            UNREACHABLE[name] = str(error)
            pytest.fail(f"{name} is unreachable: {error}", pytrace=False)
    return CONNECTIONS[name]
