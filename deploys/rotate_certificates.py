"""Renew what is due of every host's certificates, bring what is trusted, and have services load both.

    pyinfra inventories/lab.py deploys/rotate_certificates.py
    groundwork certs rotate ENV

The roles here are those of site.py whose services hold certificates in memory; they reload, and restart nothing that is
as declared; Phoenix alone restarts, as it reads its certificate at its start only. PostgreSQL and NATS only read their
certificates: no migration runs. Agents watch their own files.
"""

from groundwork.site import current_site
from roles.backup.deploy import backup_certificates
from roles.backup_postgresql.deploy import backup_postgresql_certificates
from roles.consul.deploy import consul
from roles.logs.deploy import logs
from roles.nats.deploy import nats_certificates
from roles.observability.deploy import observability
from roles.pki.deploy import pki
from roles.postgresql.deploy import postgresql_certificates
from roles.redis.deploy import redis
from roles.reverse_proxy.deploy import reverse_proxy
from roles.traces.deploy import traces

site = current_site()

pki(site)
redis(site)
consul(site)
postgresql_certificates(site)
backup_postgresql_certificates(site)
nats_certificates(site)
reverse_proxy(site)
observability(site)
logs(site)
traces(site)
backup_certificates(site)
