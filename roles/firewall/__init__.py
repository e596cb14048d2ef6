"""The packet filter of every host."""
