"""The connector on real hosts: the same plans and results as pyinfra's own, from empty, converged and drifted hosts."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Iterator

import pytest
from site_lab import HOSTS, NOTHING, Document, SiteLab
from test_site_drift import DRIFTS, OPERATOR, Drift

from groundwork.lab.lifecycle import remove_lab

STOCK = {"GROUNDWORK_CONNECTOR": "ssh"}
# Six times five rounds on two hosts are 60 drifted hosts.
PARTS, ROUNDS = 6, 5
EVERYTHING = os.environ.get("GROUNDWORK_TEST_ALL")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SiteLab]:
    """A lab of its own; what earlier runs were asked is kept beside its project."""
    release = os.environ.get("GROUNDWORK_TEST_RELEASE") or "trixie"
    project = tmp_path_factory.mktemp("project")
    before = os.environ.get("XDG_CACHE_HOME")
    os.environ["XDG_CACHE_HOME"] = str(project / "cache")
    lab = SiteLab(f"role-connector-{release}", release, project)
    lab.boot()
    lab.make_secrets()
    yield lab
    if before is None:
        del os.environ["XDG_CACHE_HOME"]
    else:
        os.environ["XDG_CACHE_HOME"] = before
    if not os.environ.get("GROUNDWORK_KEEP_LAB"):
        remove_lab(lab.name)


def result_of(site: SiteLab, command: str, *options: str, **environ: str) -> Document:
    """A command's whole result, without how long things took."""
    done = site.groundwork(command, "lab", "--json", *options, **environ)
    assert done.returncode in (0, 2), done.stdout[-3000:] + done.stderr[-3000:]
    return without_times(json.loads(done.stdout))


def without_times(document: Document) -> Document:
    document.pop("seconds")
    document.pop("stage_seconds")
    for host in document["hosts"]:
        host.pop("seconds")
        for operation in host["operations"]:
            operation.pop("seconds")
    return document


def same_plans(site: SiteLab) -> Document:
    """The plan, which is one and the same in every way of asking: with pyinfra's connector, without what earlier runs
    asked, while it is learned, and answered from it."""
    stock = result_of(site, "plan", **STOCK)
    assert result_of(site, "plan", "--no-snapshot") == stock
    for _ in range(2):
        assert result_of(site, "plan") == stock
    return stock


def statuses(document: Document) -> set[str]:
    return {operation["status"] for host in document["hosts"] for operation in host["operations"]}


def test_same_plan_of_empty_hosts(site: SiteLab) -> None:
    assert "would_change" in statuses(same_plans(site))


def test_same_result_of_the_first_apply(site: SiteLab) -> None:
    ours = result_of(site, "apply")
    if EVERYTHING:
        site.renew()
        assert result_of(site, "apply", **STOCK) == ours
    assert "changed" in statuses(ours)


def test_same_plan_and_result_of_converged_hosts(site: SiteLab) -> None:
    assert statuses(same_plans(site)) == {"unchanged"}
    stock = result_of(site, "apply", **STOCK)
    assert result_of(site, "apply") == stock
    assert result_of(site, "apply") == stock
    assert statuses(stock) == {"unchanged"}


def test_plain_pyinfra_uses_the_connector(site: SiteLab) -> None:
    cache = site.project / "cache"
    shutil.rmtree(cache)
    done = site.pyinfra("--dry")
    assert done.returncode == 0, done.stderr
    # Only this connector writes down what it asked.
    assert len(list(cache.rglob("*.json"))) == len(HOSTS)


def break_by_hand(site: SiteLab, drifts: list[Drift]) -> None:
    for drift in drifts:
        site.run(drift.host, drift.breaking)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_same_plan_and_result_of_drifted_hosts(site: SiteLab, part: int) -> None:
    site.host_data.update(OPERATOR)
    site.declare()
    site.apply()
    chance = random.Random(part)
    for number in range(ROUNDS):
        # Once everything at once, then a few.
        drifts = list(DRIFTS) if not part and not number else chance.sample(DRIFTS, 5)
        break_by_hand(site, drifts)
        assert "would_change" in statuses(same_plans(site))
        ours = result_of(site, "apply")
        assert ours["problems"] == []
        assert site.plan() == NOTHING
        if not number:
            break_by_hand(site, drifts)
            assert result_of(site, "apply", **STOCK) == ours
