"""Who is in a network, and when it may be removed: with the kernel's part of it under way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from stackctl.daemon.connections import Connections, endpoint_in
from stackctl.daemon.containers import Containers
from stackctl.daemon.engine import Engine
from stackctl.daemon.events import Events
from stackctl.daemon.parts import Machine, Parts
from stackctl.daemon.registry import Registry
from stackctl.errors import Conflict, MachineError, NotFound
from stackctl.model.container import ContainerConfig, Status
from stackctl.model.network import NetworkConfig
from stackctl.model.record import ContainerRecord, NetworkRecord, ProcessRef
from stackctl.net.service import Net
from stackctl.scheduler.ops import CreateNetwork, RemoveNetwork
from stackctl.state.paths import Paths
from stackctl.state.records import Store


class Gate:
    """In place of the network's thread: does nothing, when it is told to."""

    def __init__(self) -> None:
        self.waiting = asyncio.Event()
        self.answers: asyncio.Queue[Any] = asyncio.Queue()
        self.calls = 0

    async def run(self, call: Callable[[], Any], *, late: bool = False) -> Any:
        self.calls += 1
        self.waiting.set()
        answer = await self.answers.get()
        self.waiting.clear()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def call_soon(self, call: Callable[[], object]) -> None: ...


class Nobody:
    """In place of who watches containers and the kernel."""

    async def keep(self) -> None: ...
    def ending(self, container_id: str) -> None: ...


class Scene:
    """Networks and containers by name, everything real but for the kernel."""

    def __init__(self, paths: Paths) -> None:
        self.registry = Registry(Store.open(paths))
        self.net = Net(paths)
        self.gate = Gate()
        self.net._worker = cast(Any, self.gate)
        self.net._guard = cast(Any, Nobody())
        none: Any = None
        parts = Parts(
            paths=paths,
            registry=self.registry,
            runtime=none,
            net=self.net,
            images=none,
            volumes=none,
            events=Events(),
            machine=Machine(boot_id="boot", resolver_lines=(), publish_address=""),
        )
        self.containers = Containers(parts, cast(Any, Nobody()))
        self.connections = Connections(parts, self.containers)
        self.engine = Engine(parts, self.containers, none)

    def made(self, name: str = "n", number: str = "1") -> NetworkRecord:
        """What the kernel's part of making a network gives."""
        return NetworkRecord(
            id=f"{name}-{number}",
            config=NetworkConfig(name=name),
            created_at=1.0,
            subnet4="10.7.0.0/24",
            gateway4="10.7.0.1",
            bridge=f"sc{number}",
        )

    def network(self) -> NetworkRecord:
        record = self.made()
        self.net._addresses.remember(record)
        self.registry.store.put_network(record)
        return record

    def container(self, name: str, status: Status = Status.RUNNING) -> str:
        process = ProcessRef(pid=1, start_time=1) if status.is_alive else None
        config = ContainerConfig(name=name, image="i", image_id="sha256:0", argv=("x",))
        record = ContainerRecord(
            id=name * 20, config=config, created_at=1.0, status=status, process=process
        )
        self.registry.put(record)
        return record.id

    def networks_of(self, container_id: str) -> list[str]:
        return [e.network_id for e in self.registry.get(container_id).endpoints]


@pytest.fixture
def paths(tmp_path: Path) -> Iterator[Paths]:
    yield Paths(tmp_path / "root", tmp_path / "run")


def test_a_network_is_not_removed_while_a_container_is_connected_to_it(paths: Paths) -> None:
    async def scenario() -> None:
        it = Scene(paths)
        network, one = it.network(), it.container("one")
        joining = asyncio.create_task(it.connections.connect(network, one, {}))
        await it.gate.waiting.wait()
        with pytest.raises(Conflict, match='"n" is in use by one'):
            await it.engine.perform(RemoveNetwork(name="n"))
        it.gate.answers.put_nowait(["no way out"])
        await joining
        assert it.networks_of(one) == [network.id]
        assert it.registry.store.network_by_name("n") is not None
        # Its way back: the record counts until the interface has gone.
        leaving = asyncio.create_task(it.connections.disconnect(network.id, one))
        await it.gate.waiting.wait()
        with pytest.raises(Conflict):
            await it.engine.perform(RemoveNetwork(name="n"))
        for _ in range(2):  # the wire, then where its ports lead
            it.gate.answers.put_nowait([])
        await leaving
        assert it.networks_of(one) == []

    asyncio.run(scenario())


