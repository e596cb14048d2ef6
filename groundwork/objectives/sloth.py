"""Objectives in the format of Sloth (``version: prometheus/v1``): read with places, written so that Sloth reads them.

The format is that of https://sloth.dev/specs/default/, of Sloth 0.16: what it has and this version does not do
(``sli.plugin``) is refused by name. Keys that begin with ``x-`` are anybody's.
"""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from groundwork.manifest.errors import translate_error
from groundwork.manifest.source import Source, parse, read
from groundwork.manifest.values import parse_percent
from groundwork.problems import Problem, ProblemError

WINDOW = "{{.window}}"
"""Stands in queries for the window; Sloth's own spelling, with or without blanks inside the braces."""
_WINDOW = re.compile(r"\{\{ *\.window *\}\}")
SMALLEST_OBJECTIVE = Decimal(85)
"""Percent. Below it, the error ratios at which alerts should fire come near or above 1 and never would."""

Labels = dict[str, str]
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


def _check_query(value: Any) -> Any:
    if isinstance(value, str) and not _WINDOW.search(value):
        raise PydanticCustomError("groundwork", "has no window", {"given": value, "allowed": f"a query with {WINDOW}"})
    return value


def _check_labels(value: Any) -> Any:
    for name in value if isinstance(value, dict) else ():
        if not _LABEL.fullmatch(str(name)):
            raise PydanticCustomError("groundwork", "is no label's name", {"given": name, "allowed": "a_name"})
    return value


Query = Annotated[str, BeforeValidator(_check_query)]
LabelSet = Annotated[Labels, BeforeValidator(_check_labels)]
Identifier = Annotated[str, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?$", max_length=100)]


class _Part(BaseModel):
    """Base of the format's parts: unknown keys are errors, but for those that begin with ``x-``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _drop_extensions(cls, data: Any) -> Any:
        if isinstance(data, dict):
            return {key: value for key, value in data.items() if not str(key).startswith("x-")}
        return data


class Events(_Part):
    """Failed and all events of a window."""

    error_query: Query
    total_query: Query


class Raw(_Part):
    """The ratio of failed events itself."""

    error_ratio_query: Query


class Indicator(_Part):
    """What is measured: exactly one of the two."""

    events: Events | None = None
    raw: Raw | None = None
    plugin: Any = None

    @model_validator(mode="after")
    def _check_one(self) -> Indicator:
        allowed = "one of events, raw"
        if self.plugin is not None:
            raise PydanticCustomError("groundwork", "plugins are Sloth's own", {"given": "plugin", "allowed": allowed})
        if (self.events is None) == (self.raw is None):
            raise PydanticCustomError("groundwork", "is not one indicator", {"given": None, "allowed": allowed})
        return self


class Alert(_Part):
    """What one severity's alert says besides, and whether there is one."""

    disable: bool = False
    labels: LabelSet = {}
    annotations: Labels = {}


class Alerting(_Part):
    """The alerts of an objective."""

    name: str = ""
    labels: LabelSet = {}
    annotations: Labels = {}
    page_alert: Alert = Alert()
    ticket_alert: Alert = Alert()


class Slo(_Part):
    """One objective: so many percent of the events are good."""

    name: Identifier
    objective: Annotated[Decimal, BeforeValidator(parse_percent), Field(ge=int(SMALLEST_OBJECTIVE), lt=100)]
    description: str = ""
    labels: LabelSet = {}
    sli: Indicator
    alerting: Alerting = Alerting()

    @property
    def target(self) -> Decimal:
        """The share of good events that is promised, exactly: 0.999 for 99.9."""
        return (self.objective / 100).normalize()

    @property
    def budget(self) -> Decimal:
        """The share of events that may fail, exactly: 0.001 for 99.9."""
        return ((100 - self.objective) / 100).normalize()


class Spec(_Part):
    """One file: the objectives of one service."""

    version: Literal["prometheus/v1"]
    service: Identifier
    labels: LabelSet = {}
    slos: Annotated[list[Slo], Field(min_length=1)]

    def identifier(self, slo: Slo) -> str:
        """Sloth's identifier of an objective, the value of ``sloth_id``."""
        return f"{self.service}-{slo.name}"


def read_spec(path: Path, name: str | None = None) -> Spec:
    """Read one file. Raises ProblemError with every mistake and its place."""
    return _validate(read(path, name=name))


def parse_spec(text: str, name: str = "objectives") -> Spec:
    """Read the text of one file; ``name`` is what messages call it. Raises ProblemError as ``read_spec``."""
    return _validate(parse(text, name))


def _validate(source: Source) -> Spec:
    try:
        spec = Spec.model_validate(source.data)
    except ValidationError as error:
        errors = error.errors(include_url=False)
        raise ProblemError([translate_error(dict(item), source, Spec) for item in errors]) from None
    problems = []
    seen: set[str] = set()
    for number, slo in enumerate(spec.slos):
        if slo.name in seen:
            problems.append(source.place(Problem("is given twice", key=f"slos.{number}.name", given=slo.name)))
        seen.add(slo.name)
    if problems:
        raise ProblemError(problems)
    return spec


def dump_spec(spec: Spec) -> str:
    """Write a file that Sloth reads as well; percentages stay as they are (99.9, not 99.90000000000001)."""
    data = spec.model_dump(exclude_defaults=True)
    data = {"version": spec.version, **{key: value for key, value in data.items() if key != "version"}}
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, width=10_000, allow_unicode=True)


class _Dumper(yaml.SafeDumper):
    """Writes exact decimals as plain numbers."""


def _represent_decimal(dumper: yaml.SafeDumper, value: Decimal) -> yaml.Node:
    text = format(value.normalize(), "f")
    return dumper.represent_scalar("tag:yaml.org,2002:float" if "." in text else "tag:yaml.org,2002:int", text)


_Dumper.add_representer(Decimal, _represent_decimal)


def fill_window(query: str, window: str) -> str:
    """Return a query with its window: ``fill_window(query, "5m")``."""
    return _WINDOW.sub(window, query)
