"""Files in Sloth's format: read with places, written so that they read the same."""

from __future__ import annotations

from decimal import Decimal

import pytest
import yaml

from groundwork.objectives.sloth import dump_spec, parse_spec
from groundwork.problems import ProblemError

FILE = """\
version: prometheus/v1
service: shop
labels: {owner: payments}
x-note: anybody's
slos:
  - name: requests
    objective: 99.9
    description: Requests are answered.
    labels: {category: availability}
    sli:
      events:
        error_query: sum(rate(http_total{code=~"5.."}[{{.window}}]))
        total_query: sum(rate(http_total[{{ .window }}]))
    alerting:
      name: ShopFails
      labels: {team: payments}
      annotations: {runbook: "https://runbooks.example.org/shop"}
      page_alert: {labels: {route: pager}}
      ticket_alert: {disable: true}
  - name: speed
    objective: 95
    sli: {raw: {error_ratio_query: "avg_over_time(slow_ratio[{{.window}}])"}}
"""


def problems(text: str) -> list[str]:
    with pytest.raises(ProblemError) as caught:
        parse_spec(text, "shop.yaml")
    return [str(problem) for problem in caught.value.problems]


def test_a_file_is_read_and_written_without_loss() -> None:
    spec = parse_spec(FILE)
    assert (spec.slos[0].target, spec.slos[0].budget) == (Decimal("0.999"), Decimal("0.001"))
    assert spec.identifier(spec.slos[0]) == "shop-requests"
    text = dump_spec(spec)
    assert parse_spec(text) == spec
    assert yaml.safe_load(text)["slos"][0]["objective"] == 99.9
    assert "objective: 99.9\n" in text
    assert "objective: 95\n" in text


def test_mistakes_are_told_with_their_lines() -> None:
    wrong = FILE.replace("objective: 99.9", "objective: 100").replace("owner: payments", "own-er: payments")
    wrong = wrong.replace("sum(rate(http_total[{{ .window }}]))", "up").replace("ticket_alert", "tickt_alert")
    told = problems(wrong)
    assert [line.split(": ")[0] for line in told] == ["shop.yaml:3", "shop.yaml:7", "shop.yaml:13", "shop.yaml:19"]
    assert "did you mean 'ticket_alert'" in told[3]
    assert "a query with {{.window}}" in told[2]


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("prometheus/v1", "prometheus/v2", "prometheus/v1"),
        ("name: speed", "name: requests", "is given twice"),
        ("objective: 95", "objective: 80", "greater than or equal to 85"),
        ("raw: {error_ratio_query", "plugin: {id", "plugins are Sloth's own"),
        ('sli: {raw: {error_ratio_query: "avg_over_time(slow_ratio[{{.window}}])"}}', "sli: {}", "one of events, raw"),
    ],
)
def test_what_cannot_be_done_is_refused(before: str, after: str, told: str) -> None:
    assert before in FILE
    assert told in "\n".join(problems(FILE.replace(before, after)))
