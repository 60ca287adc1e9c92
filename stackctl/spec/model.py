"""The stack as the user wrote it: resolved, canonical, validated, immutable.

What one container needs is another model (stackctl.model.container), what was
saved a third (stackctl.model.record); they never merge.
"""

from collections.abc import Iterable, Iterator
from dataclasses import field
from typing import Annotated, Any

from stackctl.errors import Place, StackFileError
from stackctl.model import addressing
from stackctl.spec import forms
from stackctl.spec.attributes import (
    MAY_BE_EMPTY,
    Approximated,
    HostPath,
    Labels,
    NoEffect,
    Refused,
    nothing_is_empty,
)
from stackctl.spec.fields import Attributes, BeforeValidator, Field
from stackctl.spec.mounts import ServiceFile
from stackctl.spec.nodes import Mapping, Path, mark_at
from stackctl.spec.project import STDIN
from stackctl.spec.scalars import Address, Flag, Integer, Subnet
from stackctl.spec.service import HealthCheck, Service
from stackctl.values import dataclass

__all__ = [
    "HealthCheck",
    "Ipam",
    "IpamConfig",
    "Network",
    "Places",
    "Service",
    "Stack",
    "StackFile",
    "Volume",
]


def _empty_is_nothing(value: Any) -> Any:
    return None if value == {} else value


class IpamConfig(Attributes):
    """One pool of addresses."""

    subnet: Subnet | None = Field(None, description="The pool, e.g. `10.5.0.0/24`.")
    ip_range: Subnet | None = Field(
        None, description="Part of the subnet that containers get addresses from."
    )
    gateway: Address | None = Field(None, description="The host's own address on the network.")
    aux_addresses: dict[str, Address] | None = Field(
        None, description="Names and addresses that are never given to a container."
    )


class Ipam(Attributes):
    """Where a network's addresses come from."""

    driver: Annotated[str | None, MAY_BE_EMPTY] = Field(None, description="Only `default`.")
    config: Annotated[list[IpamConfig] | None, forms.POOLS] = Field(
        None,
        description="Pools, any number of each IP version; absent: the engine chooses free ones.",
    )
    options: Annotated[
        dict[str, str], forms.KEYED, Approximated("the engine's pools have no options")
    ] = Field(default_factory=dict, description="Options of that driver.")


#: Of one stack, all replicas together: a bridge takes 1,023, and each is planned in advance.
MOST_CONTAINERS = 5_000

#: What stackctl.net knows to make.
NETWORK_DRIVERS = ("bridge", "macvlan", "ipvlan", "host", "none")

#: What stackctl.net carries out, by driver (see stackctl.net.options).
DRIVER_OPTIONS = (
    addressing.MTU,
    addressing.MASQUERADE,
    addressing.ICC,
    addressing.BRIDGE_NAME,
    addressing.BINDING,
    *addressing.GATEWAY_MODES,
    "parent",
    "macvlan_mode",
    "ipvlan_mode",
)


class Network(Attributes):
    """A network that services join."""

    name: str | None = Field(
        None, description="Its name on the engine; absent: project_key.", min_length=1
    )
    driver: Annotated[str | None, MAY_BE_EMPTY] = Field(
        None,
        description="`bridge` (when absent), `macvlan` and `ipvlan` on an interface of the machine "
        "(option `parent`), `host` (the machine's own network), `none`.",
    )
    internal: Flag | None = Field(None, description="true: no way out of the network.")
    attachable: Flag | None = Field(
        None, description="Accepted for other engines' sake; any container may join."
    )
    driver_opts: Annotated[dict[str, str], forms.KEYED] = Field(
        default_factory=dict,
        description=f"{', '.join(f'`{n}`' for n in DRIVER_OPTIONS)}; others have no effect.",
    )
    enable_ipv4: Flag | None = Field(None, description="false: IPv6 only.")
    enable_ipv6: Flag | None = Field(
        None, description="true: IPv6 addresses, too (unique local ones without a subnet)."
    )
    ipam: Annotated[Ipam | None, BeforeValidator(_empty_is_nothing)] = Field(
        None, description="Where its addresses come from."
    )
    external: Flag | None = Field(
        None, description="true: it exists already and is neither made nor removed."
    )
    labels: Labels = Field(default_factory=dict, description="Labels of the network.")


