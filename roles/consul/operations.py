"""Operations of ``consul``: files in the words of the installed release, policies and tokens."""

from __future__ import annotations

import json
from collections.abc import Generator, Sequence

from pyinfra import host, logger, state
from pyinfra.api import QuoteString, StringCommand, operation
from pyinfra.api.command import PyinfraCommand
from pyinfra.api.operation import OperationMeta

from groundwork.operations.secret_files import secret_file
from groundwork.operations.validated_files import validated_file
from groundwork.secrets.value import SecretValue
from roles.consul import plan
from roles.consul.facts import AccessDifferences, ConsulVersion

MODERN_SINCE = (1, 14)
"""The release from which all the newer names are known: tokens since 1.11, TLS since 1.12, the port of gRPC over TLS
since 1.14 (Consul, changelog). It still took the former ones."""


def _is_modern() -> bool:
    """Whether the installed release, or the one about to be, has the newer names."""
    version = host.get_fact(ConsulVersion)
    return not version or version >= MODERN_SINCE


@operation()
def configuration(server: plan.Server) -> Generator[PyinfraCommand, None, None]:
    """
    Write a server's configuration once ``consul validate`` accepts it.

    + server: the server
    """
    content = json.dumps(plan.describe_server(server, _is_modern()), indent=1) + "\n"
    check = [plan.PROGRAM, "validate", "-config-format=json", "{candidate}"]
    yield from validated_file._inner(
        server.configuration, content, check, group="consul", mode="0640", check_user="consul"
    )


@operation()
def secret_configuration(
    server: plan.Server, gossip_key: SecretValue, management: SecretValue, agent: SecretValue
) -> Generator[PyinfraCommand, None, None]:
    """
    Write a server's secrets once ``consul validate`` accepts them together with its configuration.

    + server: the server
    + gossip_key: 32 bytes in base64
    + management, agent: tokens
    """
    parts = (gossip_key.reveal(), management.reveal(), agent.reveal())
    content = SecretValue(json.dumps(plan.describe_secrets(*parts, _is_modern()), indent=1) + "\n")
    check = (
        "stage=$(mktemp -d) && trap 'rm -rf -- \"$stage\"' EXIT && "
        f'cp -- {server.configuration} {{candidate}} "$stage/" && {plan.PROGRAM} validate "$stage"'
    )
    yield from secret_file._inner(
        server.secrets, content, group="consul", mode="0640", check=check, check_user="consul"
    )


@operation()
def access(helper: str, path: str, after: Sequence[OperationMeta] = ()) -> Generator[PyinfraCommand, None, None]:
    """
    Make the policies and tokens that a file declares, change what differs, and remove those it no longer has.

    + helper: path of ``consul-admin``
    + path: the file, as ``plan.describe_access`` makes it
    + after: results of the operations before it that change what it will find

    Policies and tokens of others (whose names do not begin as ours) are left alone.
    """
    differences = host.get_fact(AccessDifferences, helper=helper, path=path)
    planned = not state.is_executing and any(meta._maybe_is_change for meta in after)
    if not differences and not planned:
        host.noop("policies and tokens are as declared")
        return
    if state.config.DIFF:
        for line in differences:
            host.log(line, logger.info)
    yield StringCommand(QuoteString(helper), "apply", QuoteString(path))