def test_a_connection_that_fails_leaves_no_membership_and_no_lease(paths: Paths) -> None:
    async def scenario() -> None:
        it = Scene(paths)
        network, one = it.network(), it.container("one")
        before = it.registry.get(one)
        it.gate.answers.put_nowait(MachineError("no"))
        with pytest.raises(MachineError):
            await it.connections.connect(network, one, {"Aliases": ["a"], "Links": ["x:y"]})
        assert it.registry.get(one) == before
        assert it.net._addresses.endpoints_of(one) == ()

    asyncio.run(scenario())


def test_nobody_joins_or_starts_in_a_network_that_is_being_removed(paths: Paths) -> None:
    async def scenario() -> None:
        it = Scene(paths)
        network, one = it.network(), it.container("one")
        stopped = it.container("two", Status.EXITED)
        await it.connections.connect(network, stopped, {})
        with pytest.raises(Conflict, match='"n" is in use by two'):
            await it.engine.remove_network(network, is_unused=True)
        removing = asyncio.create_task(it.engine.remove_network(network))
        again = asyncio.create_task(it.engine.remove_network(network))
        await it.gate.waiting.wait()
        with pytest.raises(NotFound, match='network "n" does not exist'):
            await it.connections.connect(network, one, {})
        with pytest.raises(NotFound, match="network n not found: it was removed, and two is in"):
            await it.containers.start(stopped)
        assert it.registry.get(stopped).status is Status.EXITED
        # One of the same name is made when this one has gone, not taken for it.
        making = asyncio.create_task(it.engine.perform(CreateNetwork(network=network.config)))
        await asyncio.sleep(0)
        assert it.gate.calls == 1
        it.gate.answers.put_nowait(None)
        assert (await removing, await again) == (True, False)
        it.gate.answers.put_nowait(it.made(number="2"))
        await making
        namesake = it.registry.store.network_by_name("n")
        assert namesake is not None and namesake.id == "n-2"
        # Who was in the former one is not in its namesake, and can leave it or join this one.
        assert it.networks_of(one) == []
        member = endpoint_in(it.registry.get(stopped), "n")
        assert member is not None and member.network_id == network.id
        await it.connections.disconnect(member.network_id, stopped)
        assert it.networks_of(stopped) == []
        await it.connections.connect(namesake, stopped, {})
        assert it.networks_of(stopped) == ["n-2"]

    asyncio.run(scenario())


def test_of_many_who_make_a_network_one_has_it(paths: Paths) -> None:
    async def scenario() -> None:
        it = Scene(paths)
        config = it.made().config
        it.gate.answers.put_nowait(it.made())
        made = await asyncio.gather(
            *(it.engine.make_network(config) for _ in range(3)),
            it.engine.perform(CreateNetwork(network=config)),
            return_exceptions=True,
        )
        assert [type(result) for result in made] == [NetworkRecord, Conflict, Conflict, type(None)]
        assert it.gate.calls == 1
        # One that cannot be written down is taken away again.
        other = it.made("other", "3")
        making = asyncio.create_task(it.engine.make_network(other.config))
        await it.gate.waiting.wait()
        it.registry.store.put_network(replace(other, id="other-4"))
        for answer in (other, None):
            it.gate.answers.put_nowait(answer)
        with pytest.raises(Conflict):
            await making
        assert it.gate.answers.empty()
        assert not it.net.has_network(other.id)

    asyncio.run(scenario())
