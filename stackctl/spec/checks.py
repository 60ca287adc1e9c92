"""What no single attribute shows: references, circles, conflicts between attributes.

Works on the validated models and adds to `mistakes`, each at its place.
"""

from __future__ import annotations

import ipaddress
import platform
import posixpath
from collections.abc import Collection

from stackctl.model.reference import HOST
from stackctl.spec import implied, project
from stackctl.spec import volumes as volume_forms
from stackctl.spec import volumes as volumes_form
from stackctl.spec.circles import circles
from stackctl.spec.mistakes import Mistakes, did_you_mean
from stackctl.spec.model import (
    DRIVER_OPTIONS,
    Config,
    Network,
    Secret,
    Service,
    StackFile,
    Volume,
)
from stackctl.spec.nodes import Mapping as MappingNode
from stackctl.spec.nodes import Mark, Node, mark_at, null_characters
from stackctl.spec.units import LEAST_MEMORY

#: Machines as the kernel calls them -> as images do.
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}


class Checks:
    """All checks of one file.

    `root` is the tree that the models came from, `written` the whole one: a
    name whose definition had a mistake counts as defined. Of services that are
    not `enabled` nothing is asked: they are variants of others, and templates
    that others extend (None: all are).
    """

    def __init__(
        self,
        file: StackFile,
        root: MappingNode,
        written: Node,
        mistakes: Mistakes,
        enabled: Collection[str] | None = None,
    ) -> None:
        self._file = file
        self._services = {
            name: service
            for name, service in file.services.items()
            if enabled is None or name in enabled
        }
        self._root = root
        self._written = written
        self._mistakes = mistakes

    def run(self) -> None:
        if "version" in self._root.entries:
            self._mistakes.warn('"version" has no meaning any more', self._at("version", key=True))
        name = self._file.name
        if name and not project.is_name(name):
            self._mistakes.warn(
                f'the project is called "{project.normalized(name)}": {project.NAME_RULE}',
                self._at("name"),
            )
        for key, network in self._file.networks.items():
            self._external(("networks", key), network)
            self._pools(key, network)
            self._driver_options(key, network)
        for key, volume in self._file.volumes.items():
            self._external(("volumes", key), volume)
            if volume_forms.is_tmpfs(volume.driver_opts):
                self._mistakes.warn(
                    f'volume "{key}" is memory: each container that mounts it has its own',
                    self._at("volumes", key, "driver_opts"),
                )
        for key, secret in self._file.secrets.items():
            self._one_origin(("secrets", key), secret, ("file", "environment"))
        for key, config in self._file.configs.items():
            self._one_origin(("configs", key), config, ("file", "environment", "content"))
        for name, service in self._services.items():
            self._service(name, service)
        self._container_names()
        self._circles()

    def _names(self, section: str) -> list[str]:
        """Names that a top-level section defines, rightly or not."""
        node = self._written.get(section) if isinstance(self._written, MappingNode) else None
        return list(node.entries) if isinstance(node, MappingNode) else []

    def _has(self, name: str, *keys: str) -> bool:
        """Whether a service's definition has one of the keys, rightly or not."""
        services = self._written.get("services") if isinstance(self._written, MappingNode) else None
        service = services.get(name) if isinstance(services, MappingNode) else None
        return isinstance(service, MappingNode) and not service.entries.keys().isdisjoint(keys)

    def _at(self, *path: str | int, key: bool = False) -> Mark:
        return mark_at(self._root, path, key=key)

    def _external(self, path: tuple[str, str], resource: Network | Volume) -> None:
        if not resource.external:
            return
        conflicting = sorted(resource.model_fields_set - {"external", "name"})
        for field in conflicting:
            self._mistakes.add(
                f'"{field}" says how to make {path[0][:-1]} "{path[1]}", but it is external',
                self._at(*path, field, key=True),
                hint="remove one of the two",
            )

    def _pools(self, key: str, network: Network) -> None:
        """What a pool names must lie in its subnet; no two pools have addresses in common."""
        pools = (network.ipam and network.ipam.config) or ()
        seen: list[ipaddress.IPv4Network | ipaddress.IPv6Network] = []
        for i, pool in enumerate(pools):
            if pool.subnet is None:
                continue
            subnet = ipaddress.ip_network(pool.subnet, strict=False)
            for other in seen:
                if subnet.version == other.version and subnet.overlaps(other):
                    self._mistakes.add(
                        f"the subnets {other} and {subnet} of one network overlap",
                        self._at("networks", key, "ipam", "config", i, "subnet"),
                    )
            seen.append(subnet)
        for i, pool in enumerate(pools):
            where = ("networks", key, "ipam", "config", i)
            named = [("gateway", pool.gateway), ("ip_range", pool.ip_range)]
            named += [("aux_addresses", address) for address in (pool.aux_addresses or {}).values()]
            for field, value in named:
                if not value:
                    continue
                if pool.subnet is None:
                    self._mistakes.add(f"{field} needs a subnet", self._at(*where, field))
                    continue
                subnet = ipaddress.ip_network(pool.subnet, strict=False)
                part = ipaddress.ip_network(value)
                if part.network_address not in subnet or part.broadcast_address not in subnet:
                    text = f"{field} {value} is not in the subnet {subnet}"
                    self._mistakes.add(text, self._at(*where, field))

    def _driver_options(self, key: str, network: Network) -> None:
        for option in network.driver_opts:
            if option not in DRIVER_OPTIONS:
                self._mistakes.warn(
                    f'driver option "{option}" of network "{key}" has no effect',
                    self._at("networks", key, "driver_opts", option, key=True),
                )

    def _service(self, name: str, service: Service) -> None:
        if service.image is None and not self._has(name, "image", "build", "provider", "extends"):
            self._mistakes.add(
                f'service "{name}" has no image',
                self._at("services", name, key=True),
                hint='give it one, e.g. image: "stackctl/host"',
            )
        self._dependencies(name, service)
        self._used_services(name, service)
        self._build_bases(name, service)
        self._shared_network(name, service)
        self._platform(name, service)
        self._not_exactly(name, service)
        self._networks(name, service)
        self._mounts(name, service)
        self._tmpfs(name, service)
        self._used_files(name, service)
        self._health(name, service)
        self._replicas(name, service)
        self._same_limits(name, service)
        self._least_memory(name, service)
        for text in null_characters(self._service_node(name) or self._root):
            self._mistakes.add("a text cannot have a NUL character (\\0)", text.mark)
        self._watch(name, service)

    def _watch(self, name: str, service: Service) -> None:
        """What a rule's action needs besides its path."""
        for i, rule in enumerate(service.develop.watch if service.develop else ()):
            where = self._at("services", name, "develop", "watch", i)
            if rule.action.startswith("sync") and not rule.target:
                self._mistakes.add(
                    f"{rule.action} needs a target",
                    where,
                    hint="where the files go in the container",
                )
            if rule.action == "sync+exec" and (rule.exec is None or not rule.exec.command):
                self._mistakes.add("sync+exec needs a command", where, hint="exec: {command: ...}")
            if rule.action == "rebuild" and not self._has(name, "build"):
                self._mistakes.add(
                    f'service "{name}" cannot be rebuilt: it has no build',
                    where,
                    hint="give it a `build`, or use sync or restart",
                )

    def _dependencies(self, name: str, service: Service) -> None:
        others = self._names("services")
        for other, dependency in service.depends_on.items():
            if other not in others and dependency.required:
                self._mistakes.add(
                    f'service "{name}" depends on "{other}", which no service is called',
                    self._at("services", name, "depends_on", other, key=True),
                    hint=did_you_mean(other, [n for n in others if n != name]),
                )
            elif dependency.condition == "service_healthy" and self._is_never_healthy(other):
                self._mistakes.add(
                    f'service "{name}" waits until "{other}" is healthy, which has no health check',
                    self._at("services", name, "depends_on", other, key=True),
                    hint="give it a `healthcheck`, or use condition: service_started",
                )

    def _is_never_healthy(self, name: str) -> bool:
        """Whether that is certain: an image that is not here yet may bring a check."""
        service = self._services.get(name)
        if service is None:
            return False
        check = service.healthcheck
        if check is not None and (check.disable or check.test == ["NONE"]):
            return True
        has_own = check is not None and bool(check.test)
        return not has_own and service.build is None and service.image == HOST

    def _used_services(self, name: str, service: Service) -> None:
        others = self._names("services")
        for field, index, other in implied.uses(service):
            where = ("services", name, field) if index is None else ("services", name, field, index)
            if other not in others:
                self._mistakes.add(
                    f'{field} of service "{name}" names "{other}", which no service is called',
                    self._at(*where),
                    hint=did_you_mean(other, [n for n in others if n != name]),
                )

    def _build_bases(self, name: str, service: Service) -> None:
        """additional_contexts: {x: service:other} is the image that the other's build makes."""
        for key, other in implied.build_bases(service):
            at = self._at("services", name, "build", "additional_contexts", key)
            found = self._file.services.get(other)
            if found is None:
                self._mistakes.add(
                    f'the build of service "{name}" is based on "{other}", which no service is '
                    "called",
                    at,
                    hint=did_you_mean(other, self._names("services")),
                )
            elif found.build is None:
                self._mistakes.add(
                    f'the build of service "{name}" is based on "{other}", which has no build',
                    at,
                    hint=f"name its image: docker-image://{found.image or 'IMAGE'}",
                )
            elif name in implied.all_build_bases(self._file.services, other):
                self._mistakes.add(
                    f'the builds of services "{name}" and "{other}" are based on each other', at
                )

    def _not_exactly(self, name: str, service: Service) -> None:
        """Values, not attributes, that are carried out in another way."""
        update = service.deploy.update_config if service.deploy else None
        where = ("services", name, "deploy", "update_config")
        fixed = any(p.published and "-" not in p.published for p in service.ports)
        if update is not None and update.order == "start-first" and fixed:
            self._mistakes.warn(
                f'order of service "{name}": its host port can have one holder, so the old '
                "container stops before the new one starts",
                self._at(*where, "order"),
            )
        if update is not None and update.failure_action == "rollback":
            self._mistakes.warn(
                f'failure_action of service "{name}": the update ends, nothing is rolled back',
                self._at(*where, "failure_action"),
            )
        if service.pull_refresh_after is not None and service.pull_policy != "refresh":
            self._mistakes.warn(
                f'pull_refresh_after of service "{name}": it means nothing without '
                "pull_policy: refresh",
                self._at("services", name, "pull_refresh_after"),
            )
        if service.pull_policy == "refresh" and service.pull_refresh_after is None:
            self._mistakes.add(
                f'pull_policy of service "{name}" is refresh: pull_refresh_after has to say after '
                "which time",
                self._at("services", name, "pull_policy"),
                hint="pull_refresh_after: 12h",
            )

    def _platform(self, name: str, service: Service) -> None:
        if service.platform is None:
            return
        here = f"linux/{_ARCHITECTURES.get(platform.machine(), platform.machine())}"
        if service.platform != here and not service.platform.startswith(f"{here}/"):
            self._mistakes.warn(
                f'platform {service.platform} of service "{name}": this machine runs {here}, '
                "and its images are taken",
                self._at("services", name, "platform"),
            )

    def _shared_network(self, name: str, service: Service) -> None:
        """Ports are published by whose network it is."""
        mode = service.network_mode or ""
        where = self._at("services", name, "ports", key=True)
        if service.ports and mode.startswith((implied.OF_SERVICE, implied.OF_CONTAINER)):
            self._mistakes.add(
                f'service "{name}" publishes ports, but its network is another one\'s ({mode})',
                where,
                hint="publish them there",
            )
        elif service.ports and mode in ("host", "none"):
            self._mistakes.warn(
                f'ports of service "{name}" are not published with network_mode {mode}', where
            )

    def _used_files(self, name: str, service: Service) -> None:
        for field, used in (("secrets", service.secrets), ("configs", service.configs)):
            defined = self._names(field)
            for i, file in enumerate(used):
                if file.source not in defined:
                    self._mistakes.add(
                        f'service "{name}" uses {field[:-1]} "{file.source}", which is not defined',
                        self._at("services", name, field, i),
                        hint=did_you_mean(file.source, defined)
                        or f"define it under the top-level {field}:",
                    )

    def _one_origin(
        self, path: tuple[str, str], item: Secret | Config, origins: tuple[str, ...]
    ) -> None:
        given = [origin for origin in origins if getattr(item, origin) is not None]
        node = self._written.get(path[0]) if isinstance(self._written, MappingNode) else None
        written = node.get(path[1]) if isinstance(node, MappingNode) else None
        refused = isinstance(written, MappingNode) and "external" in written.entries
        if len(given) != 1 and not refused:
            self._mistakes.add(
                f'{path[0][:-1]} "{path[1]}" needs exactly one of {", ".join(origins)}',
                self._at(*path),
            )

    def _networks(self, name: str, service: Service) -> None:
        where = ("services", name, "networks")
        networks = self._names("networks")
        if service.network_mode is not None and service.networks:
            self._mistakes.add(
                f'service "{name}" has both networks and network_mode',
                self._at("services", name, "network_mode", key=True),
                hint="remove one of the two",
            )
        for key, membership in service.networks.items():
            network = self._file.networks.get(key)
            if key not in (*networks, "default"):
                self._mistakes.add(
                    f'service "{name}" joins network "{key}", which is not defined',
                    self._at(*where, key, key=True),
                    hint=did_you_mean(key, [*networks, "default"])
                    or "define it under the top-level networks:",
                )
                continue
            for field in ("ipv4_address", "ipv6_address"):
                address = getattr(membership, field)
                if address and not (network and network.external):
                    self._address(name, key, network, field, address)

    def _address(
        self, name: str, key: str, network: Network | None, field: str, address: str
    ) -> None:
        pools = (network.ipam.config or ()) if network and network.ipam else ()
        subnets = [ipaddress.ip_network(p.subnet, strict=False) for p in pools if p.subnet]
        if any(ipaddress.ip_address(address) in subnet for subnet in subnets):
            return
        where = self._at("services", name, "networks", key, field)
        if any(subnet.version == ipaddress.ip_address(address).version for subnet in subnets):
            known = ", ".join(map(str, subnets))
            self._mistakes.add(f'{address} is not in network "{key}" ({known})', where)
        else:
            self._mistakes.add(
                f'network "{key}" needs a subnet for the fixed address {address}',
                where,
                hint="give it one under networks: ipam: config:",
            )

    def _mounts(self, name: str, service: Service) -> None:
        volumes = self._names("volumes")
        for i, mount in enumerate(service.volumes):
            where = self._at("services", name, "volumes", i)
            for other in ("bind", "volume", "tmpfs"):
                if other != mount.type and getattr(mount, other) is not None:
                    self._mistakes.add(f'"{other}" options on a mount of type {mount.type}', where)
            if reason := volumes_form.forbidden(mount.target):
                self._mistakes.add(reason, where, hint="mount it somewhere else")
            if mount.bind is not None and mount.bind.selinux is not None:
                self._mistakes.warn("SELinux labels are not changed", where)
            match mount.type:
                case "bind" if not mount.source:
                    self._mistakes.add(f"the bind mount on {mount.target} has no source", where)
                case "tmpfs" if mount.source:
                    self._mistakes.add(f"the tmpfs on {mount.target} cannot have a source", where)
                case "volume" if mount.source and mount.source not in volumes:
                    self._mistakes.add(
                        f'service "{name}" uses volume "{mount.source}", which is not defined',
                        where,
                        hint=did_you_mean(mount.source, volumes)
                        or "define it under the top-level volumes:, "
                        f'or write "./{mount.source}" for a host path',
                    )

    def _tmpfs(self, name: str, service: Service) -> None:
        taken = {posixpath.normpath(mount.target): "volumes" for mount in service.volumes}
        for i, spec in enumerate(service.tmpfs):
            where = self._at("services", name, "tmpfs", i)
            target = posixpath.normpath(volumes_form.parse_tmpfs(spec).target)
            if reason := volumes_form.forbidden(target):
                self._mistakes.add(reason, where, hint="mount it somewhere else")
            if target in taken:
                self._mistakes.add(
                    f'service "{name}" mounts two things at {target}: the other one is under '
                    f"{taken[target]}",
                    where,
                    hint="remove one of the two",
                )
            taken[target] = "tmpfs"

    def _least_memory(self, name: str, service: Service) -> None:
        """Docker's rule: with less no process starts, and nobody sees why."""
        upper = (
            service.deploy.resources and service.deploy.resources.limits if service.deploy else None
        )
        for path, value in (
            (("mem_limit",), service.mem_limit),
            (("deploy", "resources", "limits", "memory"), upper.memory if upper else None),
        ):
            if value is not None and 0 < value < LEAST_MEMORY:
                self._mistakes.add(
                    f'{path[-1]} of service "{name}" is {value} bytes: a container needs 6 MB',
                    self._at("services", name, *path),
                    hint=f"{path[-1]}: 6m at least",
                )

    def _service_node(self, name: str) -> Node | None:
        services = self._root.get("services")
        return services.get(name) if isinstance(services, MappingNode) else None

    def _health(self, name: str, service: Service) -> None:
        check = service.healthcheck
        if check is None or check.test is None:
            return
        where = self._at("services", name, "healthcheck", "test")
        match check.test:
            case ["NONE"] | []:
                pass
            case ["CMD", _, *_] | ["CMD-SHELL", _]:
                pass
            case ["CMD-SHELL", *_]:
                self._mistakes.add("CMD-SHELL takes one text", where)
            case ["CMD"]:
                self._mistakes.add("CMD is followed by a program", where)
            case [first, *_]:
                self._mistakes.add(
                    f'a health check starts with CMD, CMD-SHELL or NONE, not "{first}"',
                    where,
                    hint=f'["CMD", "{first}", ...], or one text for the shell',
                )

    def _replicas(self, name: str, service: Service) -> None:
        in_deploy = service.deploy.replicas if service.deploy else None
        if service.scale is not None and in_deploy is not None and service.scale != in_deploy:
            self._mistakes.add(
                f'service "{name}" has scale {service.scale} and deploy.replicas {in_deploy}',
                self._at("services", name, "scale"),
                hint="remove one of the two",
            )
        if service.container_name and service.replicas > 1:
            self._mistakes.add(
                f'service "{name}" has {service.replicas} replicas, which cannot all be called '
                f'"{service.container_name}"',
                self._at("services", name, "container_name"),
                hint="remove container_name",
            )

    def _same_limits(self, name: str, service: Service) -> None:
        resources = service.deploy.resources if service.deploy else None
        if resources is None:
            return
        limits, reservations = resources.limits, resources.reservations
        pairs = (
            ("mem_limit", service.mem_limit, "limits.memory", limits and limits.memory),
            ("cpus", service.cpus, "limits.cpus", limits and limits.cpus),
            ("pids_limit", service.pids_limit, "limits.pids", limits and limits.pids),
            (
                "mem_reservation",
                service.mem_reservation,
                "reservations.memory",
                reservations and reservations.memory,
            ),
        )
        for field, value, other, other_value in pairs:
            if value is not None and other_value is not None and value != other_value:
                self._mistakes.add(
                    f'service "{name}" has two values for {field}: the other one is '
                    f"deploy.resources.{other}",
                    self._at("services", name, field),
                    hint="remove one of the two",
                )

    def _container_names(self) -> None:
        holders: dict[str, str] = {}
        for name, service in self._services.items():
            fixed = service.container_name
            if fixed is None:
                continue
            if fixed in holders:
                self._mistakes.add(
                    f'services "{holders[fixed]}" and "{name}" are both called "{fixed}"',
                    self._at("services", name, "container_name"),
                )
            holders[fixed] = name

    def _edge(self, name: str, other: str) -> Mark:
        """Where one service says that it needs another."""
        for field, index, used in implied.uses(self._file.services[name]):
            if used == other and other not in self._file.services[name].depends_on:
                return self._at("services", name, field, *(() if index is None else (index,)))
        return self._at("services", name, "depends_on", other, key=True)

    def _circles(self) -> None:
        for circle in circles(implied.graph(self._services)):
            self._mistakes.add(
                f"services depend on each other in a circle: {' -> '.join(circle)}",
                self._edge(circle[0], circle[1]),
                hint="remove one of these dependencies",
            )
