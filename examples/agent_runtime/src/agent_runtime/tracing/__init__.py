"""Traces: spans around what agents do, and their context on the way to other agents and to the database."""
