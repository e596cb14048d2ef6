"""Programs that lie on a host for one server each; those of servers that belong together are in ``onhost``."""
