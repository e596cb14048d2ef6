"""Check on every host that a deploy would work; changes nothing, and fails a host where it would not.

    pyinfra inventories/lab.py deploys/preflight.py
    groundwork preflight ENV

The same checks as the command's; the command also writes JSON and JUnit, and has an exit code for findings.
"""

import time

from pyinfra import host, logger
from pyinfra.api.exceptions import DeployError

from groundwork.facts.preflight import PreflightAnswers
from groundwork.preflight.findings import Severity, Status
from groundwork.preflight.run import Gathered, check_host, check_static, host_script
from groundwork.site import current_site

site = current_site()
before = time.time()
answers = host.get_fact(PreflightAnswers, script=host_script(site, host.name))
gathered = Gathered(answers, before, time.time())

names = {one.name for one in site.inventory.hosts} - {host.name}
findings = [one for one in (*check_static(site), *check_host(site, host.name, gathered)) if one.host not in names]
failed = [one for one in findings if one.status is Status.FAILED]
for one in failed:
    text = f"{one.severity}: {one.host}: {one.id}: {one.evidence}; do: {one.remedy}"
    host.log(text, logger.error if one.severity is Severity.ERROR else logger.warning)
errors = [one for one in failed if one.severity is Severity.ERROR]
passed = sum(1 for one in findings if one.status is Status.PASSED)
host.log(f"preflight: {passed} passed, {len(failed) - len(errors)} warnings, {len(errors)} errors", logger.info)
if errors:
    raise DeployError(f"preflight: {len(errors)} errors on {host.name}: {errors[0].id}: {errors[0].evidence}")
