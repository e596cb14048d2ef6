"""Two hosts for the platform chorus: copy this file, and group_data/example.py, under your environment's name.

The manifest places its groups and services on the inventory groups `app` and `data`.
"""

# `address` is where the other hosts reach the host; `public_addresses` (optional) are further ones for clients.
app = [("app-1.example.org", {"address": "192.0.2.11"})]
data = [("data-1.example.org", {"address": "192.0.2.21"})]
