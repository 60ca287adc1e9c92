"""An engine in memory: obeys the executor's protocol on records, refuses what a real one would.

It makes no process, no file and no packet. What a container does is read from
its configuration: argv ("true",), ("false",) and ("sh", "-c", "exit N") end at
once with that code, everything else runs on; a health check whose test is
("true",) is healthy, ("false",) unhealthy. Failures are ordered with `fail`.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace

from stackctl.errors import Conflict, ContainerError, NotFound, StackctlError
from stackctl.model import lending
from stackctl.model.container import ContainerConfig, Health, Status, VolumeMount
from stackctl.model.network import Endpoint, NetworkConfig, PublishedPort, VolumeConfig
from stackctl.model.record import ContainerRecord, NetworkRecord, VolumeRecord
from stackctl.scheduler.desired import Observed
from stackctl.scheduler.ops import (
    BuildImage,
    CreateContainer,
    CreateNetwork,
    CreateVolume,
    Op,
    Pause,
    PullImage,
    RemoveContainer,
    RemoveNetwork,
    RemoveVolume,
    RenameContainer,
    RunInit,
    RunProvider,
    SetAside,
    StartContainer,
    StopContainer,
    WaitCompleted,
    WaitHealthy,
)
from stackctl.scheduler.show import target

#: What a failure is about: an operation and its target (StartContainer, "p-web-1").
Key = tuple[type[Op], str]


class MemoryEngine:
    """Holds records by id or name. Raises as the real engine does, so that tests of plans
    notice a step that comes too early."""

    def __init__(self, *, images: frozenset[str] = frozenset({"stackctl/host"})) -> None:
        self.images = set(images)
        #: References that can be pulled; others fail. None: all can.
        self.registry: frozenset[str] | None = None
        self.containers: dict[str, ContainerRecord] = {}
        self.networks: dict[str, NetworkRecord] = {}
        self.volumes: dict[str, VolumeRecord] = {}
        #: Everything that was performed successfully, in the order of completion.
        self.performed: list[Op] = []
        #: Called before an operation takes effect: tests hold steps back with it.
        self.pause: Callable[[Op], Awaitable[None]] | None = None
        self._failures: dict[Key, StackctlError] = {}
        self._count = 0

    # --- for tests

    def fail(self, op: type[Op], name: str, error: StackctlError | None = None) -> None:
        """Lets the operation fail from now on: `fail(StartContainer, "p-web-1")`."""
        self._failures[op, name] = error or ContainerError(f"{name} was told to fail")

    def mend(self) -> None:
        """Ends all ordered failures."""
        self._failures.clear()

    def end(self, name: str, exit_code: int | None = 0, *, restarting: bool = False) -> None:
        """A container's process ends by itself."""
        record = self._named(name)
        status = Status.RESTARTING if restarting else Status.EXITED
        self._update(record, status=status, exit_code=exit_code, ports=())

    def update(self, name: str, **changes: object) -> None:
        """Changes fields of a container's record."""
        self._update(self._named(name), **changes)

    def observed(self, project: str) -> Observed:
        """What the planner sees of a project."""
        containers = tuple(c for c in self.containers.values() if c.config.project == project)
        networks = tuple(n for n in self.networks.values() if n.config.project == project)
        volumes = tuple(v for v in self.volumes.values() if v.config.project == project)
        return Observed(
            project=project,
            containers=containers,
            networks=networks,
            volumes=volumes,
            images=frozenset(self.images),
            other_networks={
                name: n.id for name, n in self.networks.items() if n.config.project != project
            },
            other_volumes=frozenset(self.volumes) - {v.config.name for v in volumes},
            other_containers=frozenset(
                c.name for c in self.containers.values() if c.config.project != project
            ),
        )

    @property
    def is_empty(self) -> bool:
        """Nothing is left but images."""
        return not (self.containers or self.networks or self.volumes)

    # --- the executor's protocol

    async def perform(self, op: Op) -> str | None:
        """See scheduler.executor.Engine."""
        # Lets the other ready steps begin, as any real operation would.
        await asyncio.sleep(0)
        if self.pause is not None:
            await self.pause(op)
        failure = self._failures.get((type(op), target(op)))
        if failure is not None:
            raise failure
        text = self._perform(op)
        self.performed.append(op)
        return text

    def _perform(self, op: Op) -> str | None:
        match op:
            case PullImage(reference=reference) | BuildImage(reference=reference):
                self._pull(reference)
            case CreateNetwork(network=network):
                self._create_network(network)
            case RemoveNetwork(name=name):
                self._remove_network(name)
            case CreateVolume(volume=volume):
                self._create_volume(volume)
            case RemoveVolume(name=name, renews=renews):
                self._remove_volume(name, renews)
            case CreateContainer():
                self._create(op)
            case RenameContainer(name=name):
                self._rename(name)
            case SetAside(id=container_id, name=name):
                record = self.containers.get(container_id)
                if record is not None and not record.replaces:
                    assert record.name == name
                    self._update(record, replaces=record.id)
            case StartContainer(name=name):
                self._start(self._newest(name))
            case WaitHealthy(name=name):
                return self._wait_healthy(self._newest(name), op)
            case WaitCompleted(name=name):
                return self._wait_completed(self._newest(name))
            case RunInit(config=config, beside=beside):
                return self._run_init(config, self._newest(beside))
            case RunProvider() | Pause():
                return None
            case StopContainer(id=container_id):
                self._stop(self._with_id(container_id))
            case RemoveContainer(id=container_id, anonymous_volumes=too):
                self._remove(self._with_id(container_id), too)
        return None

    # --- images, networks, volumes

    def _pull(self, reference: str) -> None:
        if self.registry is not None and reference not in self.registry:
            raise NotFound(f'no image "{reference}" in the registry')
        self.images.add(reference)

    def _create_network(self, network: NetworkConfig) -> None:
        if network.name in self.networks:
            raise Conflict(f'network "{network.name}" exists')
        self.networks[network.name] = NetworkRecord(
            id=self._new_id(), config=network, created_at=float(self._count)
        )

    def _remove_network(self, name: str) -> None:
        if name not in self.networks:
            raise NotFound(f'no network "{name}"')
        for record in self.containers.values():
            inside = any(join.network == name for join in record.config.networks)
            if inside and record.status.needs_stop:
                raise Conflict(f'network "{name}" is in use by {record.name}')
        del self.networks[name]

    def _create_volume(self, volume: VolumeConfig) -> None:
        if volume.name in self.volumes:
            raise Conflict(f'volume "{volume.name}" exists')
        self.volumes[volume.name] = VolumeRecord(config=volume, created_at=float(self._count))

    def _remove_volume(self, name: str, renews: bool = False) -> None:
        if name not in self.volumes:
            raise NotFound(f'no volume "{name}"')
        for record in self.containers.values():
            inside = any(mount.volume == name for mount in _volume_mounts(record.config))
            if inside and (record.status.needs_stop or not renews):
                raise Conflict(f'volume "{name}" is in use by {record.name}')
        del self.volumes[name]

    # --- containers

    def _create(self, op: CreateContainer) -> None:
        config = op.config
        if config.image not in self.images:
            raise NotFound(f'no image "{config.image}"')
        old = self._with_id(op.replaces) if op.replaces else None
        container_id = self._new_id()
        record = ContainerRecord(
            id=container_id,
            config=self._with_volumes(config, None if op.renew_volumes else old),
            created_at=float(self._count),
            endpoints=tuple(self._lease(config, container_id)),
            replaces=op.replaces or op.name_from,
        )
        self._check_name(record.name)
        self.containers[container_id] = record

    def _with_volumes(
        self, config: ContainerConfig, old: ContainerRecord | None
    ) -> ContainerConfig:
        """Anonymous volumes are taken over from the old container by target, or made; mounts of
        others (`volumes_from`) come behind."""
        inherited = {
            mount.target: mount.volume
            for mount in (_volume_mounts(old.config) if old is not None else [])
            if mount.anonymous
        }
        mounts = []
        for mount in config.mounts:
            if isinstance(mount, VolumeMount) and mount.anonymous:
                fresh = mount.volume if mount.volume not in self.volumes else self._new_id()
                name = inherited.get(mount.target, fresh)
                mount = replace(mount, volume=name)
                volume = VolumeConfig(name=name, project=config.project, anonymous=True)
                if name not in self.volumes:
                    self._create_volume(volume)
            elif isinstance(mount, VolumeMount) and mount.volume not in self.volumes:
                raise NotFound(f'no volume "{mount.volume}"')
            mounts.append(mount)
        lent = lending.borrowed(config, self._lent_by)
        return replace(config, mounts=(*mounts, *lent.values()))

    def _lent_by(self, name: str) -> lending.Mounts:
        config = self._newest(name).config
        return lending.lent(config, lending.by_target(config.mounts))

    def _lease(self, config: ContainerConfig, container_id: str) -> Iterator[Endpoint]:
        for number, join in enumerate(config.networks):
            network = self.networks.get(join.network)
            if network is None:
                raise NotFound(f'no network "{join.network}"')
            yield Endpoint(
                network=join.network,
                network_id=network.id,
                container_id=container_id,
                interface=f"eth{number}",
                mac="",
            )

    def _rename(self, name: str) -> None:
        record = self._newest(name)
        if not record.replaces:
            raise NotFound(f'no container waits for the name "{name}"')
        self._check_name(name)
        self._update(record, replaces="")

    def _start(self, record: ContainerRecord) -> None:
        if not record.status.can_start:
            raise Conflict(f"{record.name} is {record.status}")
        for endpoint in record.endpoints:
            network = self.networks.get(endpoint.network)
            if network is None or network.id != endpoint.network_id:
                raise NotFound(f'{record.name}: its network "{endpoint.network}" is gone')
        self._check_addresses(record)
        ports = tuple(self._publish(record))
        code = _exit_code(record.config.argv)
        check = record.config.health
        health = Health.NONE
        if check is not None and check.test and code is None:
            health = Health.UNHEALTHY if check.test == ("false",) else Health.HEALTHY
        self._update(
            record,
            status=Status.RUNNING if code is None else Status.EXITED,
            exit_code=code,
            health=health,
            ports=ports if code is None else (),
            stopped_by_user=False,
        )

    def _check_addresses(self, record: ContainerRecord) -> None:
        """As in a network: of several containers with one address only one may run."""
        wanted = _fixed_addresses(record.config)
        for other in self.containers.values():
            both = wanted & _fixed_addresses(other.config)
            if both and other.id != record.id and other.status is Status.RUNNING:
                raise Conflict(f"address {min(both)[1]} is used by {other.name}")

    def _publish(self, record: ContainerRecord) -> Iterator[PublishedPort]:
        taken = {
            (port.protocol, port.host_port): other.name
            for other in self.containers.values()
            for port in other.ports
        }
        for binding in record.config.ports:
            first, last = binding.host_port or (32768, 60999)
            for port in range(first, last + 1):
                if (binding.protocol, port) not in taken:
                    break
            else:
                holder = taken[binding.protocol, first]
                raise Conflict(f"port {first}/{binding.protocol} is held by {holder}")
            taken[binding.protocol, port] = record.name
            yield PublishedPort(
                host_ip=binding.host_ip,
                host_port=port,
                container_port=binding.container_port,
                protocol=binding.protocol,
                container_id=record.id,
            )

    def _wait_healthy(self, record: ContainerRecord, op: WaitHealthy) -> str:
        if op.ended_ok and record.status is Status.EXITED and record.exit_code == 0:
            return "ended with 0"
        if record.status is not Status.RUNNING:
            raise ContainerError(f"{record.name} has ended ({record.exit_code})")
        if record.health is Health.UNHEALTHY:
            raise ContainerError(f"{record.name} is unhealthy")
        if op.checked and record.health is Health.NONE:
            raise ContainerError(f"{record.name} has no health check")
        return "healthy" if record.health is Health.HEALTHY else "running"

    def _wait_completed(self, record: ContainerRecord) -> str:
        if record.status is not Status.EXITED:
            raise ContainerError(f"{record.name} never ends: it is {record.status}")
        if record.exit_code != 0:
            raise ContainerError(f"{record.name} ended with {record.exit_code}")
        return "ended with 0"

    def _stop(self, record: ContainerRecord) -> None:
        if record.status.needs_stop:
            self._update(
                record, status=Status.EXITED, exit_code=143, ports=(), stopped_by_user=True
            )

    def _remove(self, record: ContainerRecord, anonymous_volumes: bool) -> None:
        if record.status.needs_stop:
            raise Conflict(f"{record.name} is {record.status}: stop it first")
        del self.containers[record.id]
        if anonymous_volumes:
            used = {m.volume for r in self.containers.values() for m in _volume_mounts(r.config)}
            for mount in _volume_mounts(record.config):
                if mount.anonymous and mount.volume not in used:
                    self._remove_volume(mount.volume)

    def _run_init(self, config: ContainerConfig, beside: ContainerRecord) -> str:
        if beside.status.is_alive:
            raise Conflict(f"{beside.name} runs already")
        code = _exit_code(config.argv)
        if code != 0:
            raise ContainerError(f"{config.name} ended with {code}")
        return "completed"

    # --- look-ups

    def _newest(self, name: str) -> ContainerRecord:
        """The container about to get this name, if there is one."""
        waiting = [r for r in self.containers.values() if r.replaces and r.config.name == name]
        if successors := [record for record in waiting if not record.is_aside]:
            return max(successors, key=lambda record: record.created_at)
        if waiting and not any(record.name == name for record in self.containers.values()):
            return waiting[0]
        return self._named(name)

    def _named(self, name: str) -> ContainerRecord:
        for record in self.containers.values():
            if record.name == name:
                return record
        raise NotFound(f'no container "{name}"')

    def _with_id(self, container_id: str) -> ContainerRecord:
        try:
            return self.containers[container_id]
        except KeyError:
            raise NotFound(f'no container "{container_id[:12]}"') from None

    def _check_name(self, name: str) -> None:
        if any(record.name == name for record in self.containers.values()):
            raise Conflict(f'the name "{name}" is taken')

    def _update(self, record: ContainerRecord, **changes: object) -> None:
        if changes.get("status") is Status.EXITED:
            changes.setdefault("finished_at", float(self._count))
        self.containers[record.id] = replace(record, **changes)  # type: ignore[arg-type]

    def _new_id(self) -> str:
        self._count += 1
        return hashlib.sha256(str(self._count).encode()).hexdigest()


def _volume_mounts(config: ContainerConfig) -> list[VolumeMount]:
    return [mount for mount in config.mounts if isinstance(mount, VolumeMount)]


def _fixed_addresses(config: ContainerConfig) -> set[tuple[str, str]]:
    """(network, address) of those that the configuration names."""
    return {
        (join.network, address)
        for join in config.networks
        for address in (join.ipv4_address, join.ipv6_address)
        if address
    }


def _exit_code(argv: tuple[str, ...]) -> int | None:
    """With what a command ends at once; None: it runs on."""
    match argv:
        case ("true",):
            return 0
        case ("false",):
            return 1
        case ("sh", "-c", text) if text.startswith("exit "):
            return int(text.removeprefix("exit "))
        case _:
            return None