class Volume(Attributes):
    """A named volume: data that outlives containers."""

    name: str | None = Field(
        None, description="Its name on the engine; absent: project_key.", min_length=1
    )
    driver: Annotated[str | None, MAY_BE_EMPTY] = Field(None, description="Only `local`.")
    driver_opts: Annotated[dict[str, str], forms.VOLUME_OPTIONS] = Field(
        default_factory=dict,
        description="`{type: none, o: bind, device: PATH}` makes a directory of the host's it, "
        "`{type: tmpfs, o: size=64m}` memory.",
    )
    external: Flag | None = Field(
        None, description="true: it exists already and is neither made nor removed."
    )
    labels: Labels = Field(default_factory=dict, description="Labels of the volume.")


class Secret(Attributes):
    """Text that some services may read, in a file of its own."""

    name: str | None = Field(None, description="Its name; absent: project_key.", min_length=1)
    file: HostPath | None = Field(None, description="The host's file that holds it.", min_length=1)
    environment: str | None = Field(
        None, description="The caller's variable that holds it.", min_length=1
    )
    external: Flag | None = Field(
        None, description="true: kept by another engine; no service here can use it."
    )
    labels: Annotated[Labels, NoEffect("for engines that keep secrets")] = Field(
        default_factory=dict, description="Labels; no effect on one machine."
    )
    driver: Annotated[str | None, Refused("the engine keeps no secrets of its own")] = Field(
        None, description="Who keeps it."
    )
    driver_opts: Annotated[
        dict[str, str], forms.KEYED, Refused("the engine keeps no secrets of its own")
    ] = Field(default_factory=dict, description="Options of that driver.")
    template_driver: Annotated[str | None, Refused("text is taken as it is")] = Field(
        None, description="Who fills in templates."
    )


class Config(Attributes):
    """Text that services read as configuration, in a file of its own."""

    name: str | None = Field(None, description="Its name; absent: project_key.", min_length=1)
    file: HostPath | None = Field(None, description="The host's file that holds it.", min_length=1)
    environment: str | None = Field(
        None, description="The caller's variable that holds it.", min_length=1
    )
    content: str | None = Field(None, description="The text itself; variables are filled in.")
    external: Flag | None = Field(
        None, description="true: kept by another engine; no service here can use it."
    )
    labels: Annotated[Labels, NoEffect("for engines that keep configs")] = Field(
        default_factory=dict, description="Labels; no effect on one machine."
    )
    template_driver: Annotated[str | None, Refused("text is taken as it is")] = Field(
        None, description="Who fills in templates."
    )


class Model(Attributes):
    """A model that services use."""

    name: str | None = Field(None, description="Its name.")
    model: str | None = Field(None, description="Where it comes from.")
    context_size: Integer | None = Field(None, description="Tokens it looks back on.")
    runtime_flags: list[str] = Field(default_factory=list, description="Flags of its runner.")


class Include(Attributes):
    """Another project whose services and resources become this one's."""

    path: Annotated[list[HostPath], forms.TEXTS] = Field(
        default_factory=list, description="Its file, or several that merge."
    )
    project_directory: HostPath | None = Field(
        None, description="Where its relative paths start (its first file's directory)."
    )
    env_file: Annotated[list[HostPath], forms.TEXTS] = Field(
        default_factory=list, description="Its variables (`.env` of its directory when absent)."
    )


class Places:
    """Where the parts of a stack stand in its files. No part of what a stack is."""

    def __init__(self, root: Mapping | None = None) -> None:
        self._root = root

    def __call__(self, *path: str | int, key: bool = False) -> Place | None:
        """The place of the deepest part of `path` that was written."""
        if self._root is None:
            return None
        reached: Path = path
        return Place(*mark_at(self._root, reached, key=key))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Places)

    def __hash__(self) -> int:
        return 0


