"""What no role sets up is refused, with the key that declares it."""

from __future__ import annotations

from pathlib import Path

import pytest

from groundwork.coverage import SERVICE_ROLES, check_coverage
from groundwork.manifest.load import validate
from groundwork.manifest.platform import Platform
from groundwork.manifest.services import SERVICE_KINDS
from groundwork.manifest.source import Source, read
from groundwork.problems import ProblemError

ROOT = Path(__file__).resolve().parents[2]


def _platform(**changes: object) -> Platform:
    data = read(ROOT / "platforms" / "chorus.yaml").data
    return validate(Source({**data, **changes}))


def test_the_default_platform_is_covered() -> None:
    check_coverage(_platform())


def test_a_service_without_a_role_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    services = {"redis": {"hosts": "data"}, "consul": {"hosts": "data"}}
    assert set(SERVICE_ROLES) == set(SERVICE_KINDS)
    monkeypatch.setattr("groundwork.coverage.SERVICE_ROLES", ("redis",))
    with pytest.raises(ProblemError) as error:
        check_coverage(_platform(services=services))
    assert [problem.key for problem in error.value.problems] == ["services.consul"]
    assert error.value.problems[0].given == "consul"


def test_a_group_in_containers_is_covered() -> None:
    data = read(ROOT / "platforms" / "chorus.yaml").data
    groups = dict(data["groups"])
    groups["prediction"] = {**groups["prediction"], "mode": "container", "container": {"image": "runtime:1"}}
    check_coverage(_platform(groups=groups))
