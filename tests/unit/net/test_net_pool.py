"""Subnets and addresses: free ones, wanted ones, and none twice."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stackctl.errors import Conflict, MachineError, StackctlError
from stackctl.net.pool import Leases, SubnetPool, mac_of

Network = ipaddress.IPv4Network


def test_chosen_subnets_never_overlap_each_other_or_what_the_host_routes() -> None:
    pool = SubnetPool("abc")
    in_use = [Network("172.16.0.0/13"), Network("10.0.0.0/9")]
    chosen = [pool.choose(in_use) for _ in range(300)]
    for index, one in enumerate(chosen):
        assert not any(one.overlaps(other) for other in chosen[:index])
        assert not any(one.overlaps(other) for other in in_use)


def test_the_second_range_is_used_when_the_first_is_routed_as_a_whole() -> None:
    assert SubnetPool("abc").choose([Network("172.16.0.0/12")]).subnet_of(Network("10.0.0.0/8"))


def test_a_machine_that_routes_the_usual_ranges_has_a_last_one() -> None:
    """As behind a company's tunnel; and where all is routed, what nobody has an address in."""
    tunnel = [Network("172.16.0.0/12"), Network("10.0.0.0/8"), Network("192.168.0.0/24")]
    chosen = SubnetPool("abc").choose(tunnel)
    assert chosen.subnet_of(Network("192.168.0.0/16")) and not chosen.overlaps(tunnel[2])
    every = [*tunnel, Network("0.0.0.0/1"), Network("128.0.0.0/1")]
    lan = [Network("172.16.0.0/13")]
    assert SubnetPool("abc").choose(lan, every).subnet_of(Network("172.24.0.0/13"))
    assert SubnetPool("abc").choose([], tunnel) == chosen


def test_a_dry_pool_says_so() -> None:
    pool = SubnetPool("abc", (Network("10.0.0.0/21"),))
    pool.choose([])
    pool.choose([])
    with pytest.raises(MachineError, match="no free subnet"):
        pool.choose([])


def test_a_subnet_that_was_given_back_can_be_had_again() -> None:
    pool = SubnetPool("abc", (Network("10.0.0.0/22"),))
    subnet = pool.choose([])
    pool.give_back(str(subnet))
    assert pool.choose([]) == subnet


def test_a_wanted_subnet_that_somebody_has_is_a_conflict() -> None:
    pool = SubnetPool("abc")
    pool.claim("10.1.0.0/16")
    with pytest.raises(Conflict, match=r"10\.1\.0\.0/16"):
        pool.request("10.1.2.0/24", [])
    with pytest.raises(StackctlError, match="bad subnet"):
        pool.request("10.1.2.3/24", [])


@given(st.lists(st.sampled_from(["take", "give"]), max_size=60))
def test_an_address_is_never_leased_twice_nor_a_reserved_one(steps: list[str]) -> None:
    leases = Leases("10.0.0.0/27", reserved=["10.0.0.1"])
    held: list[str] = []
    for step in steps:
        if step == "give" and held:
            leases.release(held.pop(0))
        elif step == "take" and len(held) < 29:
            address = leases.take()
            assert address not in held
            assert address not in ("10.0.0.0/27", "10.0.0.1/27", "10.0.0.31/27")
            held.append(address)


def test_an_address_that_was_given_back_is_the_last_to_be_used_again() -> None:
    leases = Leases("10.0.0.0/29", reserved=["10.0.0.1"])
    first = leases.take()
    leases.release(first)
    following = [leases.take() for _ in range(5)]
    assert following[-1] == first
    with pytest.raises(Conflict, match="no free address"):
        leases.take()


def test_leases_go_on_after_those_of_the_records() -> None:
    leases = Leases("10.0.0.0/24", reserved=["10.0.0.1"])
    leases.hold("10.0.0.7/24")
    assert leases.take() == "10.0.0.8/24"


def test_leases_stay_in_the_ip_range_but_a_wanted_one_need_not() -> None:
    leases = Leases("10.0.0.0/24", "10.0.0.64/30", ["10.0.0.1"])
    assert {leases.take() for _ in range(4)} == {f"10.0.0.{n}/24" for n in (64, 65, 66, 67)}
    assert leases.take("10.0.0.9") == "10.0.0.9/24"


@pytest.mark.parametrize(
    ("wanted", "text"),
    [
        ("10.0.1.5", "not in the network's subnet"),
        ("10.0.0.1", "taken"),
        ("10.0.0", "not an IP address"),
    ],
)
def test_a_wanted_address_that_cannot_be_had(wanted: str, text: str) -> None:
    with pytest.raises(StackctlError, match=text):
        Leases("10.0.0.0/24", reserved=["10.0.0.1"]).take(wanted)


@given(st.ip_addresses(v=4), st.ip_addresses(v=4))
def test_mac_addresses_are_local_unicast_and_differ_with_the_address(
    one: ipaddress.IPv4Address, other: ipaddress.IPv4Address
) -> None:
    first = int(mac_of(f"{one}/24")[:2], 16)
    assert first & 0b11 == 0b10
    assert (mac_of(str(one)) == mac_of(str(other))) == (one == other)
