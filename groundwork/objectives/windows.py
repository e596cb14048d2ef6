"""Windows and burn rates at which an error budget is spent too fast.

Google, "The Site Reliability Workbook", chapter 5, table 5-8: pages at 2 % of the budget in an hour and 5 % in six,
tickets at 10 % in one day and in three, for a period of 30 days.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

Severity = Literal["page", "ticket"]
PERIODS = (28, 30)
"""Days over which objectives are kept; Sloth's two."""
SHORT = "5m"
OUTAGE_RATIO = Decimal("0.9")
# With an hour of good events before, a complete outage is 5/60 of the hour's events after five minutes.
_SHARE_OF_FIVE_MINUTES = Decimal("0.08")


@dataclass(frozen=True)
class WindowPair:
    """An alert of one severity fires when both windows are above the burn rate."""

    severity: Severity
    spent: Decimal
    """Share of the budget that is spent in the long window."""
    short: str
    long: str
    hours: int
    """Length of the long window."""

    def factor(self, days: int) -> Decimal:
        """The burn rate: 1 spends the budget exactly in the period of ``days``."""
        return (self.spent * days * 24 / self.hours).normalize()

    def threshold(self, budget: Decimal, days: int) -> Decimal:
        """The share of failed events above which the budget burns at that rate, exactly."""
        return (self.factor(days) * budget).normalize()


PAIRS = (
    WindowPair("page", Decimal("0.02"), "5m", "1h", 1),
    WindowPair("page", Decimal("0.05"), "30m", "6h", 6),
    WindowPair("ticket", Decimal("0.10"), "2h", "1d", 24),
    WindowPair("ticket", Decimal("0.10"), "6h", "3d", 72),
)
QUERIED = ("5m", "30m", "1h", "2h", "6h")
"""Windows that the indicator's own query is asked for."""
SUMMED = ("1d", "3d")
"""Windows that are summed from what was recorded, as the period is: weighted by events, and cheap."""


def list_pairs(severity: Severity, budget: Decimal, days: int) -> list[WindowPair]:
    """The pairs that can fire: with a large budget, 14.4 times it would be more than all events."""
    return [pair for pair in PAIRS if pair.severity == severity and pair.threshold(budget, days) < 1]


def needs_outage_rule(budget: Decimal, days: int) -> bool:
    """Whether the windows of the page take more than five minutes to see that everything fails.

    An hour's window sees after five minutes 5/60 of failures; with an objective of 99 % it pages at 14.4 %.
    """
    return PAIRS[0].threshold(budget, days) > _SHARE_OF_FIVE_MINUTES


def format_decimal(value: Decimal) -> str:
    """Plain digits, without exponent: 0.0144."""
    return format(value.normalize(), "f")
