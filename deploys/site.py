"""Bring every host of the environment to what its platform and inventory declare.

    pyinfra inventories/lab.py deploys/site.py

Every role runs on every host: where nothing is declared for it, it removes what it once laid down there.
"""

from groundwork.coverage import check_coverage
from groundwork.operations.refusals import refusing
from groundwork.site import current_site
from roles.agent_runtime.deploy import agent_runtime
from roles.artifacts.deploy import artifacts
from roles.backup.deploy import backup
from roles.backup_postgresql.deploy import backup_postgresql
from roles.base.deploy import base
from roles.consul.deploy import consul
from roles.container_engine.deploy import container_engine, retire_container_engine
from roles.firewall.deploy import firewall, open_firewall
from roles.gpu.deploy import gpu
from roles.hardening.deploy import hardening
from roles.logs.deploy import logs
from roles.nats.deploy import nats
from roles.observability.deploy import observability
from roles.pki.deploy import pki
from roles.postgresql.deploy import postgresql
from roles.redis.deploy import redis
from roles.reverse_proxy.deploy import reverse_proxy
from roles.scheduler.deploy import scheduler
from roles.traces.deploy import traces

site = current_site()
with refusing():
    check_coverage(site.platform)

base(site)
pki(site)
artifacts(site)
# Before anything talks over a new flow; what is no longer declared is closed last.
open_firewall(site)
redis(site)
postgresql(site)
backup_postgresql(site)
nats(site)
consul(site)
container_engine(site)
# Before the agents: their units find their part of a card in files that this writes.
gpu(site)
agent_runtime(site)
retire_container_engine(site)
reverse_proxy(site)
observability(site)
logs(site)
traces(site)
backup(site)
scheduler(site)
# Hosts whose data name a `hardening_level`; the others are left alone.
hardening(site)
firewall(site)
