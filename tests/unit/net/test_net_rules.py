"""The wanted table as a value: what is added can be taken away, and nothing twice."""

from stackctl.net import nft
from stackctl.net.netlink import Request, attributes
from stackctl.net.rules import EngineTable, Forward, NetworkWalls


def walls(number: int = 0, **more: bool) -> NetworkWalls:
    return NetworkWalls(bridge=f"scabcdef{number}", subnets=(f"10.0.{4 * number}.0/22",), **more)


def forward(port: int = 80, host_ip: str = "", address: str = "10.0.0.2") -> Forward:
    return Forward(protocol="tcp", host_ip=host_ip, host_port=port, address=address, port=8080)


def kinds(requests: list[Request]) -> list[int]:
    return [r.kind for r in requests]


def sets(requests: list[Request]) -> set[str]:
    """The sets whose elements change."""
    changed = [r for r in requests if r.kind in (nft.NEWSETELEM, nft.DELSETELEM)]
    return {attributes(r.body, 4)[2].rstrip(b"\0").decode() for r in changed}


def test_a_table_that_was_emptied_is_empty() -> None:
    table = EngineTable("t")
    table.add_network(walls())
    table.add_forwards([forward()])
    assert not table.is_empty
    table.remove_forwards([forward()])
    table.remove_network(walls().bridge)
    assert table.is_empty


def test_the_whole_table_replaces_whatever_was_there() -> None:
    table = EngineTable("t")
    assert kinds(table.whole())[:3] == [nft.NEWTABLE, nft.DELTABLE, nft.NEWTABLE]


def test_a_port_that_leads_elsewhere_is_taken_away_first() -> None:
    table = EngineTable("t")
    assert kinds(table.add_forwards([forward()])) == [nft.NEWSETELEM]
    again = table.add_forwards([forward(address="10.0.0.3")])
    assert kinds(again) == [nft.DELSETELEM, nft.NEWSETELEM]
    assert [f.address for f in table.forwards.values()] == ["10.0.0.3"]


def test_what_is_not_there_needs_no_request_to_go() -> None:
    table = EngineTable("t")
    assert table.remove_network("scabcdef9") == []
    assert table.remove_forwards([forward()]) == []


def test_no_address_and_all_addresses_are_the_same_port() -> None:
    table = EngineTable("t")
    table.add_forwards([forward(host_ip="0.0.0.0"), forward(host_ip="127.0.0.1")])
    table.remove_forwards([forward(host_ip="")])
    assert [f.host_ip for f in table.forwards.values()] == ["127.0.0.1"]


def test_what_the_keeper_hands_on_is_shut_for_who_is_shut_in_while_any_address_has_it() -> None:
    """Only beside IPv6 networks: nobody else could ask."""
    one, two = forward(host_ip="::"), forward(host_ip="fd00::1")
    table = EngineTable("t")
    assert table.add_forwards([one]) == []
    six = NetworkWalls(bridge="scabcdef9", subnets=("10.0.8.0/22", "fd01::/64"), internal=True)
    assert "relayed" in sets(table.add_network(six))
    assert sets(table.add_forwards([two])) == {"relayed"}
    assert table.remove_forwards([one]) == []
    assert sets(table.remove_forwards([two])) == {"relayed"}


def test_an_internal_network_is_guarded_and_never_masqueraded() -> None:
    table = EngineTable("t")
    inside = sets(table.add_network(walls(internal=True)))
    plain = sets(table.add_network(walls(1)))
    assert inside == {"local", "subnets", "guarded"}
    assert plain == {"local", "subnets", "guarded", "outgoing"}


def test_many_elements_go_into_messages_that_an_attribute_can_hold() -> None:
    table = EngineTable("t")
    requests = table.add_forwards([forward(port) for port in range(1, 5001)])
    assert len(requests) > 1
    assert all(len(r.body) < 65536 for r in requests)
