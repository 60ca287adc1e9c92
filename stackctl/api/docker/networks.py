"""/networks. The default network, host and none are always there."""

from __future__ import annotations

from collections.abc import Sequence

from stackctl.api.docker.call import Call, DockerError, Filters, moment, object_at
from stackctl.api.docker.failures import container_found
from stackctl.api.docker.port import DockerEngine, Message
from stackctl.api.docker.table import Table
from stackctl.daemon.connections import endpoint_in
from stackctl.daemon.inspected_networks import endpoint, pool_shape
from stackctl.daemon.inspection import timestamp
from stackctl.daemon.wish import NETWORK, NETWORK_CONNECT, NETWORK_DISCONNECT, checked
from stackctl.errors import Conflict, NotFound, StackctlError
from stackctl.model.network import IpamPool, NetworkConfig
from stackctl.model.record import NetworkRecord
from stackctl.net.options import is_foreign

_FILTERS = (*("dangling", "driver", "id", "label", "label!", "name", "scope", "type"),)
_BUILTIN = ("bridge", "host", "none")


class NetworkRoutes:
    def __init__(self, engine: DockerEngine) -> None:
        self._engine = engine

    def register(self, table: Table) -> None:
        table.add("GET", "/networks", self.list)
        table.add("GET", "/networks/", self.list)
        table.add("POST", "/networks/create", self.create)
        table.add("POST", "/networks/prune", self.prune)
        table.add("GET", "/networks/{id}", self.inspect)
        table.add("DELETE", "/networks/{id}", self.remove)
        table.add("POST", "/networks/{id}/connect", self.connect)
        table.add("POST", "/networks/{id}/disconnect", self.disconnect)

    def _find(self, reference: str) -> NetworkRecord:
        try:
            return self._engine.network(reference)
        except NotFound:
            raise DockerError(404, f"network {reference} not found") from None
        except Conflict:
            raise DockerError(
                400, f"network {reference} is ambiguous: several ids begin with it"
            ) from None

    def _all(self) -> Sequence[NetworkRecord]:
        """Those that are there, and those that are always there."""
        found = list(self._engine.networks())
        names = {record.config.name for record in found}
        found.extend(builtin(name) for name in _BUILTIN if name not in names)
        return found

    async def list(self, call: Call) -> None:
        filters = call.filters(_FILTERS)
        found = [r for r in self._all() if self._passes(filters, r)]
        # Since 1.28 lists leave the containers to inspect.
        members = call.version < (1, 28)
        await call.reply([self._shape(r, members=members) for r in found])

    def _passes(self, filters: Filters, record: NetworkRecord) -> bool:
        config = record.config
        kind = "builtin" if config.name in _BUILTIN else "custom"
        if "dangling" in filters and filters.one("dangling", default=False) is bool(
            kind == "builtin" or self._members(record)
        ):
            return False
        return (
            filters.matches("name", config.name)
            and ("id" not in filters or any(record.id.startswith(i) for i in filters["id"]))
            and filters.exact("driver", _driver(config))
            and filters.exact("scope", "local")
            and filters.exact("type", kind)
            and filters.labels(config.labels)
            and filters.without_labels(config.labels)
        )

    async def inspect(self, call: Call) -> None:
        reference = call["id"]
        try:
            record = self._find(reference)
        except DockerError:
            # host and none have no bridge, and the default one may not have been needed yet.
            if reference not in _BUILTIN and not any(
                reference == builtin(name).id for name in _BUILTIN
            ):
                raise
            record = next(r for r in self._all() if reference in (r.id, r.config.name))
        scope = call.text("scope")
        if scope and scope != "local":
            raise DockerError(404, f"network {reference} not found")
        await call.reply(self._shape(record, members=True))

    async def create(self, call: Call) -> None:
        wish = await call.body()
        config = wanted(wish)
        if config.name in _BUILTIN:
            raise DockerError(
                403, f"operation is not permitted on predefined {config.name} network"
            )
        try:
            record = await self._engine.network_create(config)
        except StackctlError as error:
            if any(r.config.name == config.name for r in self._engine.networks()):
                raise DockerError(409, f"network with name {config.name} already exists") from error
            if isinstance(error, Conflict):
                raise DockerError(
                    403, f"Pool overlaps with other one on this address space: {error}"
                ) from error
            if error.status == 500:
                raise DockerError(400, str(error)) from error
            raise
        foreign = [option for option in config.driver_opts if is_foreign(option, config)]
        warning = f"options without effect: {', '.join(foreign)}" if foreign else ""
        await call.reply({"Id": record.id, "Warning": warning}, 201)

    async def remove(self, call: Call) -> None:
        if call["id"] in _BUILTIN:
            raise DockerError(403, f"{call['id']} is a pre-defined network and cannot be removed")
        record = self._find(call["id"])
        try:
            was_there = await self._engine.network_remove(record)
        except Conflict as error:
            raise DockerError(
                403,
                f"error while removing network: network {record.config.name} id {record.id} "
                "has active endpoints",
            ) from error
        if not was_there:
            raise DockerError(404, f"network {call['id']} not found")
        await call.done()

    async def connect(self, call: Call) -> None:
        wish = await call.body()
        checked(wish, NETWORK_CONNECT)
        record = self._find(call["id"])
        container = container_found(self._engine, str(wish.get("Container") or ""))
        if any(e.network_id == record.id for e in container.endpoints):
            raise DockerError(
                403,
                f"endpoint with name {container.name} already exists in network "
                f"{record.config.name}",
            )
        settings = object_at(wish, "EndpointConfig")
        await self._engine.network_connect(record, container, settings)
        await call.done(200)

    async def disconnect(self, call: Call) -> None:
        wish = await call.body()
        checked(wish, NETWORK_DISCONNECT)
        container = container_found(self._engine, str(wish.get("Container") or ""))
        member = endpoint_in(container, call["id"])
        if member is None:
            record = self._find(call["id"])
            member = endpoint_in(container, record.id)
        if member is None:
            raise DockerError(
                403,
                f"container {container.id} is not connected to network {record.config.name}",
            )
        await self._engine.network_disconnect(container, member.network_id)
        await call.done(200)

    async def prune(self, call: Call) -> None:
        filters = call.filters(("label", "label!", "until"))
        limit = min((moment(text) for text in filters["until"]), default=float("inf"))
        used = {e.network_id for c in self._engine.containers() for e in c.endpoints}
        deleted: list[str] = []
        for record in self._engine.networks():
            labels = record.config.labels
            if (
                record.id not in used
                and record.config.name not in _BUILTIN
                and record.created_at < limit
                and filters.labels(labels)
                and filters.without_labels(labels)
            ):
                try:
                    gone = await self._engine.network_remove(record)
                except Conflict:
                    continue
                if gone:
                    deleted.append(record.config.name)
        await call.reply({"NetworksDeleted": deleted})

    def _members(self, record: NetworkRecord) -> dict[str, Message]:
        """What runs in it, by container id."""
        found: dict[str, Message] = {}
        for container in self._engine.containers():
            if not container.status.is_alive:
                continue
            for leased in container.endpoints:
                if leased.network_id == record.id:
                    found[container.id] = {
                        "Name": container.name,
                        "EndpointID": endpoint(container, leased)["EndpointID"],
                        "MacAddress": leased.mac,
                        "IPv4Address": leased.ipv4,
                        "IPv6Address": leased.ipv6,
                    }
        return found

    def _shape(self, record: NetworkRecord, *, members: bool) -> Message:
        config = record.config
        pools = [pool_shape(record, subnet, gateway) for subnet, gateway in record.subnets]
        return {
            "Name": config.name,
            "Id": record.id,
            "Created": timestamp(record.created_at),
            "Scope": "local",
            "Driver": _driver(config),
            "EnableIPv4": config.enable_ipv4,
            "EnableIPv6": config.enable_ipv6,
            "IPAM": {"Driver": "default", "Config": pools},
            "Internal": config.internal,
            "Attachable": config.attachable,
            "Ingress": False,
            "ConfigFrom": {"Network": ""},
            "ConfigOnly": False,
            "Containers": self._members(record) if members else {},
            "Options": dict(config.driver_opts),
            "Labels": dict(config.labels),
        }


