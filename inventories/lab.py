"""The lab's hosts, as `./gw lab up` wrote them down; the lab's name comes from GROUNDWORK_LAB (or `default`)."""

from groundwork.lab.inventory import load_groups

globals().update(load_groups())
