"""Vendors' apt repositories: keys, sources and priorities."""
