"""Requests between agents, health and key-value buckets over NATS."""
