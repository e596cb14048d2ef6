"""Rules of objectives: Sloth's names and labels, and none of its known faults, as promtool evaluates them."""

from __future__ import annotations

import subprocess
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from groundwork.manifest import Platform
from groundwork.objectives.files import dump, render_rules
from groundwork.objectives.given import read_given, render_given_files
from groundwork.objectives.rules import list_recorded, make_groups
from groundwork.objectives.sloth import Spec, parse_spec
from groundwork.objectives.windows import PAIRS, list_pairs, needs_outage_rule
from groundwork.problems import ProblemError
from tests.unit.objectives.test_sloth_files import FILE
from tests.unit.objectives.tools import PROMTOOL, promtool
from tests.unit.topology.systems import minimal

CHOSEN = 'sloth_id="shop-requests", sloth_service="shop", sloth_slo="requests"'
# Of Sloth 0.16 for a period of 30 days.
SLOTHS_NAMES = {
    *(f"slo:sli_error:ratio_rate{window}" for window in ("5m", "30m", "1h", "2h", "6h", "1d", "3d", "30d")),
    "slo:objective:ratio", "slo:error_budget:ratio", "slo:time_period:days", "slo:current_burn_rate:ratio",
    "slo:period_burn_rate:ratio", "slo:period_error_budget_remaining:ratio", "sloth_slo_info",
}  # fmt: skip


def spec() -> Spec:
    return parse_spec(FILE)


def rules() -> list[dict[str, Any]]:
    return [rule for group in make_groups(spec(), spec().slos[0]) for rule in group["rules"]]


def evaluate(folder: Path, series: dict[str, str], expected: dict[str, list[float]], minute: int) -> None:
    """Let promtool compare what expressions give, labels aside."""
    (folder / "rules.yaml").write_text(render_rules(spec()))
    tests = [
        {"expr": f"sum(round({expression}, 0.000001))", "eval_time": f"{minute}m", "exp_samples": samples}
        for expression, values in expected.items()
        for samples in [[{"labels": "{}", "value": value} for value in values]]
    ]
    given = [{"series": name, "values": values} for name, values in series.items()]
    order = [group["name"] for slo in spec().slos for group in make_groups(spec(), slo)]
    document = {
        "rule_files": ["rules.yaml"],
        "evaluation_interval": "1m",
        "group_eval_order": order,
        "tests": [{"interval": "1m", "input_series": given, "promql_expr_test": tests}],
    }
    (folder / "test.yaml").write_text(dump(document))
    promtool("test", "rules", str(folder / "test.yaml"))


def test_names_labels_and_groups_are_sloths() -> None:
    groups = make_groups(spec(), spec().slos[0])
    kinds = ("sli-recordings", "meta-recordings", "alerts")
    assert [group["name"] for group in groups] == [f"sloth-slo-{kind}-shop-requests" for kind in kinds]
    recorded = set(list_recorded(groups))
    assert recorded >= SLOTHS_NAMES
    assert recorded - SLOTHS_NAMES == {"slo:sli_errors:rate5m", "slo:sli_total:rate5m"}
    five = next(rule for rule in rules() if rule.get("record") == "slo:sli_error:ratio_rate5m")
    identity = {"sloth_id": "shop-requests", "sloth_service": "shop", "sloth_slo": "requests"}
    assert five["labels"] == {**identity, "sloth_window": "5m"}
    pages = [rule for rule in rules() if rule.get("labels", {}).get("sloth_severity") == "page"]
    assert [rule["alert"] for rule in pages] == ["ShopFails"]
    assert pages[0]["labels"] == {
        "owner": "payments", "category": "availability", "team": "payments", "route": "pager", "sloth_severity": "page",
    }  # fmt: skip


def test_labels_of_the_user_are_on_no_series_that_is_summed_over_time() -> None:
    for rule in rules():
        if rule.get("record", "sloth_slo_info") != "sloth_slo_info":
            assert {"owner", "category", "team"}.isdisjoint(rule["labels"]), rule


def test_figures_are_exact() -> None:
    text = render_rules(spec())
    for figure in ("vector(0.999)", "vector(0.001)", "> 0.0144", "> 0.006", "vector(0.95)", "vector(0.05)"):
        assert figure in text, figure
    for rounding in ("0.9990000", "0.000999", "0.01440", "999999", "00001)"):
        assert rounding not in text, rounding


def test_burn_rates_are_the_workbooks() -> None:
    assert [(pair.severity, pair.factor(30)) for pair in PAIRS] == [
        ("page", Decimal("14.4")), ("page", Decimal(6)), ("ticket", Decimal(3)), ("ticket", Decimal(1)),
    ]  # fmt: skip
    assert PAIRS[0].factor(28) == Decimal("13.44")


def test_a_pair_that_can_never_fire_is_left_out_and_an_outage_pages_all_the_same() -> None:
    assert [pair.factor(30) for pair in list_pairs("page", Decimal("0.1"), 30)] == [Decimal(6)]
    assert needs_outage_rule(Decimal("0.01"), 30)
    assert not needs_outage_rule(Decimal("0.005"), 30)


def test_another_period_is_refused() -> None:
    with pytest.raises(ProblemError, match="28d or 30d"):
        make_groups(spec(), spec().slos[0], 7)


