"""The small value types that manifests are made of: names, sizes, durations, percentages, references."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, WithJsonSchema
from pydantic_core import PydanticCustomError

_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(B|KiB|MiB|GiB|TiB|kB|MB|GB|TB)?\Z")
_SIZE_UNITS = {
    None: 1, "B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3, "TiB": 1024**4,
    "kB": 1000, "MB": 1000**2, "GB": 1000**3, "TB": 1000**4,
}  # fmt: skip
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(ms|s|m|h|d|w)\Z")
_DURATION_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}


class Model(BaseModel):
    """Base of all manifest models: unknown keys are errors, values cannot change after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


def _wrong(given: Any, allowed: str) -> PydanticCustomError:
    return PydanticCustomError("groundwork", "is not valid", {"allowed": allowed, "given": given})


def parse_size(value: Any) -> int:
    """Turn ``512MiB``, ``2GB`` or a number of bytes into bytes. Raises a validation error otherwise."""
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    match = _SIZE.match(value) if isinstance(value, str) else None
    size = int(Decimal(match[1]) * _SIZE_UNITS[match[2]]) if match and len(match[1]) <= 30 else 0
    if size < 1:
        raise _wrong(value, "a size above zero such as 512MiB, 2GiB, 10GB or a number of bytes")
    return size


def parse_duration(value: Any) -> float:
    """Turn ``500ms``, ``30s``, ``5m``, ``2h``, ``30d`` or ``1w`` into seconds."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value == 0:
        return 0.0
    match = _DURATION.match(value) if isinstance(value, str) else None
    if not match or len(match[1]) > 15:
        raise _wrong(value, "a duration with its unit, such as 500ms, 30s, 5m, 2h, 30d or 1w")
    return float(Decimal(match[1]) * Decimal(str(_DURATION_UNITS[match[2]])))


def format_size(size: int) -> str:
    """Write a number of bytes with the largest binary unit that leaves a whole number."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if size and size % _SIZE_UNITS[unit] == 0:
            return f"{size // _SIZE_UNITS[unit]}{unit}"
    return f"{size}B"


def format_duration(seconds: float) -> str:
    """Write a number of seconds with the largest unit that leaves a whole number; milliseconds at the finest."""
    for unit in ("w", "d", "h", "m", "s"):
        count = seconds / _DURATION_UNITS[unit]
        if seconds and count.is_integer():
            return f"{int(count)}{unit}"
    return f"{round(seconds * 1000)}ms" if seconds else "0s"


def parse_percent(value: Any) -> Decimal:
    """Turn a number of percent (0 to 100) into an exact decimal: 99.9 stays 99.9."""
    try:
        if isinstance(value, bool) or not isinstance(value, (int, float, str, Decimal)):
            raise InvalidOperation
        number = Decimal(str(value).removesuffix("%").strip())
        if not number.is_finite() or not 0 <= number <= 100:
            raise InvalidOperation
    except InvalidOperation:
        raise _wrong(value, "a number of percent from 0 to 100") from None
    return number


class Reference(Model):
    """A value that is taken from elsewhere: exactly one of the four keys."""

    secret: str | None = None
    """Name of a declared secret; the value reaches the process as a file, never in its environment."""
    address_of: str | None = None
    """Service or agent whose address is meant."""
    port_of: str | None = None
    """Service or agent whose port is meant."""
    url_of: str | None = None
    """Service or agent whose URL (without credentials) is meant."""

    @property
    def kind(self) -> str:
        """Which of the four keys is given."""
        return next(iter(self.model_fields_set))

    @property
    def target(self) -> str:
        """The name the reference points at."""
        return str(getattr(self, self.kind))


Scalar = bool | int | float | str
Value = Scalar | Reference

_REFERENCE_KEYS = ("secret", "address_of", "port_of", "url_of")
_VALUE_ALLOWED = "a word, a number, true, false, or one of secret, address_of, port_of, url_of with a name"


def parse_value(value: Any) -> Value:
    """Turn a configuration value into a scalar or a Reference."""
    if isinstance(value, (bool, int, float, str, Reference)):
        return value
    if isinstance(value, dict) and len(value) == 1:
        key, target = next(iter(value.items()))
        if key in _REFERENCE_KEYS and isinstance(target, str) and target:
            return Reference.model_validate({key: target})
    raise _wrong(value, _VALUE_ALLOWED)


_NAME_PATTERN = r"^[a-z][a-z0-9]*([_-][a-z0-9]+)*$"

Name = Annotated[str, StringConstraints(pattern=_NAME_PATTERN, max_length=40)]
"""Lower case letters, digits, single ``-`` and ``_`` between them; begins with a letter; at most 40."""

HostGroup = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$", max_length=40)]
"""Name of an inventory group: a Python identifier, since inventories are Python files."""

EnvironmentName = Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Z0-9_]*$", max_length=100)]
"""Name of an environment variable: upper case letters, digits and ``_``."""

ModuleName = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*$", max_length=200)
]
"""Dotted name of a Python module."""

Port = Annotated[int, Field(strict=True, ge=1, le=65535)]
Count = Annotated[int, Field(strict=True, ge=1, le=10_000)]
Flag = Annotated[bool, Field(strict=True)]
Size = Annotated[
    int,
    BeforeValidator(parse_size),
    WithJsonSchema({"type": ["integer", "string"], "examples": ["512MiB", "2GiB"]}),
]
"""Bytes; written as ``512MiB``."""
Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    WithJsonSchema({"type": "string", "examples": ["30s", "5m", "30d"]}),
]
"""Seconds; written as ``30s``."""
Percent = Annotated[
    Decimal,
    BeforeValidator(parse_percent),
    WithJsonSchema({"type": ["number", "string"], "minimum": 0, "maximum": 100}),
]
AnyValue = Annotated[
    Any,
    BeforeValidator(parse_value),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": ["string", "number", "boolean"]},
                {
                    "type": "object",
                    "minProperties": 1,
                    "maxProperties": 1,
                    "additionalProperties": False,
                    "properties": {key: {"type": "string"} for key in _REFERENCE_KEYS},
                },
            ]
        }
    ),
]
"""A scalar or a Reference."""

Calendar = Annotated[
    str,
    StringConstraints(pattern=r"^(minutely|hourly|daily|weekly|monthly|quarterly|yearly|[A-Za-z0-9*:,./~ -]{4,80})$"),
]
"""A systemd calendar expression (man systemd.time), such as ``Sun *-*-* 02:00:00 UTC``."""

Version = Annotated[str, StringConstraints(pattern=r"^[0-9]+(\.[0-9]+)*$", max_length=40)]
"""A version made of numbers, in quotes: ``"6.2"``."""

Protocol = Literal["tcp", "udp"]
