"""Leases and options: what Net decides without a kernel."""

from dataclasses import replace
from pathlib import Path

import pytest

from stackctl.errors import Conflict, StackctlError
from stackctl.model.addressing import GATEWAY_MODES
from stackctl.model.container import NetworkAttachment, PortBinding
from stackctl.model.network import Endpoint, IpamPool, NetworkConfig
from stackctl.model.record import NetworkRecord
from stackctl.net import publishing
from stackctl.net.addresses import ways_out
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
        made._addresses.remember(record(name, **more))
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


def test_a_name_that_it_is_to_have_elsewhere_is_left_free(net: Net) -> None:
    first = net.lease(record(), "c1", NetworkAttachment(network="front"), {"", "eth0"})
    wanted = NetworkAttachment(network="back", interface_name="eth0")
    second = net.lease(record("back", internal=True), "c1", wanted, {"", "eth0"})
    assert (first.interface, second.interface) == ("eth1", "eth0")


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
        (NetworkConfig(name="n", enable_ipv4=False), "neither"),
        (NetworkConfig(name="n", driver="macvlan"), "parent"),
        (
            NetworkConfig(
                name="n", driver="macvlan", driver_opts={"parent": "e", "macvlan_mode": "x"}
            ),
            "macvlan_mode",
        ),
        (NetworkConfig(name="n", driver_opts={"com.docker.network.what": "1"}), "what"),
        (NetworkConfig(name="n", driver_opts={GATEWAY_MODES[0]: "isolated"}), "masqueraded"),
        (NetworkConfig(name="a\x1b[31m"), r"called 'a\\x1b\[31m': it does not print"),
        (NetworkConfig(name=" "), "cannot be called"),
        (NetworkConfig(name="n", ipam=(IpamPool(gateway="10.0.0.1"),)), "subnet"),
        (NetworkConfig(name="n", ipam=(IpamPool(subnet="fd00::/64"),)), "IPv6"),
        (NetworkConfig(name="n", ipam=(IpamPool(subnet="10.0.0.0/31"),)), "small"),
        (
            NetworkConfig(name="n", ipam=(IpamPool(subnet="10.0.0.0/24", gateway="10.0.1.1"),)),
            "not in subnet",
        ),
        (
            NetworkConfig(
                name="n",
                ipam=(
                    IpamPool(
                        subnet="10.0.0.0/30", aux_addresses={"a": "10.0.0.1", "b": "10.0.0.2"}
                    ),
                ),
            ),
            "leave no address of subnet 10.0.0.0/30 for the gateway",
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
    assert [b.container_port for b in sorted(bindings, key=publishing.freedom)] == [3, 2, 1]


def endpoint(ipv4: str = "10.0.0.2/24", ipv6: str = "") -> Endpoint:
    return Endpoint(
        network="front",
        network_id="front-id",
        container_id="c",
        interface="eth0",
        mac="",
        ipv4=ipv4,
        ipv6=ipv6,
    )


@pytest.mark.parametrize(
    ("host_ip", "usual", "ipv6", "expected"),
    [
        ("", "", "", ("0.0.0.0", "")),
        ("", "", "fd00::2/64", ("0.0.0.0", "::")),
        ("", "127.0.0.1", "fd00::2/64", ("127.0.0.1", "")),
        ("0.0.0.0", "127.0.0.1", "fd00::2/64", ("0.0.0.0", "")),
        ("::", "", "fd00::2/64", ("::", "")),
        ("::", "", "", ("::", "")),
    ],
)
def test_where_a_port_is_published(
    host_ip: str, usual: str, ipv6: str, expected: tuple[str, str]
) -> None:
    binding = PortBinding(container_port=80, host_ip=host_ip, host_port=(8005, 8005))
    wish = publishing.wish_of(binding, usual, endpoint(ipv6=ipv6))
    assert (wish[1], wish[4]) == expected
    assert wish[2:4] == (8005, 8005)


def test_an_address_that_the_container_cannot_serve_is_refused() -> None:
    binding = PortBinding(container_port=80, host_ip="10.0.0.1")
    with pytest.raises(StackctlError, match="no IPv4 address"):
        publishing.wish_of(binding, "", endpoint(ipv4="", ipv6="fd00::2/64"))


def test_a_successor_has_the_address_of_the_container_that_it_replaces(net: Net) -> None:
    wanted = NetworkAttachment(network="front", ipv4_address="10.0.1.9")
    old = net.lease(record(), "old", wanted)
    new = net.lease(record(), "new", wanted)
    net._addresses.use([old])
    with pytest.raises(Conflict, match=r"10\.0\.1\.9 in network front is used by container old"):
        net._addresses.use([new])
    net.release(old)
    net._addresses.use([new])
    # Chosen addresses are nobody's, until the last holder has gone.
    chosen = {
        net.lease(record(), f"c{n}", NetworkAttachment(network="front")).ipv4 for n in range(1018)
    }
    assert new.ipv4 not in chosen
    assert len(chosen) == 1018


def test_the_way_out_is_the_endpoint_with_the_highest_priority_for_each_ip_version() -> None:
    plain = replace(endpoint(), network="a", gateway4="10.0.0.1")
    six = replace(endpoint(), network="b", gateway4="10.1.0.1", gateway6="fd00::1", gw_priority=-1)
    assert ways_out([six, plain]) == {"10.0.0.1": plain, "fd00::1": six}
    first = replace(six, gw_priority=1)
    assert ways_out([first, plain]) == {"10.1.0.1": first, "fd00::1": first}


def test_an_interface_is_called_as_the_kernel_lets_it_and_once(net: Net) -> None:
    for wish, message in (
        (NetworkAttachment(network="front", interface_name="a b"), "interface's name"),
        (NetworkAttachment(network="front", mac_address="ff:ff:ff:ff:ff:ff"), "group's address"),
        (NetworkAttachment(network="front", mac_address="0A:5C:0a:00:00:01"), "of the gateway"),
        (NetworkAttachment(network="front", ipv4_address="10.0.0.0"), "itself"),
        (NetworkAttachment(network="front", ipv4_address="10.0.3.255"), "broadcast"),
    ):
        with pytest.raises(StackctlError, match=message):
            net.lease(record(), "c", wish)
    named = NetworkAttachment(network="front", interface_name="lan0")
    net.lease(record(), "c", named)
    with pytest.raises(Conflict, match='front is called "lan0"'):
        net.lease(record(), "c", named)
