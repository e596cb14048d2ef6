"""The settings of a server, and who may connect to it."""

from __future__ import annotations

from pyinfra.api.operation import OperationMeta

from groundwork.authority import paths
from groundwork.operations import validated_files
from roles.postgresql import access
from roles.postgresql.server import SOCKETS, Server, helpers_folder, slot_name
from roles.postgresql.sizing import format_bytes


def build_primary(server: Server) -> str:
    """How a replica reaches its primary: by its own certificate, after it has checked the primary's."""
    unit = server.identity
    return (
        f"host={server.primary.address} port={server.primary.port} user={access.REPLICATION} sslmode=verify-full"
        f" sslcert={paths.certificate(server.platform, unit)} sslkey={paths.key(server.platform, unit)}"
        f" sslrootcert={paths.bundle(server.platform)} sslcrl={paths.revocation_list(server.platform)}"
        f" application_name={slot_name(server.node.host)} connect_timeout=10"
    )


def configure(server: Server) -> list[OperationMeta]:
    """Write the server's settings and who may connect, each checked by PostgreSQL before it is put in place."""
    settings = validated_files.validated_template(
        name="Configure PostgreSQL",
        src="postgresql/settings.conf.j2",
        dest=server.settings_file,
        data={
            "server": server,
            "size": format_bytes,
            "sockets": SOCKETS,
            "certificate": paths.certificate(server.platform, server.identity),
            "key": paths.key(server.platform, server.identity),
            "bundle": paths.bundle(server.platform),
            "revocation_list": paths.revocation_list(server.platform),
            "primary": build_primary(server),
            "slot": slot_name(server.node.host),
        },
        # -C reads the whole file and gives up at what it does not understand.
        check=f"{server.programs}/postgres -D {server.data_folder} -c config_file={{candidate}} -C max_connections",
        check_user="postgres",
    )
    start = validated_files.validated_file(
        name="Start the cluster with the host",
        dest=f"{server.folder}/start.conf",
        content="auto\n",
        user="postgres",
        group="postgres",
    )
    tried = f"{helpers_folder(server.platform)}/postgresql-try"
    rules = access.render_access(server.node, server.declared, server.logins, server.replicas)
    mappings = access.render_mappings(server.service, server.declared, server.logins)
    written = [settings, start]
    for kind, dest, content in (("ident", server.mapping_file, mappings), ("hba", server.access_file, rules)):
        meta = validated_files.validated_file(
            name=f"Set who may connect ({kind})",
            dest=dest,
            content=content,
            group="postgres",
            mode="0640",
            check=[tried, kind, dest, "{candidate}"],
        )
        written.append(meta)
    return written
