"""What a container gets beside its configuration, known only when it is made.

Mounts of others and the engine's; networks of the container that it replaces.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from posixpath import normpath

from stackctl.daemon import generated
from stackctl.daemon.registry import Registry
from stackctl.errors import NotFound
from stackctl.model.container import (
    BindMount,
    ContainerConfig,
    Mount,
    NetworkAttachment,
    TmpfsMount,
)
from stackctl.model.record import ContainerRecord
from stackctl.state.records import Store

#: Where Docker's clients look for an engine.
SOCKET = "/var/run/docker.sock"


def mounts(
    config: ContainerConfig, own: tuple[Mount, ...], home: Path, socket: Path, registry: Registry
) -> tuple[Mount, ...]:
    """The container's own mounts with those of `volumes_from`, generated files, the socket.

    Own targets win over others'. Raises NotFound for a container that is not there.
    """
    if not (config.volumes_from or config.files or config.api_socket):
        return own
    found: dict[str, Mount] = {}
    for text in config.volumes_from:
        name, _, mode = text.partition(":")
        record = registry.find_name(name)
        if record is None:
            raise NotFound(
                f'"{config.name}" wants the volumes of "{name}", which does not exist',
                hint="see volumes_from in the stack file",
            )
        for mount in record.config.mounts:
            if not isinstance(mount, TmpfsMount) and not _is_generated(record.config, mount):
                shared = replace(mount, read_only=True) if mode == "ro" else mount
                found[normpath(mount.target)] = shared
    found.update({normpath(mount.target): mount for mount in own})
    found.update({normpath(m.target): m for m in generated.mounts(home, config.files)})
    if config.api_socket:
        found[SOCKET] = BindMount(source=str(socket), target=SOCKET, create_host_path=False)
    return tuple(found.values())


def _is_generated(config: ContainerConfig, mount: Mount) -> bool:
    """Secrets and configs of another container stay its own."""
    return mount.target in {file.target for file in config.files} | {SOCKET}


def networks(
    config: ContainerConfig, former: ContainerRecord | None, store: Store
) -> tuple[NetworkAttachment, ...]:
    """Networks that somebody connected the replaced container to: its successor's, too."""
    if former is None or not config.networks:
        return ()
    known = {join.network for join in (*former.config.networks, *config.networks)}
    return tuple(
        NetworkAttachment(
            network=endpoint.network,
            aliases=endpoint.aliases,
            ipv4_address=endpoint.ipv4.partition("/")[0],
            ipv6_address=endpoint.ipv6.partition("/")[0],
            gw_priority=endpoint.gw_priority,
            link_local_ips=tuple(a.partition("/")[0] for a in endpoint.link_local),
            settings=endpoint.settings,
        )
        for endpoint in former.endpoints
        if endpoint.network not in known and store.network(endpoint.network_id) is not None
    )
