"""Bring the firewall alone to what is declared: closes what is open and undeclared, touches no service.

pyinfra inventories/lab.py deploys/firewall.py
"""

from groundwork.site import current_site
from roles.firewall.deploy import firewall, open_firewall

site = current_site()
open_firewall(site)
firewall(site)
