"""Workflows: which agents work on one task together, and in which pattern."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from groundwork.manifest.values import Duration, Model, Name


class Workflow(Model):
    """A task that several agents solve together."""

    description: str = ""
    pattern: Literal["sequential", "parallel", "debate", "verification", "expert_panel"]
    """``sequential``: one after the other; ``parallel``: all at once; ``debate``: in turns, the last agent
    decides; ``verification``: the last agent checks the others' work; ``expert_panel``: all give an opinion,
    the last agent sums up."""
    agents: Annotated[list[Name], Field(min_length=2)]
    """The agents in the order of their part."""
    timeout: Annotated[Duration, Field(gt=0, le=86_400)] = 60.0
    """Longest time for the whole task."""