@PROMTOOL
def test_promtool_finds_nothing_to_remark(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(render_rules(spec()))
    promtool("check", "rules", "--lint=all", "--lint-fatal", str(tmp_path / "rules.yaml"))


@PROMTOOL
def test_the_period_is_weighted_by_requests(tmp_path: Path) -> None:
    # Twenty minutes with 10,000 requests of which 1 % fail, then forty with 100 of which half do.
    series = {
        'http_total{code="200"}': "0+9900x20 198050+50x39",
        'http_total{code="500"}': "0+100x20 2050+50x39",
    }
    failed, total = 20 * 100 + 40 * 50, 20 * 10_000 + 40 * 100
    expected = failed / total
    mean_of_ratios = (20 * 0.01 + 40 * 0.5) / 60
    assert abs(expected - mean_of_ratios) > 0.3
    (tmp_path / "rules.yaml").write_text(render_rules(spec()))
    low, high = 0.9 * expected, 1.1 * expected
    inside = f"(slo:sli_error:ratio_rate30d{{{CHOSEN}}} > {low} < {high}) * 0 + 1"
    evaluate(tmp_path, series, {inside: [1]}, 60)


@PROMTOOL
def test_hours_without_requests_leave_the_period_as_it_was(tmp_path: Path) -> None:
    series = {'http_total{code="200"}': "0+90x20 1800+0x40", 'http_total{code="500"}': "0+10x20 200+0x40"}
    expected: dict[str, list[float]] = {
        f"slo:sli_error:ratio_rate5m{{{CHOSEN}}}": [],
        f"slo:sli_error:ratio_rate30d{{{CHOSEN}}}": [0.1],
        f"slo:period_error_budget_remaining:ratio{{{CHOSEN}}}": [-99],
    }
    evaluate(tmp_path, series, expected, 60)


@PROMTOOL
def test_a_changed_label_makes_no_second_series(tmp_path: Path) -> None:
    # What was recorded before the label changed, and what is recorded since, is one series.
    before = {rule["record"]: rule["labels"] for rule in rules() if "record" in rule}
    changed = parse_spec(FILE.replace("owner: payments", "owner: others"))
    after = {
        rule["record"]: rule["labels"]
        for group in make_groups(changed, changed.slos[0])
        for rule in group["rules"]
        if "record" in rule
    }
    assert {name for name in before if before[name] != after[name]} == {"sloth_slo_info"}


@PROMTOOL
def test_a_ratio_without_a_value_does_not_spoil_the_period(tmp_path: Path) -> None:
    chosen = 'sloth_id="shop-speed", sloth_service="shop", sloth_slo="speed"'
    text = render_rules(spec())
    assert "NaN" not in text
    loaded = yaml.safe_load(text)
    five = next(
        rule
        for group in loaded["groups"]
        for rule in group["rules"]
        if rule.get("record") == "slo:sli_error:ratio_rate5m" and rule["labels"]["sloth_slo"] == "speed"
    )
    (tmp_path / "rules.yaml").write_text(text)
    document = {
        "rule_files": ["rules.yaml"],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": "slow_ratio", "values": "0.02+0x10 NaN+0x10 0.02+0x10"}],
                "promql_expr_test": [
                    {
                        "expr": f"round(slo:sli_error:ratio_rate30d{{{chosen}}}, 0.0001)",
                        "eval_time": "30m",
                        "exp_samples": [
                            {"labels": "{" + chosen + ', sloth_window="30d"}', "value": 0.02},
                        ],
                    }
                ],
            }
        ],
    }
    (tmp_path / "test.yaml").write_text(dump(document))
    assert ">= 0" in five["expr"]
    promtool("test", "rules", str(tmp_path / "test.yaml"))


@PROMTOOL
def test_promtool_would_notice_a_wrong_figure(tmp_path: Path) -> None:
    series = {'http_total{code="200"}': "0+90x20", 'http_total{code="500"}': "0+10x20"}
    with pytest.raises(subprocess.CalledProcessError):
        evaluate(tmp_path, series, {f"slo:sli_error:ratio_rate5m{{{CHOSEN}}}": [0.2]}, 15)


@PROMTOOL
@pytest.mark.parametrize("objective", ["99.99", "99.9", "99", "95"])
def test_alerts_of_a_users_file_fire_as_they_should(objective: str, tmp_path: Path) -> None:
    given = parse_spec(FILE.replace("objective: 99.9", f"objective: {objective}"))
    for name, content in render_given_files(given).items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    promtool("test", "rules", *map(str, sorted(tmp_path.glob("tests/*.yaml"))))


def test_files_that_the_manifest_names_are_read(tmp_path: Path) -> None:
    def read(*names: str) -> list[Spec]:
        observability = {"prometheus": {"hosts": "red", "objective_files": list(names)}}
        return read_given(Platform.model_validate(minimal(observability=observability)), tmp_path)

    (tmp_path / "shop.yaml").write_text(FILE)
    (tmp_path / "wrong.yaml").write_text(FILE.replace("objective: 99.9", "objective: 100"))
    assert [one.service for one in read("shop.yaml")] == ["shop"]
    (tmp_path / "again.yaml").write_text(FILE)
    with pytest.raises(ProblemError, match="same service as shop") as caught:
        read("shop.yaml", "wrong.yaml", "again.yaml", "missing.yaml")
    assert "wrong.yaml:7" in str(caught.value)
    assert "missing.yaml" in str(caught.value)
