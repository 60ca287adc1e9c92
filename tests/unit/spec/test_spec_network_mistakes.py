"""Mistakes in what services and networks say about each other: memberships and addresses."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.mark.parametrize(
    ("membership", "message"),
    [
        ("ipv4_address: 10.1.0.0", "ipv4_address 10.1.0.0 is the subnet 10.1.0.0/24 itself"),
        ("ipv4_address: 10.1.0.255", "is the broadcast address"),
        ("ipv4_address: 10.1.0.7", '3:46: services "a" and "b" both have the address 10.1.0.7'),
        ("interface_name: lo", '"lo" cannot be an interface\'s name'),
        ("interface_name: a/b", '"a/b" cannot be an interface\'s name'),
        ("interface_name: sixteen_letters_", "cannot be an interface's name"),
        ("interface_name: one", 'service "a" calls two interfaces "one"'),
        (
            "driver_opts: {com.docker.network.endpoint.ifname: one}",
            '2:108: service "a" calls two interfaces "one"',
        ),
        ("mac_address: '03:00:00:00:00:01'", "is a group's address"),
        ("link_local_ips: [10.0.0.1]", '"10.0.0.1" is not a link-local address'),
        ("link_local_ips: [here]", "does not appear to be an IPv4 or IPv6 address"),
        (
            "driver_opts: {com.docker.network.endpoint.sysctls: net.core.somaxconn=1}",
            '"net.core.somaxconn=1" is no setting such as',
        ),
        (
            "driver_opts: {com.docker.network.endpoint.sysctls: net.ipv4.conf./etc.IFNAME.x=1}",
            "is no setting such as",
        ),
        (
            "driver_opts: {com.docker.network.endpoint.ifname: two}, interface_name: three",
            'com.docker.network.endpoint.ifname "two" is not its interface_name "three"',
        ),
        ("mac_address: '00:00:00:00:00:00'", "is nobody's address"),
        ("aliases: [has space]", '2:68: services.a.networks.n.aliases[]: "has space" cannot'),
        ("aliases: ['']", '"" is no name: it is empty'),
        ("aliases: [x..y]", '"x..y" cannot be a name'),
        (f"aliases: [{'x' * 300}]", "DNS has at most 63 bytes between two dots"),
    ],
)
def test_mistakes_in_a_membership(project: Any, membership: str, message: str) -> None:
    found = project.mistakes(f"""services:
  a: {{image: x, networks: {{m: {{interface_name: one}}, n: {{{membership}}}}}}}
  b: {{image: x, networks: {{n: {{ipv4_address: 10.1.0.7}}}}}}
  d: {{image: x, networks: {{n: {{ipv4_address: 10.1.0.7}}}}, scale: 0}}
networks: {{m: , n: {{ipam: {{config: [{{subnet: 10.1.0.0/24}}]}}}}}}
""")
    assert len(found) == 1 and message in found[0], found


@pytest.mark.parametrize(
    ("address", "network", "message"),
    [
        (
            "ipv4_address: 10.1.0.1",
            "ipam: {config: [{subnet: 10.1.0.0/24}]}",
            'ipv4_address 10.1.0.1 is the gateway of network "n", which names no other one',
        ),
        (
            "ipv4_address: 10.1.0.9",
            "ipam: {config: [{subnet: 10.1.0.0/24, gateway: 10.1.0.9}]}",
            'ipv4_address 10.1.0.9 is the gateway of network "n"',
        ),
        (
            "ipv4_address: 10.1.0.3",  # the first address is spoken for, and so is the second
            "ipam: {config: [{subnet: 10.1.0.0/24, aux_addresses: {a: 10.1.0.1, b: 10.1.0.2}}]}",
            'ipv4_address 10.1.0.3 is the gateway of network "n", which names no other one',
        ),
        (
            "ipv4_address: 10.1.0.2",
            "ipam: {config: [{subnet: 10.1.0.0/24, aux_addresses: {a: 10.1.0.1, b: 10.1.0.2}}]}",
            'ipv4_address 10.1.0.2 is the auxiliary address "b" of network "n"',
        ),
        (
            "ipv4_address: 10.2.0.1",
            "ipam: {config: [{subnet: 10.1.0.0/24}, {subnet: 10.2.0.0/24}]}",
            'ipv4_address 10.2.0.1 is the gateway of network "n", which names no other one',
        ),
        (
            "ipv4_address: 10.1.0.1",  # also where containers get theirs from another range
            "internal: true, ipam: {config: [{subnet: 10.1.0.0/24, ip_range: 10.1.0.128/25}]}",
            'ipv4_address 10.1.0.1 is the gateway of network "n", which names no other one',
        ),
        (
            "ipv6_address: 'fd00:0::1'",
            "enable_ipv6: true, ipam: {config: [{subnet: 'fd00::/64'}]}",
            'ipv6_address fd00::1 is the gateway of network "n", which names no other one',
        ),
        ("ipv4_address: 10.1.0.2", "ipam: {config: [{subnet: 10.1.0.0/24}]}", ""),
        (
            "ipv4_address: 10.1.0.1",
            "ipam: {config: [{subnet: 10.1.0.0/24, gateway: 10.1.0.2}]}",
            "",
        ),
        (
            "ipv4_address: 10.1.0.128",
            "ipam: {config: [{subnet: 10.1.0.0/24, ip_range: 10.1.0.128/25}]}",
            "",
        ),
        (
            "ipv6_address: 'fd00::2'",
            "enable_ipv6: true, ipam: {config: [{subnet: 'fd00::/64'}]}",
            "",
        ),
        ("ipv4_address: 10.1.0.1", "external: true, ipam: {config: [{subnet: 10.1.0.0/24}]}", ""),
    ],
)
def test_a_fixed_address_is_none_of_the_networks_own(
    project: Any, address: str, network: str, message: str
) -> None:
    text = f"""services: {{a: {{image: x, networks: {{n: {{{address}}}}}}}}}
