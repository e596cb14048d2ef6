"""Plain values for every host of every environment; a file named after a group or an environment overrides them.

What each means, and what else can be set: docs/roles/base.md.
"""

# operators = {"alice": {"keys": ["ssh-ed25519 AAAA... alice"], "sudo": True}}
operators: dict[str, dict[str, object]] = {}
timezone = "Etc/UTC"
locale = "C.UTF-8"
