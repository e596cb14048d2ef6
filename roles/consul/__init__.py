"""Consul: servers with TLS, tokens and policies."""
