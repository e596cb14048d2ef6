"""A small runtime for agent processes."""

__version__ = "0.1.0"
