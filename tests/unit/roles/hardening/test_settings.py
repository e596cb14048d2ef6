"""Levels and waivers in the inventory's data."""

from __future__ import annotations

from datetime import date

import pytest

from groundwork.problems import ProblemError
from groundwork.report.hardening import Level
from roles.hardening.settings import read_settings

WAIVER = {"reason": "a bastion forwards for people", "until": "2027-03-31"}


def test_level_and_waivers_are_read() -> None:
    settings = read_settings({"hardening_level": "strict", "hardening_waivers": {"ssh-forwarding": WAIVER}}, "app")
    assert settings.hardening_level is Level.STRICT
    assert settings.waivers()["ssh-forwarding"].until == date(2027, 3, 31)
    assert read_settings({}, "app").hardening_level is None


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({"hardening_level": "high"}, "hardening_level"),
        ({"hardening_waivers": {"ssh-forward": WAIVER}}, "there is no such control"),
        ({"hardening_waivers": {"ssh-root": {"until": "2027-03-31"}}}, "hardening_waivers.ssh-root.reason"),
        ({"hardening_waivers": {"ssh-root": {"reason": "because of old tools"}}}, "hardening_waivers.ssh-root.until"),
        ({"hardening_waivers": {"ssh-root": {**WAIVER, "until": "soon"}}}, "is not a date"),
        ({"hardening_waivers": {"ssh-root": {**WAIVER, "reason": "x"}}}, "hardening_waivers.ssh-root.reason"),
    ],
)
def test_mistakes_are_named(data: dict[str, object], told: str) -> None:
    with pytest.raises(ProblemError) as caught:
        read_settings(data, "app")
    assert told in str(caught.value)
    assert "host app" in str(caught.value)
