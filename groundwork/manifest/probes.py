"""How an agent's health is asked for, and between how many replicas it may be scaled."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from groundwork.manifest.values import Duration, Flag, Model


class Probe(Model):
    """When and how often one question about an agent's health is asked."""

    delay: Duration = 0.0
    """Time after the start before the first question."""
    interval: Annotated[Duration, Field(gt=0, le=3600)] = 10.0
    timeout: Annotated[Duration, Field(gt=0, le=600)] = 10.0
    failures: Annotated[int, Field(strict=True, ge=1, le=100)] = 3
    """Failed answers in a row before the agent counts as unhealthy."""


class Scaling(Model):
    """Bounds for the number of replicas on all hosts together, where something scales them by load."""

    minimum: Annotated[int, Field(strict=True, ge=1, le=1000)] = 1
    maximum: Annotated[int, Field(strict=True, ge=1, le=1000)]
    cpu_percent: Annotated[int, Field(strict=True, ge=1, le=100)] = 70
    """Mean processor use, in percent of what is requested, that scaling aims at."""
    single_primary: Flag = False
    """One replica leads and the others stand by; the runtime elects it."""

    @model_validator(mode="after")
    def _bounds_are_in_order(self) -> Scaling:
        if self.minimum > self.maximum:
            raise PydanticCustomError(
                "groundwork",
                "the minimum is above the maximum",
                {"allowed": "minimum at most maximum", "given": f"{self.minimum} to {self.maximum}"},
            )
        return self
