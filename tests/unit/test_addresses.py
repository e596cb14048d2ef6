"""Addresses and names, alone and before a port."""

from __future__ import annotations

import pytest

from groundwork.addresses import bracketed, is_address, join


@pytest.mark.parametrize(
    ("text", "address", "before_a_port"),
    [
        ("10.0.0.1", True, "10.0.0.1"),
        ("2001:db8::1", True, "[2001:db8::1]"),
        ("db.example.org", False, "db.example.org"),
        ("10.0.0.256", False, "10.0.0.256"),
        ("10.0.0.0/8", False, "10.0.0.0/8"),
        ("", False, ""),
    ],
)
def test_an_address_is_told_from_a_name_and_stands_before_a_port(text: str, address: bool, before_a_port: str) -> None:
    assert is_address(text) is address
    assert bracketed(text) == before_a_port
    assert join(text, 443) == f"{before_a_port}:443"
