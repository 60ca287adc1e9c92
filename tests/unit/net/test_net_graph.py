"""The graph of networks, from records alone."""

import xml.etree.ElementTree as xml

from stackctl.model.container import ContainerConfig
from stackctl.model.network import Endpoint, NetworkConfig, PublishedPort
from stackctl.model.record import ContainerRecord, NetworkRecord
from stackctl.net.graph import NetGraph, as_dot, as_svg, as_text, net_graph


def graph(name: str) -> NetGraph:
    network = NetworkRecord(
        id="n", config=NetworkConfig(name=name), created_at=0, subnet4="10.0.0.0/24"
    )
    joined = Endpoint(
        network=name,
        network_id="n",
        container_id="c",
        interface="eth0",
        mac="",
        ipv4="10.0.0.2/24",
        aliases=("www",),
    )
    ports = tuple(
        PublishedPort(
            host_ip=address,
            host_port=8000 + n,
            container_port=80 + n,
            protocol="tcp",
            container_id="c",
            address="10.0.0.2",
        )
        for n in range(3)
        for address in ("0.0.0.0", "::")
    )
    config = ContainerConfig(name="web-1", service="web", image="x", image_id="x", argv=("x",))
    record = ContainerRecord(id="c", config=config, created_at=0, endpoints=(joined,), ports=ports)
    return net_graph([network], [record])


def test_ports_in_a_row_are_one_line() -> None:
    assert as_text(graph("front")).splitlines() == [
        "front  bridge 10.0.0.0/24  leads out as the host",
        "  web-1  10.0.0.2  as web, www  (not running)",
        "  0.0.0.0:8000-8002/tcp -> web-1:80-82",
        "  [::]:8000-8002/tcp -> web-1:80-82",
    ]


def test_names_are_quoted_in_every_form() -> None:
    odd = 'a\\"<b>&'
    assert '"n:a\\\\\\"<b>&" [shape=box' in as_dot(graph(odd))
    assert odd in "".join(xml.fromstring(as_svg(graph(odd))).itertext())
