"""What is checked before backups are set up: what of the policy is not done, and what would be lost with its host."""

from __future__ import annotations

from collections.abc import Iterator

from groundwork.preflight.findings import SITE, Finding, Severity, judge, skip
from groundwork.site import Site
from groundwork.topology import backups


def check_site(site: Site) -> Iterator[Finding]:
    """That sets also lie elsewhere than on the host they are from; what is left out is named."""
    for place, reason in backups.list_left_out(site.platform).items():
        yield skip("backup.left_out", SITE, f"{place}: {reason}")
    jobs = backups.list_jobs(site.platform, site.topology)
    lonely = [f"{job.item} of {job.host}" for job in jobs if job.only_here]
    evidence = f"kept only on the host itself: {', '.join(lonely)}" if lonely else "every set lies on another host too"
    remedy = "another group below backup.repository.hosts, or a further one below backup.copies"
    yield judge("backup.elsewhere", SITE, not lonely, evidence, remedy, Severity.WARNING)
