"""Leases and options: what Net decides without a kernel."""

from pathlib import Path

import pytest

from stackctl.errors import StackctlError
from stackctl.model.container import NetworkAttachment, PortBinding
from stackctl.model.network import IpamPool, NetworkConfig
from stackctl.model.record import NetworkRecord
from stackctl.net import service
from stackctl.net.options import check_config
from stackctl.net.service import Net
from stackctl.state.paths import Paths


def record(name: str = "front", **more: object) -> NetworkRecord:
    config = NetworkConfig(name=name, **more)  # type: ignore[arg-type]
    return NetworkRecord(
        id=f"{name}-id",
        config=config,
        created_at=0,
        bridge="sc0",
        subnet4="10.0.0.0/22",
        gateway4="10.0.0.1",
    )


@pytest.fixture
def net() -> Net:
    made = Net(Paths(Path("/nowhere/root"), Path("/nowhere/run")))
    for name, more in (("front", {}), ("back", {"internal": True})):
        made._remember(record(name, **more))
    return made


def test_interfaces_are_numbered_in_order_and_a_freed_number_is_used_again(net: Net) -> None:
    first = net.lease(record(), "c1", NetworkAttachment(network="front"))
    second = net.lease(record("back", internal=True), "c1", NetworkAttachment(network="back"))
    assert (first.interface, second.interface) == ("eth0", "eth1")
    assert first.gateway4 == "10.0.0.1"
    assert second.gateway4 == ""
    net.release(first)
    net.release(first)
    assert net.lease(record(), "c1", NetworkAttachment(network="front")).interface == "eth0"


def test_a_wanted_name_address_and_mac_are_taken(net: Net) -> None:
    wanted = NetworkAttachment(
        network="front",
        ipv4_address="10.0.1.9",
        mac_address="02:00:00:00:00:01",
        interface_name="lan0",
        aliases=("x",),
    )
    endpoint = net.lease(record(), "c1", wanted)
    assert (endpoint.ipv4, endpoint.mac) == ("10.0.1.9/22", "02:00:00:00:00:01")
    assert (endpoint.interface, endpoint.aliases) == ("lan0", ("x",))


@pytest.mark.parametrize(
    ("config", "text"),
    [
        (NetworkConfig(name="n", driver="overlay"), "driver"),
        (NetworkConfig(name="n", enable_ipv6=True), "IPv6"),
        (NetworkConfig(name="n", driver_opts={"what": "1"}), "what"),
        (NetworkConfig(name="n", ipam=(IpamPool(gateway="10.0.0.1"),)), "subnet"),
        (NetworkConfig(name="n", ipam=(IpamPool(subnet="fd00::/64"),)), "IPv6"),
        (NetworkConfig(name="n", ipam=(IpamPool(subnet="10.0.0.0/31"),)), "small"),
        (
            NetworkConfig(name="n", ipam=(IpamPool(subnet="10.0.0.0/24", gateway="10.0.1.1"),)),
            "not in subnet",
        ),
    ],
)
def test_what_cannot_be_done_is_refused(config: NetworkConfig, text: str) -> None:
    with pytest.raises(StackctlError, match=text):
        check_config(config)


def test_exact_ports_come_before_ranges_and_free_ones() -> None:
    bindings = [
        PortBinding(container_port=1),
        PortBinding(container_port=2, host_port=(8000, 8010)),
        PortBinding(container_port=3, host_port=(8005, 8005)),
    ]
    assert [b.container_port for b in sorted(bindings, key=service._freedom)] == [3, 2, 1]
    assert service._wish(bindings[0], "127.0.0.1") == ("tcp", "127.0.0.1", 0, 0)
    assert service._wish(bindings[2], "") == ("tcp", "0.0.0.0", 8005, 8005)
