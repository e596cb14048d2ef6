"""Addresses as text: which words are some, and how they stand before a port."""

from __future__ import annotations

from ipaddress import ip_address


def is_address(text: str) -> bool:
    """Whether a text is an IP address, and not a name."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def bracketed(address: str) -> str:
    """Return an address or a name as it stands before a port or in a URL (RFC 3986, 3.2.2)."""
    return f"[{address}]" if ":" in address else address


def join(address: str, port: int) -> str:
    """Address and port as one word."""
    return f"{bracketed(address)}:{port}"
