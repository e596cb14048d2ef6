"""References between the parts of a manifest."""

from __future__ import annotations

import pytest

from .conftest import Bench


@pytest.mark.parametrize(
    ("old", "new", "key", "words"),
    [
        ("needs: [redis]", "needs: [reddis]", "groups.work.needs.0", "did you mean 'redis'"),
        ("needs: [redis]", "needs: [redis, redis]", "groups.work.needs.1", "needed twice"),
        (
            "needs: [redis]",
            "needs: [redis, {name: store, keys: [a]}]",
            "groups.work.needs.1.keys",
            "for redis and consul only",
        ),
        ("needs: [redis]", "needs: [{name: redis, publish: [a]}]", "groups.work.needs.0.publish", "for nats only"),
        ("needs: [redis]", "needs: [{name: store, database: man}]", "groups.work.needs.0.database", "'main'"),
        ("needs: [redis]", "needs: [{name: redis, database: main}]", "groups.work.needs.0.database", "postgresql only"),
        ("needs: [redis]", "after: [wrok]", "groups.work.after.0", "did you mean 'work'"),
        ("needs: [redis]", "processes: 4", "groups.work.processes", "more processes"),
        ("needs: [redis]", "mode: container", "groups.work", "belong together"),
        ("port: 9010", "after: [planer]", "groups.work.agents.writer.after.0", "did you mean 'planner'"),
        ("port: 9010", "port: 9000\n        needs: [nobody]", "groups.work.agents.writer.needs.0", "no such"),
        ("port: 9010", "port: 65535\n        replicas: 2", "groups.work.agents.writer.port", "above 65535"),
        ("    module: run.worker\n", "", "groups.work.agents.planner.module", "required"),
        ("writer:", "redis:", "groups.work.agents.redis", "taken by services.redis"),
        ("MODE: fast", "MODE: {port_of: rediss}", "groups.work.environment.MODE", "did you mean 'redis'"),
        ("MODE: fast", "MODE: {secret: api_kee}", "groups.work.environment.MODE", "did you mean 'api_key'"),
        ("/: planner", "/: plannr", "exposure.web.routes./", "did you mean 'planner'"),
        ("/: planner", "/: {group: wrk}", "exposure.web.routes./", "did you mean 'work'"),
        ("{groups: [work], ", "{groups: [works], ", "objectives.answers.groups.0", "did you mean 'work'"),
        ("{groups: [work], ", "{categories: [wrk], ", "objectives.answers.categories.0", "no such category"),
        ("{groups: [work], ", "{exposure: [weeb], ", "objectives.answers.exposure.0", "did you mean 'web'"),
        ("    hosts: app\n    server", "    hosts: ap\n    server", "exposure.web.hosts", "did you mean 'app'"),
        ("secrets:", "machines: {dta: {cores: 1}}\nsecrets:", "machines.dta", "did you mean 'data'"),
        ("secrets:", "utilisation: [{hosts: ap}]\nsecrets:", "utilisation.0.hosts", "did you mean 'app'"),
        (
            "secrets:",
            "schedules: {a: {task: load, calendar: daily, window: w}}\nsecrets:",
            "schedules.a.window",
            "none",
        ),
        (
            "secrets:",
            "observability: {error_tracking_secret: dsn}\nsecrets:",
            "observability.error_tracking_secret",
            "no such secret",
        ),
        (
            "secrets:",
            "workflows: {a: {pattern: debate, agents: [planner, x]}}\nsecrets:",
            "workflows.a.agents.1",
            "no such agent",
        ),
        (
            "secrets:",
            "trials: {loads: {a: {agents: [x], rate: 1}}}\nsecrets:",
            "trials.loads.a.agents.0",
            "no such agent",
        ),
        (
            "secrets:",
            "trials: {faults: {a: {kind: crash, services: [x]}}}\nsecrets:",
            "trials.faults.a.services.0",
            "no such service",
        ),
    ],
)
def test_a_name_that_is_not_there_is_found(bench: Bench, old: str, new: str, key: str, words: str) -> None:
    bench.replace(old, new)
    found = [problem for problem in bench.problems() if problem.key == key]
    assert len(found) == 1
    assert words in str(found[0])
    assert found[0].file == "small.yaml"
    assert found[0].line > 0


@pytest.mark.parametrize(
    ("backup", "key", "words"),
    [
        ("{repository: {kind: host}, items: {}}", "backup.repository.hosts", "required"),
        (
            "{repository: {kind: s3, endpoint: e, bucket: b}, items: {}}",
            "backup.repository.credentials_secret",
            "required",
        ),
        (
            "{repository: {kind: directory}, items: {a: {what: redis, service: store}}}",
            "backup.items.a.service",
            "allowed: redis",
        ),
        ("{repository: {kind: directory}, items: {a: {what: nats}}}", "backup.items.a.service", "none is declared"),
        ("{repository: {kind: directory}, items: {a: {what: files, hosts: app}}}", "backup.items.a", "paths"),
        (
            "{repository: {kind: directory}, copies: [{kind: host, hosts: ap}], items: {}}",
            "backup.copies.0.hosts",
            "'app'",
        ),
    ],
)
def test_backups_name_what_they_save_and_where(bench: Bench, backup: str, key: str, words: str) -> None:
    bench.replace("secrets:", f"backup: {backup}\nsecrets:")
    problem = bench.problem()
    assert problem.key == key
    assert words in str(problem)


def test_names_that_differ_only_in_dashes_clash(bench: Bench) -> None:
    bench.replace("writer:", "plan-ner:")
    bench.replace("planner: {port: 9000, replicas: 2}", "plan_ner: {port: 9000, replicas: 2}")
    bench.replace("/: planner", "/: plan-ner")
    assert "only in - and _" in bench.problem().message


def test_a_group_may_share_the_name_of_its_only_agent(bench: Bench) -> None:
    bench.replace("      planner:", "      work:")
    bench.replace("/: planner", "/: work")
    assert bench.load()


def test_packing_needs_a_launcher(bench: Bench) -> None:
    bench.replace("  launcher: run\n", "")
    bench.replace("    module: run.worker\n", "    module: run.worker\n    processes: 1\n")
    assert bench.problem().allowed == "runtime.launcher"


def test_scaling_bounds_are_in_order(bench: Bench) -> None:
    bench.replace("        port: 9010\n", "        scaling: {minimum: 3, maximum: 2}\n")
    problem = bench.problem()
    assert (problem.key, problem.given) == ("groups.work.agents.writer.scaling", "'3 to 2'")


def test_references_of_a_route_to_an_agent_without_a_port(bench: Bench) -> None:
    bench.replace("{port: 9000, replicas: 2}", "{replicas: 2}")
    assert bench.problem().message == "the agent has no port"
