"""What a container gets beside its configuration, known only when it is made.

Mounts of others and the engine's; networks of the container that it replaces.
"""

from __future__ import annotations

from pathlib import Path

from stackctl.daemon import generated
from stackctl.daemon.registry import Registry
from stackctl.errors import NotFound
from stackctl.model import lending
from stackctl.model.container import BindMount, ContainerConfig, Mount, NetworkAttachment
from stackctl.model.record import ContainerRecord
from stackctl.state.records import Store


def mounts(
    config: ContainerConfig, own: tuple[Mount, ...], home: Path, socket: Path, registry: Registry
) -> tuple[Mount, ...]:
    """The container's own mounts with those of `volumes_from`, generated files, the socket.

    Own targets win over others'. Raises NotFound for a container that is not there.
    """
    if not (config.volumes_from or config.files or config.api_socket):
        return own

    def lent_by(name: str) -> lending.Mounts:
        try:
            # In an update the one that is to have the name: the other one is about to go.
            try:
                record = registry.by_name(name, successor=True)
            except NotFound:
                record = registry.store.find_container(name)  # outside the stack, by its id
        except NotFound as error:
            raise NotFound(
                f'"{config.name}" wants the volumes of "{name}", which does not exist',
                hint="see volumes_from in the stack file",
            ) from error
        return lending.lent(record.config, lending.by_target(record.config.mounts))

    found = lending.borrowed(config, lent_by) | lending.by_target(own)
    found |= lending.by_target(generated.mounts(home, config.files))
    if config.api_socket:
        found[lending.SOCKET] = BindMount(
            source=str(socket), target=lending.SOCKET, create_host_path=False
        )
    return tuple(found.values())


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
