"""Runs on the hosts with nothing but the standard library: lays cards out, restores them at boot, reads them back."""
