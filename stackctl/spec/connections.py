"""What joins services: dependencies, ports, networks."""

from typing import Annotated, Literal

from stackctl.model import addressing
from stackctl.spec import forms
from stackctl.spec.attributes import MAY_BE_EMPTY
from stackctl.spec.fields import Attributes, Field
from stackctl.spec.scalars import (
    Address,
    Alias,
    Flag,
    Integer,
    InterfaceName,
    IPv4,
    IPv6,
    LinkLocal,
    MacAddress,
    PortNumber,
    Protocol,
    Published,
)


class ServiceDependency(Attributes):
    """What must be true of another service before this one starts."""

    condition: Literal["service_started", "service_healthy", "service_completed_successfully"] = (
        Field("service_started", description="State of the other service that is waited for.")
    )
    required: Flag = Field(
        True, description="false: go on when the other service is missing or fails."
    )
    restart: Flag | None = Field(
        None, description="true: restart this service when the other one is restarted or recreated."
    )


class ServicePort(Attributes):
    """A container port that is published on the host."""

    name: str | None = Field(None, description="A name for people; has no effect.")
    mode: Literal["ingress", "host"] = Field(
        "ingress",
        description="Accepted for other engines' sake; both mean the same on one machine.",
    )
    host_ip: Address | None = Field(None, description="The host address to listen on; absent: all.")
    target: PortNumber = Field(description="The port in the container.")
    published: Published | None = Field(
        None,
        description="The host's port; a range `8000-8010` means any free one of it; absent or 0: "
        "any free one.",
    )
    protocol: Protocol = Field("tcp", description="tcp, udp or sctp.")
    app_protocol: str | None = Field(
        None, description="What is spoken on the port, for people and tools; has no effect."
    )


class ServiceNetwork(Attributes):
    """Membership of one network."""

    aliases: Annotated[list[Alias] | None, forms.UNIQUE] = Field(
        None, description="Further names by which others on this network find the service."
    )
    ipv4_address: Annotated[IPv4 | None, MAY_BE_EMPTY] = Field(
        None, description="A fixed address; the network needs a subnet in `ipam`."
    )
    ipv6_address: Annotated[IPv6 | None, MAY_BE_EMPTY] = Field(
        None, description="A fixed IPv6 address."
    )
    mac_address: Annotated[MacAddress | None, MAY_BE_EMPTY] = Field(
        None, description="A fixed MAC address."
    )
    interface_name: InterfaceName | None = Field(
        None, description="The interface's name in the container."
    )
    link_local_ips: Annotated[list[LinkLocal] | None, forms.UNIQUE] = Field(
        None, description="Further addresses of 169.254.0.0/16 or fe80::/10."
    )
    driver_opts: Annotated[dict[str, str] | None, forms.KEYED] = Field(
        None,
        description=f"`{addressing.ENDPOINT_NAME}` (interface_name), "
        f"`{addressing.ENDPOINT_SETTINGS}` (`net.ipv4.conf.IFNAME.rp_filter=2,...`).",
    )
    priority: Integer | None = Field(
        None,
        description="Order in which networks are connected; changes neither gateway nor names.",
    )
    gw_priority: Integer | None = Field(
        None, description="The network with the highest number gives the default gateway."
    )

    @property
    def interface(self) -> str:
        """The name that its interface is to have, whichever attribute says so; or ""."""
        return self.interface_name or (self.driver_opts or {}).get(addressing.ENDPOINT_NAME, "")
