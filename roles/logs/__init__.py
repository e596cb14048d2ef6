"""Journals of all hosts, kept on one."""
