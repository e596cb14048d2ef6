"""Runs on the hosts: who is master, and which server has which part of a cluster. Python's own library only."""
