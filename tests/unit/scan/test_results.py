"""The judge's results as figures."""

from __future__ import annotations

import pytest

from groundwork.engine.results import ExitCode
from groundwork.problems import Problem
from groundwork.scan.results import ScanReport, ScanResult, format_table, parse_results

RESULTS = """<?xml version="1.0"?>
<Benchmark xmlns="http://checklists.nist.gov/xccdf/1.2"><TestResult>
<rule-result idref="xccdf_org.ssgproject.content_rule_sshd_enable_pam"><result>pass</result></rule-result>
<rule-result idref="xccdf_org.ssgproject.content_rule_partition_for_var"><result>fail</result></rule-result>
<rule-result idref="xccdf_org.ssgproject.content_rule_odd"><result>error</result></rule-result>
<rule-result idref="xccdf_org.ssgproject.content_rule_gdm"><result>notapplicable</result></rule-result>
<rule-result idref="xccdf_org.ssgproject.content_rule_other"><result>notselected</result></rule-result>
</TestResult></Benchmark>"""


def make(rules: dict[str, str]) -> ScanResult:
    return ScanResult(host="vm", release="bookworm", profile="cis_level1_server", rules=rules)


def test_only_scored_rules_count_and_errors_are_no_passes() -> None:
    result = make(parse_results(RESULTS))
    assert "other" not in result.rules
    assert (result.passed, result.scored) == (1, 3)
    assert result.share == pytest.approx(1 / 3)
    assert result.names("fail", "error") == ["odd", "partition_for_var"]


def test_a_table_lists_what_did_not_pass() -> None:
    text = format_table([make(parse_results(RESULTS))])
    assert "33.3%" in text
    assert "partition_for_var (fail)" in text
    assert "sshd_enable_pam" not in text


@pytest.mark.parametrize("text", ["", "<broken", "<empty/>"])
def test_what_is_no_result_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_results(text)


def test_exit_codes() -> None:
    assert ScanReport(results=(make({"a": "pass"}),)).exit_code is ExitCode.GOOD
    assert ScanReport(results=(make({"a": "pass", "b": "fail"}),)).exit_code is ExitCode.FINDINGS
    assert ScanReport(problems=(Problem("gone"),)).exit_code is ExitCode.ERROR
