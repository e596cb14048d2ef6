"""Declarative infrastructure for multi-agent AI platforms, on pyinfra."""

__version__ = "0.1.0"
