"""Arize Phoenix as the place for traces."""
