"""Test hosts on this machine: systemd containers with their own addresses, reached over SSH like any server."""
