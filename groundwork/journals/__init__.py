"""Journals across hosts: what to ask for, asking the log host or the hosts themselves, lines merged by time."""
