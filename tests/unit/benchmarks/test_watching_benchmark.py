from __future__ import annotations

from benchmarks.watching import QUERIES, Cost, read_costs, read_units


def test_figures_of_one_job_on_one_host_come_together() -> None:
    def vector(value: str, job: str) -> list[dict[str, object]]:
        return [{"metric": {"host": "app", "job": job}, "value": [0, value]}]

    answers = {name: vector(str(number), "node") for number, name in enumerate(QUERIES, 1)}
    answers["series"] += vector("7", "agent")
    costs = [Cost("app", "agent", None, None, 7.0, None), Cost("app", "node", 1.0, 2.0, 3.0, 4.0)]
    assert read_costs(answers) == costs


def test_units_are_read_line_by_line() -> None:
    assert read_units("a.service 100 1.5\nb.service 0 0\n") == {"a.service": (100.0, 1.5), "b.service": (0.0, 0.0)}
