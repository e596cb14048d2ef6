"""Where lines are asked for, and which hosts are said to be missing."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from groundwork.inventory import Inventory, InventoryHost
from groundwork.journals import collecting
from groundwork.journals.question import Question
from groundwork.manifest.observability import Observability
from groundwork.problems import Problem, ProblemError

NOW = 1_000_000.0
HOSTS = tuple(InventoryHost(name, f"10.0.0.{n}", frozenset({name})) for n, name in enumerate(("app", "data")))


def make_site(**logs: Any) -> Any:
    observability = Observability.model_validate({"logs": logs} if logs else {})
    platform = SimpleNamespace(platform="chorus", observability=observability)
    return SimpleNamespace(platform=platform, inventory=Inventory(HOSTS))


def entry(time: float, message: str) -> dict[str, str]:
    return {"__REALTIME_TIMESTAMP": str(int(time * 1e6)), "__MONOTONIC_TIMESTAMP": "1", "MESSAGE": message}


def answer(last: float, *lines: dict[str, str], error: str = "") -> dict[str, Any]:
    return {"lines": [list(lines)], "last": int(last * 1e6), "error": error}


class Fleet:
    """Hosts that answer with what a test gives them; those without an answer cannot be reached."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, answers: dict[str, Any]) -> None:
        self.answers = answers
        self.asked: dict[str, dict[str, Any]] = {}
        monkeypatch.setattr(collecting, "run_command", self._run)

    def _run(self, host: InventoryHost, command: str, given: str) -> str:
        self.asked[host.name] = json.loads(given)
        if host.name not in self.answers:
            raise OSError("no route to host")
        return json.dumps(self.answers[host.name])


def test_the_log_host_is_asked_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    told = {"app": answer(NOW, entry(NOW - 5, "a")), "data": answer(NOW, entry(NOW - 9, "d"))}
    fleet = Fleet(monkeypatch, {"data": told})
    site = make_site(hosts="data")
    found = collecting.collect(site, Question(), ["app", "data"], collecting.choose_origin(site), NOW)
    assert [(line.host, line.message) for line in found.lines] == [("data", "d"), ("app", "a")]
    assert (found.origin, found.missing, found.cut) == ("store", (), False)
    assert fleet.asked["data"]["sources"]["app"]["folder"] == "/var/log/chorus-journals"
    assert list(fleet.asked) == ["data"]


def test_hosts_that_the_log_host_does_not_hear_of_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    told = {"app": answer(NOW - 901), "data": answer(0, error="nothing was ever received")}
    Fleet(monkeypatch, {"data": told})
    found = collecting.collect(make_site(hosts="data"), Question(), ["app", "data"], "store", NOW)
    assert [problem.key for problem in found.missing] == ["app", "data"]
    assert "since 1970-01-12T13:31:39" in found.missing[0].message


def test_a_log_host_that_is_away_is_an_error_that_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    Fleet(monkeypatch, {})
    with pytest.raises(ProblemError, match=r"the log host cannot be asked: no route.*--from hosts"):
        collecting.collect(make_site(hosts="data"), Question(), ["app"], "store", NOW)


def test_hosts_are_asked_themselves_where_nothing_is_collected(monkeypatch: pytest.MonkeyPatch) -> None:
    Fleet(monkeypatch, {"app": {"": answer(NOW, entry(NOW, "a"))}})
    site = make_site()
    found = collecting.collect(site, Question(lines=1), ["app", "data"], collecting.choose_origin(site), NOW)
    assert ([line.message for line in found.lines], found.cut) == (["a"], True)
    assert found.missing == (Problem("cannot be asked: no route to host", key="data"),)


def test_nobody_answering_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    Fleet(monkeypatch, {})
    with pytest.raises(ProblemError) as refused:
        collecting.collect(make_site(), Question(), ["app", "data"], "hosts", NOW)
    assert [problem.key for problem in refused.value.problems] == ["app", "data"]


def test_a_pattern_that_journalctl_refuses_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    bad = {"": answer(0, error="Failed to compile pattern: missing )")}
    Fleet(monkeypatch, {"app": bad, "data": bad})
    with pytest.raises(ProblemError) as refused:
        collecting.collect(make_site(), Question(grep="("), ["app", "data"], "hosts", NOW)
    assert [problem.key for problem in refused.value.problems] == ["--grep"]


def test_places_that_are_none_are_refused() -> None:
    assert collecting.choose_origin(make_site(hosts="data")) == "store"
    assert collecting.choose_origin(make_site(hosts="data"), "hosts") == "hosts"
    assert collecting.choose_origin(make_site(hosts="data", backend="loki")) == "hosts"
    for site, wanted in ((make_site(), "store"), (make_site(hosts="data"), "elsewhere")):
        with pytest.raises(ProblemError, match="--from"):
            collecting.choose_origin(site, wanted)
