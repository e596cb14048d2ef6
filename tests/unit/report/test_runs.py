from __future__ import annotations

import io

from rich.console import Console

from groundwork.engine.checks import Check, Outcome, VerifyResult
from groundwork.engine.results import (
    ExitCode,
    HostResult,
    Mode,
    OperationResult,
    OperationStatus,
    RunResult,
)
from groundwork.report.runs import print_run
from groundwork.report.verification import print_verification


def make_console() -> tuple[Console, io.StringIO]:
    stream = io.StringIO()
    return Console(file=stream, width=160, highlight=False), stream


def test_plan_lists_operations_with_diffs_and_how_to_retry() -> None:
    change = OperationResult(name="write [b]x[/b]", status=OperationStatus.WOULD_CHANGE, diff=("- a", "+ b"))
    keep = OperationResult(name="keep", status=OperationStatus.UNCHANGED)
    result = RunResult(
        mode=Mode.PLAN,
        environment="lab",
        hosts=(
            HostResult(name="app", operations=(change, keep)),
            HostResult(name="data", failed=True, stage="connect", reason="refused"),
        ),
    )
    console, stream = make_console()
    print_run(result, console)
    shown = stream.getvalue()
    # Names are text, not markup.
    assert "write [b]x[/b] (would change)" in shown
    assert "      + b" in shown
    assert "keep" not in shown
    assert "data failed (connect): refused" in shown
    assert "groundwork plan lab --limit data" in shown


def test_verification_counts_by_host_and_role() -> None:
    checks = (
        Check(host="app", role="base", name="a", outcome=Outcome.PASSED),
        Check(host="app", role="base", name="b", outcome=Outcome.FAILED, reason="it is wrong"),
        Check(host="data", role="redis", name="c", outcome=Outcome.SKIPPED),
    )
    result = VerifyResult(environment="lab", checks=checks)
    assert result.exit_code is ExitCode.FINDINGS
    console, stream = make_console()
    print_verification(result, console)
    rows = [line.split() for line in stream.getvalue().splitlines()]
    assert ["app", "1", "passed,", "1", "failed", "-"] in rows
    assert ["data", "-", "1", "skipped"] in rows
    assert "    it is wrong" in stream.getvalue()
