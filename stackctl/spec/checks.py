"""What no single attribute shows: references, circles, conflicts between attributes.

Works on the validated models and adds to `mistakes`, each at its place. What
concerns one service is in service_checks.py, one network in network_checks.py.
"""

from __future__ import annotations

from collections.abc import Collection

from stackctl.model.sockets import DOCKER_SOCKETS
from stackctl.spec import engine_checks, implied, joining, project
from stackctl.spec import volumes as volume_forms
from stackctl.spec.circles import circles
from stackctl.spec.files import Files
from stackctl.spec.mistakes import Mistakes
from stackctl.spec.model import Config, Network, Secret, Service, StackFile, Volume
from stackctl.spec.network_checks import NetworkChecks, fixed_addresses
from stackctl.spec.nodes import Mapping as MappingNode
from stackctl.spec.nodes import Mark, Node
from stackctl.spec.service_checks import ServiceChecks
from stackctl.spec.written import Written


class Checks:
    """All checks of one file.

    `root` is the tree that the models came from, `written` the whole one. Of
    services that are not `enabled` nothing is asked: they are variants of
    others, and templates that others extend (None: all are asked, each for itself).
    """

    def __init__(
        self,
        file: StackFile,
        root: MappingNode,
        written: Node,
        mistakes: Mistakes,
        source: Files,
        enabled: Collection[str] | None = None,
    ) -> None:
        self._file = file
        self._services = {
            name: service
            for name, service in file.services.items()
            if enabled is None or name in enabled
        }
        self._written = Written(root, written, mistakes.unread)
        self._mistakes = mistakes
        self._source = source

    def run(self) -> None:
        if "version" in self._written.root.entries:
            self._mistakes.warn(
                '"version" has no meaning any more', self._written.at("version", key=True)
            )
        name = self._file.name
        if name and not project.is_name(name):
            self._mistakes.warn(
                f'the project is called "{project.normalized(name)}": {project.NAME_RULE}',
                self._written.at("name"),
            )
        fixed = fixed_addresses(self._services)
        for key, network in self._file.networks.items():
            self._external(("networks", key), network)
            NetworkChecks(
                key, network, self._services, fixed.get(key, ()), self._written, self._mistakes
            ).run()
        for key, volume in self._file.volumes.items():
            self._external(("volumes", key), volume)
            if volume_forms.is_tmpfs(volume.driver_opts):
                self._mistakes.warn(
                    f'volume "{key}" is memory: each container that mounts it has its own',
                    self._written.at("volumes", key, "driver_opts"),
                )
        for key, secret in self._file.secrets.items():
            self._one_origin(("secrets", key), secret, ("file", "environment"))
        for key, config in self._file.configs.items():
            self._one_origin(("configs", key), config, ("file", "environment", "content"))
        for name, service in self._services.items():
            ServiceChecks(name, service, self._file, self._written, self._mistakes).run()
            self._docker_socket(name, service)
        engine_checks.refuse(self._file, self._services, self._written, self._mistakes)
        self._mac_addresses()
        self._circles()

    def _external(self, path: tuple[str, str], resource: Network | Volume) -> None:
        if not resource.external:
            return
        fitting = {"external", "name", *resource.model_extra}
        conflicting = sorted(resource.model_fields_set - fitting)
        for field in conflicting:
            brief = f'"{field}" says how to make {path[0][:-1]} "{path[1]}", but it is external'
            where = self._written.at(*path, field, key=True)
            if isinstance(resource, Network):  # compose takes that
                self._mistakes.warn(f"{brief}: it has no effect", where)
            else:
                self._mistakes.add(brief, where, hint="remove one of the two")

    def _one_origin(
        self, path: tuple[str, str], item: Secret | Config, origins: tuple[str, ...]
    ) -> None:
        given = [origin for origin in origins if getattr(item, origin) is not None]
        if item.external and given:
            self._mistakes.add(
                f'"{given[0]}" says what {path[0][:-1]} "{path[1]}" is, but it is external',
                self._written.at(*path, given[0], key=True),
                hint="remove one of the two",
            )
        elif len(given) != 1 and not item.external:
            self._mistakes.add(
                f'{path[0][:-1]} "{path[1]}" needs exactly one of {", ".join(origins)}',
                self._written.at(*path),
            )

    def _docker_socket(self, name: str, service: Service) -> None:
        """See daemon.own_mounts.settled."""
        for i, mount in enumerate(service.volumes):
            path = mount.source or ""
            if mount.type == "bind" and path in DOCKER_SOCKETS and not self._source.exists(path):
                self._mistakes.warn(
                    f'no Docker is at {path}: service "{name}" gets this engine\'s socket there, '
                    "which speaks Docker's API",
                    self._written.at("services", name, "volumes", i, "source"),
                )

    def _mac_addresses(self) -> None:
        """A MAC address is for one container. (That two services have it: obstacles.)"""
        for name, service in self._services.items():
            if service.replicas < 2 or service.provider is not None:
                continue
            for _, path, mac in joining.mac_addresses(service, self._file.networks):
                self._mistakes.add(
                    f'service "{name}" has {service.replicas} replicas,'
                    f" which cannot all have the MAC address {mac}",
                    self._written.at("services", name, *path),
                    hint="remove mac_address: each container gets one of its own",
                )

    def _edge(self, name: str, other: str) -> Mark:
        """Where one service says that it needs another."""
        for field, index, used in implied.uses(self._file.services[name]):
            if used == other and other not in self._file.services[name].depends_on:
                return self._written.at(
                    "services", name, field, *(() if index is None else (index,))
                )
        return self._written.at("services", name, "depends_on", other, key=True)

    def _circles(self) -> None:
        for circle in circles(implied.graph(self._services)):
            self._mistakes.add(
                f"services depend on each other in a circle: {' -> '.join(circle)}",
                self._edge(circle[0], circle[1]),
                hint="remove one of these dependencies",
            )
