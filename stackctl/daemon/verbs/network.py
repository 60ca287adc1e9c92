"""Networks that are not a stack's business: ls, create, inspect, rm, prune, connect, graph."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from stackctl.daemon import filters
from stackctl.daemon.connections import Connections, endpoint_in
from stackctl.daemon.containers import Containers
from stackctl.daemon.engine import Engine
from stackctl.daemon.inspected_networks import endpoint_id, pool_shape
from stackctl.daemon.inspection import timestamp
from stackctl.daemon.jobs import Message, heard_warnings
from stackctl.daemon.parts import Parts
from stackctl.errors import Conflict, NotFound, StackctlError, UsageError
from stackctl.model.network import DEFAULT_NETWORK, IpamPool, NetworkConfig
from stackctl.model.record import ContainerRecord, NetworkRecord
from stackctl.net.options import is_foreign

#: Names that mean the machine's own network, none, and the engine's own.
PREDEFINED = ("host", "none", "default", DEFAULT_NETWORK)

_FILTERS = ("name", "id", "label", "driver", "dangling", "scope", "type")

Verb = Callable[[Mapping[str, Any]], AsyncIterator[Message]]


class NetworkVerbs:
    def __init__(self, parts: Parts, containers: Containers, engine: Engine) -> None:
        self._parts = parts
        self._registry = parts.registry
        self._engine = engine
        self._connections = Connections(parts, containers)

    def table(self) -> dict[str, Verb]:
        return {
            "net-ls": self.ls,
            "net-create": self.create,
            "net-inspect": self.inspect,
            "net-rm": self.rm,
            "net-prune": self.prune,
            "net-connect": self.connect,
            "net-disconnect": self.disconnect,
            "net-graph": self.graph,
        }

    def find(self, reference: str) -> NetworkRecord:
        """By name, id or the beginning of an id. NotFound, Conflict (ambiguous)."""
        store = self._registry.store
        exact = store.network_by_name(reference) or store.network(reference)
        if exact is not None:
            return exact
        found = [n for n in store.networks() if reference and n.id.startswith(reference)]
        if len(found) > 1:
            raise Conflict(f'"{reference}" is the beginning of {len(found)} network ids')
        if not found:
            hint = "stackctl net ls lists them"
            if reference in ("host", "none"):
                hint = "a container has it from its start on (network_mode, --network), or never"
            raise NotFound(f"no such network: {reference}", hint=hint)
        return found[0]

    def members(self, network: NetworkRecord) -> list[ContainerRecord]:
        return self._registry.members(network.id)

    async def ls(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        """Rows by name."""
        chosen = filters.parse(body.get("filters"), _FILTERS)
        for record in sorted(self._registry.store.networks(), key=lambda r: r.config.name):
            if self._passes(record, chosen):
                config = record.config
                yield {
                    "type": "row",
                    "ID": record.id,
                    "Name": config.name,
                    "Driver": config.driver or "bridge",
                    "Labels": dict(config.labels),
                    "Project": config.project,
                    "Subnets": " ".join(subnet for subnet, _ in record.subnets),
                    "Internal": config.internal,
                    "IPv4": config.enable_ipv4,
                    "IPv6": config.enable_ipv6,
                    "Created": record.created_at,
                    "Containers": len(self.members(record)),
                }
        yield {"type": "result", "exit_code": 0}

    def _passes(self, record: NetworkRecord, chosen: filters.Filters) -> bool:
        config = record.config
        ids = chosen.get("id", ())
        drivers, dangling = chosen.get("driver", ()), chosen.get("dangling", ())
        kind = "builtin" if config.name == DEFAULT_NETWORK else "custom"
        return (
            filters.name_fits(config.name, chosen.get("name", ()))
            and (not ids or any(record.id.startswith(i) for i in ids))
            and (not drivers or (config.driver or "bridge") in drivers)
            and kind in chosen.get("type", (kind,))
            and "local" in chosen.get("scope", ("local",))
            and filters.labels_fit(config.labels, chosen.get("label", ()))
            and (
                not dangling
                or any((not self.members(record)) == (d in ("true", "1")) for d in dangling)
            )
        )

    async def create(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        """Conflict when the name is taken. The result has the id."""
        config = wanted_network(body)
        for option in config.driver_opts:
            if is_foreign(option, config):
                raise UsageError(f'driver option "{option}" would have no effect')
        made = await self._engine.make_network(config)
        yield {"type": "result", "exit_code": 0, "ID": made.id}

    async def inspect(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        code = 0
        for name in map(str, body.get("networks") or ()):
            try:
                record = self.find(name)
                yield {
                    "type": "row",
                    "Name": name,
                    "Inspected": shape(record, self.members(record)),
                }
            except StackctlError as error:
                code = 1
                yield {"type": "failure", "Name": name, "error": error.to_json()}
        yield {"type": "result", "exit_code": code}

    async def rm(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        """`force`: one that is not there is no failure."""
        code = 0
        for name in map(str, body.get("networks") or ()):
            try:
                record = self.find(name)
                if record.config.name == DEFAULT_NETWORK:
                    raise Conflict(f"{name} is a pre-defined network and cannot be removed")
                if not await self._engine.remove_network(record, is_unused=True):
                    raise NotFound(f"no such network: {name}")
            except StackctlError as error:
                if body.get("force") and isinstance(error, NotFound):
                    continue
                code = 1
                yield {"type": "failure", "Name": name, "error": error.to_json()}
            else:
                yield {"type": "row", "Name": name}
        yield {"type": "result", "exit_code": code}

    async def prune(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        """Removes the networks that no container is in, running or not."""
        wanted = filters.prunable(dict(body.get("filters") or {}))
        for record in self._registry.store.networks():
            if self.members(record) or record.config.name == DEFAULT_NETWORK:
                continue
            if not wanted(record.created_at, record.config.labels):
                continue
            try:
                gone = await self._engine.remove_network(record, is_unused=True)
            except Conflict:
                continue  # somebody was quicker
            if gone:
                yield {"type": "row", "Name": record.config.name}
        yield {"type": "result", "exit_code": 0}

    async def connect(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        """`settings` is Docker's EndpointSettings."""
        network = self.find(str(body.get("network") or ""))
        container = self._registry.store.find_container(str(body.get("container") or ""))
        # It loads while the socket answers already.
        from stackctl.daemon.wish import ENDPOINT_OPTIONS

        settings = dict(body.get("settings") or {})
        for option in settings.get("DriverOpts") or ():
            if option not in ENDPOINT_OPTIONS:
                raise UsageError(
                    f"a network has no option {option} for one container",
                    hint=f"it has {', '.join(ENDPOINT_OPTIONS)}",
                )
        with heard_warnings() as warnings:
            await self._connections.connect(network, container.id, settings)
        for text in warnings:
            yield {"type": "warning", "text": text, "place": ""}
        yield {"type": "result", "exit_code": 0}

    async def disconnect(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        reference = str(body.get("network") or "")
        container = self._registry.store.find_container(str(body.get("container") or ""))
        member = endpoint_in(container, reference)
        network_id = member.network_id if member is not None else self.find(reference).id
        with heard_warnings() as warnings:
            await self._connections.disconnect(network_id, container.id)
        for text in warnings:
            yield {"type": "warning", "text": text, "place": ""}
        yield {"type": "result", "exit_code": 0}

    async def graph(self, body: Mapping[str, Any]) -> AsyncIterator[Message]:
        """Who may reach whom; `format` text, dot or svg; `name` of a project, or all.

        With `must_exist` NotFound when the project has neither network nor container.
        """
        from stackctl.net import graph

        forms = {"text": graph.as_text, "dot": graph.as_dot, "svg": graph.as_svg}
        form = str(body.get("format") or "text")
        if form not in forms:
            raise UsageError(f'there is no form "{form}"', hint=f"use {', '.join(forms)}")
        networks, containers = self._registry.store.networks(), self._registry.all()
        name = str(body.get("name") or "")
        known = {n.config.project for n in networks} | {c.config.project for c in containers}
        if body.get("must_exist") and name not in known:
            raise NotFound(f"no such project: {name}", hint="stackctl ls lists them")
        found = graph.net_graph(networks, containers, name)
        yield {"type": "result", "exit_code": 0, "text": forms[form](found)}


def wanted_network(body: Mapping[str, Any]) -> NetworkConfig:
    """What a net-create request asks for. UsageError without a name."""
    name = str(body.get("name") or "")
    if not name:
        raise UsageError("a network needs a name")
    if name in PREDEFINED or str(body.get("driver")) in ("host", "none"):
        raise UsageError(
            f'a network "{name}" of driver {body.get("driver") or "bridge"} cannot be made',
            hint="host, none and bridge are there without being made (`network_mode`, `--network`)",
        )
    return NetworkConfig(
        name=name,
        driver=str(body.get("driver") or "bridge"),
        driver_opts={str(k): str(v) for k, v in (body.get("options") or {}).items()},
        internal=bool(body.get("internal")),
        attachable=bool(body.get("attachable")),
        enable_ipv4=body.get("ipv4") is not False,
        enable_ipv6=bool(body.get("ipv6")),
        ipam=tuple(
            IpamPool(
                subnet=str(pool.get("subnet") or ""),
                ip_range=str(pool.get("ip_range") or ""),
                gateway=str(pool.get("gateway") or ""),
                aux_addresses=dict(pool.get("aux_addresses") or {}),
            )
            for pool in body.get("pools") or ()
        ),
        labels={str(k): str(v) for k, v in (body.get("labels") or {}).items()},
    )


def shape(record: NetworkRecord, members: list[ContainerRecord]) -> Message:
    """As Docker's API has a network."""
    config = record.config
    pools = [pool_shape(record, subnet, gateway) for subnet, gateway in record.subnets]
    inside = {
        member.id: {
            "Name": member.name,
            "EndpointID": endpoint_id(member, endpoint),
            "MacAddress": endpoint.mac,
            "IPv4Address": endpoint.ipv4,
            "IPv6Address": endpoint.ipv6,
            "Interface": endpoint.interface,
            "Aliases": list(endpoint.aliases),
        }
        for member in members
        for endpoint in member.endpoints
        if endpoint.network_id == record.id and member.status.is_alive
    }
    return {
        "Name": config.name,
        "Id": record.id,
        "Created": timestamp(record.created_at),
        "Scope": "local",
        "Driver": config.driver or "bridge",
        "EnableIPv4": config.enable_ipv4,
        "EnableIPv6": config.enable_ipv6,
        "IPAM": {"Driver": "default", "Options": None, "Config": pools},
        "Internal": config.internal,
        "Attachable": config.attachable,
        "Ingress": False,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": False,
        "Containers": inside,
        "Options": {
            **config.driver_opts,
            **({"com.docker.network.bridge.name": record.bridge} if record.bridge else {}),
        },
        "Labels": dict(config.labels),
    }
