"""Request and reply work between agents, kept in Redis."""
