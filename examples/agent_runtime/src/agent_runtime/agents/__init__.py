"""Agents that any platform can use."""
