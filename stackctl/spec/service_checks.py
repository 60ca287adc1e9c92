"""What the attributes of one service, taken together, get wrong.

References to what the file does not define, attributes that contradict each
other, values that are carried out in another way than they say.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable, Collection, Iterable

from stackctl.model import addressing
from stackctl.model.log_options import LOG_OPTIONS_WITHOUT_EFFECT
from stackctl.model.reference import HOST
from stackctl.spec import implied, limit_checks, mount_checks, right_checks
from stackctl.spec.connections import ServiceNetwork
from stackctl.spec.mistakes import Found, Mistakes, did_you_mean
from stackctl.spec.model import MOST_CONTAINERS, Network, Service, StackFile
from stackctl.spec.nodes import Mark
from stackctl.spec.written import Written

#: Machines as the kernel calls them -> as images do.
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}


_Check = Callable[["ServiceChecks"], None]


def _about(*attributes: str) -> Callable[[_Check], _Check]:
    """A check that has something to say only of services that say something for one of these."""

    def told(check: _Check) -> _Check:
        check.__dict__["about"] = frozenset(attributes)
        return check

    return told


class ServiceChecks:
    """All checks of one service of `file`."""

    def __init__(
        self, name: str, service: Service, file: StackFile, written: Written, mistakes: Mistakes
    ) -> None:
        self._name = name
        self._who = f'service "{name}"'
        self._service = service
        self._file = file
        self._written = written
        self._mistakes = mistakes

    def run(self, checks: Iterable[tuple[Collection[str], _Check]] = ()) -> None:
        """All of CHECKS, or those given: each with the attributes that it is about."""
        where_from = ("image", "build", "provider", "extends")
        is_bare = self._service.image is None and not self._written.unread
        if is_bare and not self._written.has(("services", self._name), *where_from):
            hint = 'give it one, e.g. image: "stackctl/host"'
            if self._name in StackFile.model_fields:
                hint = f'the stack\'s own "{self._name}" stands at the left margin'
            self._mistakes.add(f"{self._who} has no image", self._at(key=True), hint=hint)
        said = self._service.model_fields_set
        if is_bare and "image" in said and said.isdisjoint(("build", "provider", "extends")):
            self._mistakes.add(f"services.{self._name}.image is empty", self._at("image"))
        for attributes, check in checks or CHECKS:
            if not said.isdisjoint(attributes):
                check(self)

    def _at(self, *path: str | int, key: bool = False) -> Mark:
        return self._written.at("services", self._name, *path, key=key)

    def _add(self, found: Iterable[Found]) -> None:
        for path, brief, hint in found:
            self._mistakes.add(brief, self._at(*path), hint=hint)

    @_about("depends_on")
    def _dependencies(self) -> None:
        others = self._written.names("services")
        for other, dependency in self._service.depends_on.items():
            if other not in others and dependency.required:
                self._mistakes.add(
                    f'{self._who} depends on "{other}", which no service is called',
                    self._at("depends_on", other, key=True),
                    hint=did_you_mean(other, [n for n in others if n != self._name]),
                )
            elif (
                dependency.condition == "service_healthy"
                and dependency.required
                and self._is_never_healthy(other)
            ):
                self._mistakes.add(
                    f'{self._who} waits until "{other}" is healthy, which has no health check',
                    self._at("depends_on", other, key=True),
                    hint="give it a `healthcheck`, or use condition: service_started",
                )

    def _is_never_healthy(self, name: str) -> bool:
        """Whether that is certain: an image that is not here yet may bring a check."""
        service = self._file.services.get(name)
        if service is None:
            return False
        check = service.healthcheck
        if check is not None and (check.disable or check.test == ["NONE"]):
            return True
        has_own = check is not None and bool(check.test)
        return not has_own and service.build is None and service.image == HOST

    @_about("links", "volumes_from", *implied.NAMESPACES)
    def _used_services(self) -> None:
        others = self._written.names("services")
        for field, index, other in implied.uses(self._service):
            where = (field,) if index is None else (field, index)
            if other not in others:
                self._mistakes.add(
                    f'{field} of {self._who} names "{other}", which no service is called',
                    self._at(*where),
                    hint=did_you_mean(other, [n for n in others if n != self._name]),
                )

    @_about("build")
    def _build_bases(self) -> None:
        """additional_contexts: {x: service:other} is the image that the other's build makes."""
        for key, other in implied.build_bases(self._service):
            at = self._at("build", "additional_contexts", key)
            found = self._file.services.get(other)
            if found is None and other in self._written.names("services"):
                continue
            if found is None:
                self._mistakes.add(
                    f'the build of {self._who} is based on "{other}", which no service is called',
                    at,
                    hint=did_you_mean(other, self._written.names("services")),
                )
            elif found.build is None:
                self._mistakes.add(
                    f'the build of {self._who} is based on "{other}", which has no build',
                    at,
                    hint=f"name its image: docker-image://{found.image or 'IMAGE'}",
                )
            elif other == self._name:
                self._mistakes.add(f"the build of {self._who} is based on itself", at)
            elif self._name in implied.all_build_bases(self._file.services, other):
                self._mistakes.add(
                    f'the builds of services "{self._name}" and "{other}" are based on each other',
                    at,
                )

    @_about("build")
    def _build_file(self) -> None:
        build = self._service.build
        if build and build.dockerfile is not None and build.dockerfile_inline is not None:
            self._mistakes.add(
                f"{self._who} has both dockerfile and dockerfile_inline",
                self._at("build", "dockerfile_inline", key=True),
                hint="remove one of the two",
            )

    @_about("build")
    def _build_platforms(self) -> None:
        build, platform = self._service.build, self._service.platform
        if build and build.platforms and platform and platform not in build.platforms:
            self._mistakes.add(
                f"platform {platform[:60]} of {self._who} is not among the platforms of its build",
                self._at("platform"),
                hint=f"there are {', '.join(build.platforms)[:200]}",
            )

    @_about("networks")
    def _networks(self) -> None:
        networks = self._written.names("networks")
        if self._service.network_mode is not None and self._service.networks:
            self._mistakes.add(
                f"{self._who} has both networks and network_mode",
                self._at("network_mode", key=True),
                hint="remove one of the two",
            )
        interfaces: set[str] = set()
        for key, membership in self._service.networks.items():
            interface = membership.interface
            if interface and interface in interfaces:
                option = ("driver_opts", addressing.ENDPOINT_NAME)
                self._mistakes.add(
                    f'{self._who} calls two interfaces "{interface}"',
                    self._at(
                        "networks",
                        key,
                        *(("interface_name",) if membership.interface_name else option),
                    ),
                )
            interfaces.add(interface)
            self._endpoint_options(key, membership)
            network = self._file.networks.get(key)
            if key not in networks and key != "default":
                self._mistakes.add(
                    f'{self._who} joins network "{key}", which is not defined',
                    self._at("networks", key, key=True),
                    hint=did_you_mean(key, [*networks, "default"])
                    or "define it under the top-level networks:",
                )
                continue
            for field in ("ipv4_address", "ipv6_address"):
                address = getattr(membership, field)
                if address and not (network and network.external):
                    self._address(key, network, field, address)

    def _endpoint_options(self, key: str, membership: ServiceNetwork) -> None:
        """Of one interface: its name and the kernel's settings for it."""
        interface = membership.interface_name
        for option, value in (membership.driver_opts or {}).items():
            where = self._at("networks", key, "driver_opts", option)
            if option == addressing.ENDPOINT_NAME:
                problem = addressing.interface_problem(value)
                if not problem and interface and value != interface:
                    problem = f'is not its interface_name "{interface}"'
                if problem:
                    self._mistakes.add(f'{option} "{value}" {problem}', where)
            elif option == addressing.ENDPOINT_SETTINGS:
                try:
                    addressing.interface_settings(value)
                except ValueError as error:
                    self._mistakes.add(f"{option}: {error}", where)
            else:
                self._mistakes.warn(
                    f"{self._who}: a network has no option {option} for one container",
                    self._at("networks", key, "driver_opts", option, key=True),
                )

    def _address(self, key: str, network: Network | None, field: str, address: str) -> None:
        pools = (network.ipam.config or ()) if network and network.ipam else ()
        subnets = [ipaddress.ip_network(p.subnet, strict=False) for p in pools if p.subnet]
        where = self._at("networks", key, field)
        home = next((s for s in subnets if ipaddress.ip_address(address) in s), None)
        if home is not None:
            if problem := addressing.address_problem(address, home):
                self._mistakes.add(f"{field} {address} {problem}", where)
            return
        if any(subnet.version == ipaddress.ip_address(address).version for subnet in subnets):
            known = ", ".join(map(str, subnets))
            self._mistakes.add(f'{address} is not in network "{key}" ({known})', where)
        else:
            self._mistakes.add(
                f'network "{key}" needs a subnet for the fixed address {address}',
                where,
                hint="give it one under networks: ipam: config:",
            )

    @_about("network_mode")
    def _shared_network(self) -> None:
        """Ports are published by whose network it is."""
        mode = self._service.network_mode or ""
        own = self._file.networks.get(implied.named_network(self._service))
        if own is not None and own.name != mode:
            self._mistakes.warn(
                f"network_mode names the engine's network \"{mode}\", not the stack's own: "
                f"`networks: [{mode}]` joins that one",
                self._at("network_mode"),
            )
        where = self._at("ports", key=True)
        if self._service.ports and mode.startswith((implied.OF_SERVICE, implied.OF_CONTAINER)):
            self._mistakes.add(
                f"{self._who} publishes ports, but its network is another one's ({mode})",
                where,
                hint="publish them there",
            )
        elif self._service.ports and mode in ("host", "none"):
            self._mistakes.warn(
                f"ports of {self._who} are not published with network_mode {mode}", where
            )

    @_about(*mount_checks.ABOUT)
    def _mounts(self) -> None:
        volumes = self._written.names("volumes")
        self._add(mount_checks.mistakes(self._service, self._who, volumes))

    @_about("secrets", "configs")
    def _covered(self) -> None:
        for path, brief in mount_checks.covered(self._service, self._who):
            self._mistakes.warn(brief, self._at(*path))

    @_about("volumes")
    def _images(self) -> None:
        for i, mount in enumerate(self._service.volumes):
            if mount.type == "image" and mount.read_only is False:
                brief = "an image that is mounted is always read-only"
                self._mistakes.warn(brief, self._at("volumes", i))

    @_about("secrets", "configs")
    def _used_files(self) -> None:
        for field, used in (("secrets", self._service.secrets), ("configs", self._service.configs)):
            for i, file in enumerate(used):
                self._defined(field, file.source, self._who, self._at(field, i))

    @_about("build")
    def _build_secrets(self) -> None:
        for i, secret in enumerate(self._service.build.secrets if self._service.build else ()):
            at = self._at("build", "secrets", i)
            self._defined("secrets", secret.source, f"the build of {self._who}", at)

    def _defined(self, field: str, source: str, who: str, at: Mark) -> None:
        defined = self._written.names(field)
        if source not in defined:
            self._mistakes.add(
                f'{who} uses {field[:-1]} "{source}", which is not defined',
                at,
                hint=did_you_mean(source, defined) or f"define it under the top-level {field}:",
            )

    @_about("healthcheck")
    def _health(self) -> None:
        check = self._service.healthcheck
        if check is None or check.test is None:
            return
        match check.test:
            case ["NONE"] | [] | ["CMD", _, *_] | ["CMD-SHELL", _]:
                return
        where = self._at("healthcheck", "test")
        match check.test:
            case ["CMD-SHELL", _, *_]:
                self._mistakes.warn(
                    f"the health check of {self._who} is its first text alone: the shell takes "
                    "the others as $0, $1, ...",
                    where,
                )
            case ["CMD-SHELL"]:
                self._mistakes.add("CMD-SHELL is followed by a text", where)
            case ["CMD"]:
                self._mistakes.add("CMD is followed by a program", where)
            case ["NONE", *_]:
                self._mistakes.add("nothing follows NONE: there is no health check then", where)
            case [first, *_]:
                self._mistakes.add(
                    f'a health check starts with CMD, CMD-SHELL or NONE, not "{first}"',
                    where,
                    hint=f'["CMD", "{first}", ...], or one text for the shell',
                )

    @_about("develop")
    def _watch(self) -> None:
        """What a rule's action needs besides its path."""
        for i, rule in enumerate(self._service.develop.watch if self._service.develop else ()):
            where = self._at("develop", "watch", i)
            if rule.action.startswith("sync") and not rule.target:
                self._mistakes.add(
                    f"{rule.action} needs a target",
                    where,
                    hint="where the files go in the container",
                )
            if rule.action == "sync+exec" and (rule.exec is None or not rule.exec.command):
                self._mistakes.add("sync+exec needs a command", where, hint="exec: {command: ...}")
            if rule.action == "rebuild" and not self._written.has(
                ("services", self._name), "build"
            ):
                self._mistakes.add(
                    f"{self._who} cannot be rebuilt: it has no build",
                    where,
                    hint="give it a `build`, or use sync or restart",
                )

    @_about("pre_start", "post_start", "pre_stop")
    def _hooks(self) -> None:
        for kind in ("pre_start", "post_start", "pre_stop"):
            for i, hook in enumerate(getattr(self._service, kind)):
                if not hook.command:
                    self._mistakes.add(
                        f"a {kind} hook of {self._who} has no command", self._at(kind, i, "command")
                    )

    @_about("scale", "deploy")
    def _replicas(self) -> None:
        in_deploy = self._service.deploy.replicas if self._service.deploy else None
        if (
            self._service.scale is not None
            and in_deploy is not None
            and self._service.scale != in_deploy
        ):
            self._mistakes.add(
                f"{self._who} has scale {self._service.scale} and deploy.replicas {in_deploy}",
                self._at("scale"),
                hint="remove one of the two",
            )
        if self._service.replicas > MOST_CONTAINERS:
            where = ("scale",) if self._service.scale is not None else ("deploy", "replicas")
            self._mistakes.add(
                f"{self._who} cannot have {self._service.replicas} containers: "
                f"a stack has at most {MOST_CONTAINERS}",
                self._at(*where),
            )
        elif self._service.container_name and self._service.replicas > 1:
            self._mistakes.add(
                f"{self._who} has {self._service.replicas} replicas, which cannot all be called "
                f'"{self._service.container_name}"',
                self._at("container_name"),
                hint="remove container_name",
            )

    @_about(*limit_checks.ABOUT)
    def _limits(self) -> None:
        self._add(limit_checks.mistakes(self._service, self._who))

    @_about(*right_checks.ABOUT)
    def _rights(self) -> None:
        self._add(right_checks.mistakes(self._service, self._who, self._file.services))

    @_about("platform")
    def _platform(self) -> None:
        if self._service.platform is None:
            return
        machine = os.uname().machine
        here = f"linux/{_ARCHITECTURES.get(machine, machine)}"
        if self._service.platform != here and not self._service.platform.startswith(f"{here}/"):
            self._mistakes.warn(
                f"platform {self._service.platform} of {self._who}: this machine runs {here}, "
                "and its images are taken",
                self._at("platform"),
            )

    @_about("deploy", "logging", "pull_policy", "pull_refresh_after")
    def _not_exactly(self) -> None:
        """Values, not attributes, that are carried out in another way."""
        update = self._service.deploy.update_config if self._service.deploy else None
        where = ("deploy", "update_config")
        fixed = any(p.published and "-" not in p.published for p in self._service.ports)
        if update is not None and update.order == "start-first" and fixed:
            self._mistakes.warn(
                f"order of {self._who}: its host port can have one holder, so the old "
                "container stops before the new one starts",
                self._at(*where, "order"),
            )
        if update is not None and update.failure_action == "rollback":
            self._mistakes.warn(
                f"failure_action of {self._who}: the update ends, nothing is rolled back",
                self._at(*where, "failure_action"),
            )
        mode = (self._service.deploy.mode if self._service.deploy else None) or ""
        if mode.endswith("-job"):
            self._mistakes.warn(
                f"mode of {self._who}: jobs are services like others, and each `up` starts "
                "again what has ended",
                self._at("deploy", "mode"),
            )
        logging = self._service.logging
        ours = logging is not None and logging.driver in (None, "json-file", "local")
        options = logging.options if logging is not None and ours else {}
        for option in LOG_OPTIONS_WITHOUT_EFFECT:
            if option in options:
                self._mistakes.warn(
                    f"the log option {option} of {self._who} has no effect",
                    self._at("logging", "options", option),
                )
        if self._service.pull_refresh_after is not None and self._service.pull_policy != "refresh":
            self._mistakes.warn(
                f"pull_refresh_after of {self._who}: it means nothing without pull_policy: refresh",
                self._at("pull_refresh_after"),
            )
        if self._service.pull_policy == "refresh" and self._service.pull_refresh_after is None:
            self._mistakes.add(
                f"pull_policy of {self._who} is refresh: pull_refresh_after has to say after "
                "which time",
                self._at("pull_policy"),
                hint="pull_refresh_after: 12h",
            )


#: The checks in their order, each with what it is about.
CHECKS: tuple[tuple[frozenset[str], _Check], ...] = tuple(
    (check.about, check) for check in vars(ServiceChecks).values() if hasattr(check, "about")
)
