"""``python3 -m redis_nodes SETTINGS status|plan|leave|arrange|start|stop|promote``: SETTINGS is a file of ours."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from . import replication
from .cluster import Cluster, describe
from .planning import RefusalError, next_steps
from .replication import DisagreementError
from .settings import Server, Settings, read_settings
from .wire import ReplyError


def _say(text: str) -> None:
    print(text, flush=True)


def run_cluster(settings: Settings, verb: str) -> object:
    """Carry out one verb for a cluster: the lines to print."""
    cluster = Cluster(settings, _say)
    if verb == "status":
        return describe(cluster)
    servers = settings.servers
    if verb in ("leave", "leave-plan"):
        # Before anything else changes: those that stay take over what those that go have.
        servers = cluster.members()
        seen = cluster.look(servers)
        declared = {server.place for server in settings.servers}
        if not {member.place for sight in seen.values() for member in sight.members.values()} - declared:
            return []
    if verb in ("plan", "leave-plan"):
        return [str(step) for step in next_steps(servers, cluster.look(servers), settings.replicas)]
    cluster.arrange(servers)
    return []


def run_replicated(settings: Settings, verb: str, server: Server | None, files: list[Path]) -> object:
    """Carry out one verb for a master with replicas: the lines to print."""
    if verb == "status":
        return [f"{server} {replication.ask_role(settings, server)}" for server in settings.servers]
    if verb == "plan":
        return replication.list_steps(settings)
    if verb == "start" and server:
        replication.write_role(settings, server, *files)
    elif verb == "stop" and server:
        replication.note_role(settings, server, *files)
    elif verb == "promote" and server:
        replication.promote(settings, server, _say)
    elif verb == "arrange":
        replication.arrange(settings, _say)
    return []


def main(arguments: list[str] | None = None) -> int:
    """Run; 0 when done, 1 with one line where it cannot be done."""
    parser = argparse.ArgumentParser(prog="redis_nodes")
    parser.add_argument("settings", type=Path, help="what the controller laid down about the service")
    parser.add_argument("mode", choices=["cluster", "replicated"])
    parser.add_argument(
        "verb", choices=["status", "plan", "leave-plan", "leave", "arrange", "start", "stop", "promote"]
    )
    parser.add_argument("server", nargs="?", help="address:port, for start, stop and promote")
    parser.add_argument(
        "files", nargs="*", type=Path, help="for start: what to write and to remember; for stop: the latter"
    )
    given = parser.parse_args(arguments)
    try:
        settings = read_settings(json.loads(given.settings.read_text()))
        server = next((one for one in settings.servers if str(one) == given.server), None)
        if given.mode == "cluster":
            answer = run_cluster(settings, given.verb)
        else:
            answer = run_replicated(settings, given.verb, server, given.files)
    except (RefusalError, DisagreementError, ReplyError, OSError, ValueError) as error:
        if given.verb.endswith("plan"):
            print(json.dumps([f"refused: {error}"]))
            return 0
        print(f"{given.verb}: {error}", file=sys.stderr)
        return 1
    if given.verb == "status":
        print("\n".join(map(str, answer)) if isinstance(answer, list) else answer)
    elif given.verb.endswith("plan"):
        print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
