"""Role agent_runtime: the agents of a platform as sandboxed systemd units."""
