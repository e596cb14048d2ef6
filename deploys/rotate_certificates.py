"""Renew what is due of every host's certificates, bring what is trusted, and have services load both.

    pyinfra inventories/lab.py deploys/rotate_certificates.py
    groundwork certs rotate ENV

The roles here are those of site.py that hold certificates in memory; they reload, and restart nothing that is as
declared. Agents watch their own files.
"""

from groundwork.site import current_site
from roles.consul.deploy import consul
from roles.pki.deploy import pki
from roles.redis.deploy import redis
from roles.reverse_proxy.deploy import reverse_proxy

site = current_site()

pki(site)
redis(site)
consul(site)
reverse_proxy(site)
