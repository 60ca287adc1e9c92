"""Small desired states, made by hand where a stack file would be too much."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Sequence

from stackctl.model.container import (
    ContainerConfig,
    HealthCheck,
    NetworkAttachment,
    PortBinding,
    RestartPolicy,
    VolumeMount,
)
from stackctl.model.network import NetworkConfig, VolumeConfig
from stackctl.scheduler.desired import Condition, Dependency, Desired, DesiredService
from stackctl.scheduler.recorded import LABEL, render

PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
RUNS = ("sleep", "1000")
HEALTHY = HealthCheck(test=("true",), interval=0.1, retries=1)
UNHEALTHY = HealthCheck(test=("false",), interval=0.1, retries=1)


def ends(code: int) -> tuple[str, ...]:
    """The command of a job that ends at once."""
    return ("sh", "-c", f"exit {code}")


def depends(
    service: str, condition: str = "started", *, required: bool = True, restart: bool = False
) -> Dependency:
    """`condition` without its prefix: started, healthy, completed_successfully."""
    return Dependency(
        service=service,
        condition=Condition(f"service_{condition}"),
        required=required,
        restart=restart,
    )


def service(
    name: str,
    *needs: Dependency,
    project: str = "p",
    scale: int = 1,
    argv: Sequence[str] = RUNS,
    image: str = "stackctl/host",
    image_id: str = "sha256:host",
    health: HealthCheck | None = None,
    networks: Iterable[str] = ("default",),
    volumes: Iterable[str] = (),
    anonymous: Iterable[str] = (),
    volumes_from: Iterable[str] = (),
    ports: Iterable[int] = (),
    restart: RestartPolicy = RestartPolicy(),
    pull_policy: str = "missing",
    version: str = "",
    address: str = "",
    called: str = "",
) -> DesiredService:
    """A service; `version` is anything that makes its configuration another one.

    `networks` and `volumes` are keys; a volume is mounted at /KEY. `anonymous`:
    targets of anonymous volumes. `volumes_from`: services, maybe with ":ro".
    `ports`: fixed host ports, to the same inside. `address`: a fixed one in each network.
    `called`: a name for its one container.
    """
    joins = tuple(
        NetworkAttachment(network=f"{project}_{k}", aliases=(name,), ipv4_address=address)
        for k in networks
    )
    mounts: tuple[VolumeMount, ...] = (
        *(VolumeMount(volume=f"{project}_{key}", target=f"/{key}") for key in volumes),
        *(
            VolumeMount(volume=secrets.token_hex(8), target=target, anonymous=True)
            for target in anonymous
        ),
    )
    bindings = tuple(PortBinding(container_port=n, host_port=(n, n)) for n in ports)
    # The names of anonymous volumes are no part of what is wanted.
    targets = [(mount.target, mount.anonymous) for mount in mounts]
    others = []
    for name_and_mode in volumes_from:
        other, colon, mode = name_and_mode.partition(":")
        others.append(f"{project}-{other}-1{colon}{mode}")
    what = repr(
        (tuple(argv), image, health, joins, targets, others, bindings, restart, version, called)
    )
    return DesiredService(
        name=name,
        image=image,
        pull_policy=pull_policy,
        depends_on=needs,
        has_healthcheck=health is not None,
        replicas=tuple(
            ContainerConfig(
                name=called or f"{project}-{name}-{number}",
                image=image,
                image_id=image_id,
                argv=tuple(argv),
                env=(PATH,),
                labels={LABEL: render(needs)},
                mounts=mounts,
                volumes_from=tuple(others),
                ports=bindings,
                networks=joins,
                health=health,
                restart=restart,
                # The first process of a container ignores SIGTERM unless it handles it.
                stop_signal="SIGKILL",
                project=project,
                service=name,
                number=number,
                config_hash=hashlib.sha256(what.encode()).hexdigest(),
            )
            for number in range(1, scale + 1)
        ),
    )


def stack(
    *services: DesiredService,
    project: str = "p",
    network_version: str = "",
    volume_version: str = "",
    disabled: frozenset[str] = frozenset(),
) -> Desired:
    """A stack of these services, with the networks and volumes that they mention."""
    networks = {
        join.network: NetworkConfig(
            name=join.network,
            key=join.network.removeprefix(f"{project}_"),
            project=project,
            config_hash=network_version,
        )
        for one in services
        for config in one.replicas
        for join in config.networks
    }
    volumes = {
        mount.volume: VolumeConfig(
            name=mount.volume,
            key=mount.volume.removeprefix(f"{project}_"),
            project=project,
            config_hash=volume_version,
        )
        for one in services
        for config in one.replicas
        for mount in config.mounts
        if isinstance(mount, VolumeMount) and not mount.anonymous
    }
    return Desired(
        project=project,
        services=services,
        networks=tuple(networks.values()),
        volumes=tuple(volumes.values()),
        disabled=disabled,
    )
