"""Backups: the signed description of a set, and the commands that make, check and restore sets."""