networks: {{n: {{{network}}}}}
"""
    if not message:
        project.load(text)
        return
    assert project.mistakes(text) == [f"1:55: {message} [choose another address]"]


MAC = "mac_address: '02:00:00:00:00:01'"


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (MAC, MAC, 'both have the MAC address 02:00:00:00:00:01 in network "default"'),
        (f"networks: {{n: {{{MAC}}}}}", f"{MAC}, networks: [n, m]", 'in network "n"'),
        (f"{MAC}, networks: [m]", f"networks: {{m: {{{MAC}, priority: 5}}, n: }}", '"m"'),
        (f"{MAC}, network_mode: bridge", f"{MAC}, network_mode: default", "network_mode bridge"),
        (f"{MAC}, networks: [n]", f"{MAC}, networks: [m]", ""),
        (f"{MAC}, networks: [n]", f"{MAC}, networks: {{n: , m: {{priority: 5}}}}", ""),
        (f"{MAC}, networks: [n]", f"{MAC}, networks: [n], scale: 0", ""),
        (f"{MAC}, networks: [n]", f"{MAC}, networks: [n], profiles: [x]", ""),
        (f"{MAC}, network_mode: host", f"{MAC}, network_mode: host, scale: 2", ""),
        (f"{MAC}, networks: [h]", f"{MAC}, networks: [h]", ""),
        (f"{MAC}, network_mode: n", f"{MAC}, networks: [n]", ""),
        ("", f"{MAC}, scale: 2", "has 2 replicas, which cannot all have the MAC address 02:00:"),
        ("", f"networks: {{n: {{{MAC}}}}}, scale: 2", "has 2 replicas, which cannot all have"),
    ],
)
def test_a_mac_address_is_for_one_container_of_a_network(
    project: Any, a: str, b: str, message: str
) -> None:
    text = f"""services:
  a: {{image: x, {a}}}
  b: {{image: x, {b}}}
networks: {{n: , m: , h: {{external: true, name: host}}}}
"""
    if not message:
        project.load(text)
        return
    found = project.mistakes(text)
    assert len(found) == 1 and message in found[0] and found[0].startswith("3:"), found


def test_a_fixed_address_is_for_one_replica(project: Any) -> None:
    text = """services:
  a: {image: x, networks: {n: {ipv4_address: 10.1.0.8}}, scale: 2}
networks: {n: {ipam: {config: [{subnet: 10.1.0.0/24}]}}}
"""
    assert project.mistakes(text) == [
        '2:46: service "a" has 2 replicas, which cannot all have the address 10.1.0.8'
    ]


def test_network_mode_names_no_network_of_the_stack(project: Any) -> None:
    text = "services: {a: {image: x, network_mode: n}}\nnetworks: {n: %s}\n"
    (notice,) = project.load(text % "{}").warnings
    assert "`networks: [n]` joins that one" in notice.text
    assert notice.place is not None and notice.place.column == 40
    assert not project.load(text % "{external: true, name: n}").warnings
    (mistake,) = project.mistakes((text % "{}").replace("mode: n", "mode: n/m"))
    assert 'network_mode cannot be "n/m"' in mistake
