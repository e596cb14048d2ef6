"""Harden every host by its level (baseline where its data name none), or put back what was there before.

pyinfra inventories/lab.py deploys/harden.py
pyinfra inventories/lab.py deploys/harden.py --data hardening_level=strict
pyinfra inventories/lab.py deploys/harden.py --data hardening_revert=true
groundwork harden ENV --enforce
"""

from groundwork.report.hardening import Level
from groundwork.site import current_site
from roles.hardening.deploy import hardening

hardening(current_site(), default=Level.BASELINE)
