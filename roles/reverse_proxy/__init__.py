"""nginx in front of a platform: TLS, limits, headers, agents and static sites."""