class StackFile(Attributes):
    """The top level of a stack file."""

    version: Annotated[Any, NoEffect("it has no meaning any more", True)] = Field(
        None, description="Of no meaning any more; accepted with a warning."
    )
    name: str | None = Field(
        None,
        description="The project's name: lower case letters, digits, `-` and `_`; others are left "
        "out.",
    )
    services: dict[str, Service] = Field(default_factory=dict, description="The services, by name.")
    networks: Annotated[
        dict[str, Annotated[Network, forms.RESOURCE, BeforeValidator(nothing_is_empty)]],
        BeforeValidator(nothing_is_empty),
    ] = Field(
        default_factory=dict,
        description="The networks, by key. `default` exists for services that name none.",
    )
    volumes: Annotated[
        dict[str, Annotated[Volume, forms.RESOURCE, BeforeValidator(nothing_is_empty)]],
        BeforeValidator(nothing_is_empty),
    ] = Field(default_factory=dict, description="The named volumes, by key.")
    secrets: Annotated[
        dict[str, Annotated[Secret, forms.RESOURCE, BeforeValidator(nothing_is_empty)]],
        BeforeValidator(nothing_is_empty),
    ] = Field(default_factory=dict, description="Secrets, by key: from a file or a variable.")
    configs: Annotated[
        dict[str, Annotated[Config, forms.RESOURCE, BeforeValidator(nothing_is_empty)]],
        BeforeValidator(nothing_is_empty),
    ] = Field(
        default_factory=dict, description="Configs, by key: from a file, a variable, or content."
    )
    include: Annotated[list[Include], forms.INCLUDES] = Field(
        default_factory=list, description="Other projects that become part of this one."
    )
    models: Annotated[
        dict[str, Annotated[Model, BeforeValidator(nothing_is_empty)]],
        BeforeValidator(nothing_is_empty),
        NoEffect("only services that use them need a runner", True),
    ] = Field(default_factory=dict, description="Models, by key.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """One project: what its files say together, resolved against its environment.

    Networks and volumes carry their full names. `disabled` holds the services
    whose profiles are not active. Host paths of binds are absolute.
    """

    name: str
    services: dict[str, Service]
    disabled: dict[str, Service] = field(default_factory=dict)
    networks: dict[str, Network] = field(default_factory=dict)
    volumes: dict[str, Volume] = field(default_factory=dict)
    secrets: dict[str, Secret] = field(default_factory=dict)
    configs: dict[str, Config] = field(default_factory=dict)
    models: dict[str, Model] = field(default_factory=dict)
    #: ("secrets" or "configs", key) -> text of those that come from a variable or stand in the
    #: file; only of those that an enabled service uses.
    contents: dict[tuple[str, str], str] = field(default_factory=dict, repr=False)
    #: The same keys -> digest of the file, of those that containers get a copy of.
    copies: dict[tuple[str, str], str] = field(default_factory=dict)
    #: What the engine cannot carry out: section and key -> why. A mistake only of what wants it.
    refusals: dict[tuple[str, str], list[StackFileError]] = field(default_factory=dict)
    #: Whether networks and volumes that no service uses are wanted, too.
    all_resources: bool = False
    #: Top-level `x-` keys.
    extensions: dict[str, Any] = field(default_factory=dict)
    profiles: tuple[str, ...] = ()
    #: Absolute.
    project_dir: str = "/"
    files: tuple[str, ...] = ()
    #: Files of variables that were named in the place of .env; absolute.
    env_files: tuple[str, ...] = ()
    #: Between the parts of the names that it gives; see project.separator.
    separator: str = "-"
    #: What a lock file says that images are: reference -> the same with its digest.
    pins: dict[str, str] = field(default_factory=dict)
    places: Places = field(default_factory=Places)

    @property
    def is_in_files(self) -> bool:
        """Whether there is a file that others can lie beside: not standard input."""
        return bool(self.files) and self.files[0] != STDIN

    def named(self, *parts: str | int) -> str:
        """The name of a container or image of the project: `shop-web-1`."""
        return self.separator.join(map(str, (self.name, *parts)))

    def service(self, name: str) -> Service | None:
        """Enabled or not."""
        return self.services.get(name) or self.disabled.get(name)

    def reference(self, service: Service) -> str:
        """What a service's image is looked up and pulled by."""
        return self.pins.get(service.image or "", service.image or "")


def files_of(
    defined: StackFile | Stack, services: Iterable[Service]
) -> Iterator[tuple[str, ServiceFile, Secret | Config]]:
    """Secrets and configs that services use: the section, the use, and what is defined there."""
    for service in services:
        for secret in service.secrets:
            if secret.source in defined.secrets:
                yield "secrets", secret, defined.secrets[secret.source]
        for config in service.configs:
            if config.source in defined.configs:
                yield "configs", config, defined.configs[config.source]
