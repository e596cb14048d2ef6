"""Sizes, durations, percentages and names."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError

from groundwork.manifest.values import (
    Calendar,
    Name,
    Reference,
    format_duration,
    format_size,
    parse_duration,
    parse_percent,
    parse_size,
    parse_value,
)


@settings(deadline=None)
@given(st.integers(min_value=1, max_value=2**60))
def test_sizes_survive_being_written_and_read(size: int) -> None:
    assert parse_size(format_size(size)) == size
    assert parse_size(size) == size


@settings(deadline=None)
@given(st.integers(min_value=0, max_value=10**10))
def test_durations_survive_being_written_and_read(milliseconds: int) -> None:
    seconds = milliseconds / 1000
    assert parse_duration(format_duration(seconds)) == seconds


@settings(deadline=None)
@given(st.integers(min_value=1, max_value=10**6), st.sampled_from([("KiB", 1024), ("MB", 10**6), ("GiB", 2**30)]))
def test_units_multiply(count: int, unit: tuple[str, int]) -> None:
    assert parse_size(f"{count}{unit[0]}") == count * unit[1]


@pytest.mark.parametrize("wrong", ["0", "0MiB", "-1", -5, 0, True, "1 parsec", "MiB", "", "1e3", None, 1.5, [], "12\n"])
def test_what_is_no_size_is_refused(wrong: Any) -> None:
    with pytest.raises(PydanticCustomError):
        parse_size(wrong)


@pytest.mark.parametrize("wrong", ["30", 30, "s", "-1s", "", None, True, "1y", "1h30m", "1s\n", "9" * 400 + "d"])
def test_what_is_no_duration_is_refused(wrong: Any) -> None:
    with pytest.raises(PydanticCustomError):
        parse_duration(wrong)


@settings(deadline=None)
@given(st.decimals(min_value=0, max_value=100, places=4))
def test_percentages_stay_exact(number: Decimal) -> None:
    assert parse_percent(str(number)) == number
    assert parse_percent(f"{number} %") == number


@pytest.mark.parametrize("wrong", [-0.1, 100.01, "nan", "inf", True, "many", None, ""])
def test_what_is_no_percentage_is_refused(wrong: Any) -> None:
    with pytest.raises(PydanticCustomError):
        parse_percent(wrong)


def test_references_are_told_from_scalars() -> None:
    assert parse_value({"secret": "key"}) == Reference(secret="key")
    assert parse_value(False) is False
    reference = parse_value({"port_of": "redis"})
    assert isinstance(reference, Reference)
    assert (reference.kind, reference.target) == ("port_of", "redis")


@pytest.mark.parametrize(
    "wrong", [{"secret": ""}, {"secret": "a", "port_of": "b"}, {"value": "x"}, {}, [], None, {"secret": 1}]
)
def test_what_is_no_value_is_refused(wrong: Any) -> None:
    with pytest.raises(PydanticCustomError):
        parse_value(wrong)


@pytest.mark.parametrize("wrong", ["A", "1a", "a--b", "a-", "a.b", "", "a b", "a" * 41, "a\n", "é"])
def test_what_is_no_name_is_refused(wrong: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Name).validate_python(wrong)


@pytest.mark.parametrize(
    "right", ["daily", "Sun *-*-* 02:00:00 UTC", "Sat *-*-1..7 01:00:00 UTC", "*-1,4,7,10-1 04:00:00 UTC"]
)
def test_calendars_are_taken(right: str) -> None:
    assert TypeAdapter(Calendar).validate_python(right) == right


@pytest.mark.parametrize("wrong", ["", "x", "daily\nExecStart=/bin/sh", "$(reboot) now", "a;b;c;d"])
def test_calendars_cannot_carry_other_text_into_a_unit(wrong: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Calendar).validate_python(wrong)