def builtin(name: str) -> NetworkRecord:
    """A network that needs nothing in the kernel, or nothing yet; its id is always the same."""
    driver = {"host": "host", "none": "null"}.get(name, "bridge")
    return NetworkRecord(
        id=name.encode().hex().ljust(64, "0"),
        config=NetworkConfig(name=name, driver=driver),
        created_at=0.0,
    )


def _driver(config: NetworkConfig) -> str:
    return config.driver or "bridge"


def wanted(wish: Message) -> NetworkConfig:
    """A create request as what the engine makes. DockerError (400), UsageError."""
    checked(wish, NETWORK)
    name = str(wish.get("Name") or "")
    for field in ("ConfigOnly", "Ingress"):
        if wish.get(field):
            raise DockerError(400, f"{field} networks are not supported: they are for a swarm")
    if object_at(wish, "ConfigFrom").get("Network"):
        raise DockerError(400, "ConfigFrom is not supported: say what the network shall be")
    if str(wish.get("Scope") or "local") != "local":
        raise DockerError(400, f"scope {wish['Scope']!r} is not supported: there is one machine")
    if not name.strip():
        raise DockerError(400, "invalid network name: name is empty")
    labels = {str(k): str(v) for k, v in object_at(wish, "Labels").items()}
    driver = str(wish.get("Driver") or "bridge")
    if driver not in ("bridge", "default", "macvlan", "ipvlan"):
        raise DockerError(404, f'plugin "{driver}" not found')
    ipam = object_at(wish, "IPAM")
    if str(ipam.get("Driver") or "default") != "default":
        raise DockerError(404, f'plugin "{ipam["Driver"]}" not found')
    enable_ipv4 = wish.get("EnableIPv4")
    return NetworkConfig(
        name=name,
        driver="bridge" if driver == "default" else driver,
        driver_opts={str(k): str(v) for k, v in object_at(wish, "Options").items()},
        internal=bool(wish.get("Internal")),
        attachable=bool(wish.get("Attachable")),
        enable_ipv4=True if enable_ipv4 is None else bool(enable_ipv4),
        enable_ipv6=bool(wish.get("EnableIPv6")),
        ipam=tuple(
            IpamPool(
                subnet=str(pool.get("Subnet") or ""),
                ip_range=str(pool.get("IPRange") or ""),
                gateway=str(pool.get("Gateway") or ""),
                aux_addresses={
                    str(k): str(v) for k, v in object_at(pool, "AuxiliaryAddresses").items()
                },
            )
            for pool in ipam.get("Config") or ()
        ),
        labels=labels,
    )
