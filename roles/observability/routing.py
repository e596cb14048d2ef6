"""Alertmanager's configuration: who is told of what, when not, and which alerts others make superfluous."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from groundwork.manifest.observability import Receiver
from groundwork.manifest.platform import Platform
from groundwork.objectives.derivation import DerivedObjective, list_agents
from groundwork.problems import Problem, ProblemError
from groundwork.secrets.value import SecretValue
from roles.observability.maintenance import make_intervals

NOBODY = "nobody"
# Seconds to wait for further alerts of a group, and until an alert that lasts is told again.
TIMES = {"page": ("10s", "4h"), "ticket": ("30s", "24h"), "info": ("5m", "72h")}
SUMMARY = "{{ .Status | toUpper }} {{ .CommonLabels.alertname }}"
EMAIL_ALLOWED = "smtps://USER:PASSWORD@HOST:PORT/?from=ADDRESS&to=ADDRESS"


def make_configuration(
    platform: Platform, derived: list[DerivedObjective], secrets: Mapping[str, SecretValue]
) -> dict[str, Any]:
    """Return the configuration with the receivers' secrets revealed in it; ``secrets`` are by receiver.

    Raises ProblemError for maintenance windows that Alertmanager cannot keep, and for a receiver whose secret does
    not have the form its kind needs.
    """
    declared = platform.observability.alertmanager
    receivers = declared.receivers if declared else {}
    intervals = make_intervals(platform.maintenance)
    muted = [interval["name"] for interval in intervals]
    routes: list[dict[str, Any]] = []
    for name, receiver in receivers.items():
        for severity in receiver.severities:
            matchers = [f'severity="{severity}"']
            matchers += [f'team=~"{"|".join(receiver.teams)}"'] if receiver.teams else []
            wait, again = TIMES[severity]
            route: dict[str, Any] = {
                "receiver": name,
                "matchers": matchers,
                "group_wait": wait,
                "repeat_interval": again,
            }
            route |= {"group_interval": "1m", "continue": True}
            routes.append(route | ({"mute_time_intervals": muted} if muted else {}))
    return {
        "route": {"receiver": NOBODY, "group_by": ["alertname", "sloth_id", "host"], "routes": routes},
        "receivers": [
            {"name": NOBODY},
            *(_make_receiver(name, receiver, secrets[name]) for name, receiver in receivers.items()),
        ],
        "inhibit_rules": list_inhibitions(platform, derived),
        "time_intervals": intervals,
    }


def _make_receiver(name: str, receiver: Receiver, secret: SecretValue) -> dict[str, Any]:
    value = secret.reveal().strip()
    match receiver.kind:
        case "webhook":
            return {"name": name, "webhook_configs": [{"url": value, "send_resolved": True}]}
        case "discord":
            # Discord refuses titles above 256 characters, and the alert would be lost (alertmanager#3310).
            config = {"webhook_url": value, "send_resolved": True, "title": SUMMARY}
            return {"name": name, "discord_configs": [config]}
        case "pagerduty":
            config = {"routing_key": value, "send_resolved": True, "severity": "{{ .CommonLabels.severity }}"}
            return {"name": name, "pagerduty_configs": [config]}
        case _:
            return {"name": name, "email_configs": [_make_email(name, value)]}


def _make_email(name: str, value: str) -> dict[str, Any]:
    parts = urlsplit(value)
    query = parse_qs(parts.query)
    if parts.scheme != "smtps" or not parts.hostname or not query.get("from") or not query.get("to"):
        key = f"observability.alertmanager.receivers.{name}.secret"
        raise ProblemError([Problem("is no mail server with addresses", key=key, allowed=EMAIL_ALLOWED)])
    return {
        "smarthost": f"{parts.hostname}:{parts.port or 587}",
        "from": query["from"][0],
        "to": query["to"][0],
        "auth_username": unquote(parts.username or ""),
        "auth_password": unquote(parts.password or ""),
        "require_tls": True,
        "send_resolved": True,
    }


def list_inhibitions(platform: Platform, derived: list[DerivedObjective]) -> list[dict[str, Any]]:
    """Return what holds alerts back: a page its ticket, a host that is down what is on it, a service its users.

    What an agent group needs, the manifest says: while a service's own page fires, the alerts of objectives whose
    agents all need it say nothing new.
    """
    rules: list[dict[str, Any]] = [
        {
            "source_matchers": ['severity="page"'],
            "target_matchers": ['severity=~"ticket|info"'],
            "equal": ["sloth_id", "alertname", "host"],
        },
        {
            "source_matchers": ['alertname="HostDown"'],
            "target_matchers": ['alertname!="HostDown"', 'host=~".+"'],
            "equal": ["host"],
        },
    ]
    for name, objective in platform.objectives.items():
        dependents = _dependents(platform, derived, objective.services)
        if objective.services and dependents:
            rules.append(
                {
                    "source_matchers": ['severity="page"', f'objective="{name}"'],
                    "target_matchers": [f'objective=~"{"|".join(dependents)}"'],
                }
            )
    return rules


def _dependents(platform: Platform, derived: list[DerivedObjective], services: list[str]) -> list[str]:
    """Names of the objectives all of whose agents need one of the services."""
    declared = platform.agents()

    def needs(agent: str) -> bool:
        group = platform.groups[declared[agent][0]]
        names = {need.name for need in (*group.needs, *group.agents[agent].needs)}
        return bool(names & set(services))

    found: list[str] = []
    for name in dict.fromkeys(one.name for one in derived):
        agents = list_agents(platform, platform.objectives[name])
        if agents and all(needs(agent) for agent in agents):
            found.append(name)
    return found
