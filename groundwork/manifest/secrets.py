"""Secrets by name; their values live in the environment's encrypted store."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from groundwork.manifest.values import Model


class SecretDeclaration(Model):
    """A secret by name: how it is made, or that the operator provides it. Never its value."""

    kind: Literal["password", "token", "jwt", "key", "uuid", "provided"] = "password"
    """``provided`` secrets cannot be generated: ``groundwork secrets set ENV NAME``."""
    length: Annotated[int, Field(strict=True, ge=16, le=1024)] | None = None
    """Characters of a generated value."""
    minimum_length: Annotated[int, Field(strict=True, ge=1, le=1024)] | None = None
    """Shortest value accepted from an operator."""
    description: str = ""
