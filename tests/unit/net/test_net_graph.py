"""The graph of networks, from records alone."""

import xml.etree.ElementTree as xml

from stackctl.model.container import ContainerConfig, Status
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


def test_who_shares_a_network_and_who_has_none_of_ours() -> None:
    whole = graph("front")
    network = NetworkRecord(
        id="n", config=NetworkConfig(name="front"), created_at=0, subnet4="10.0.0.0/24"
    )
    joined = Endpoint(
        network="front",
        network_id="n",
        container_id="c",
        interface="eth0",
        mac="",
        ipv4="10.0.0.2/24",
    )

    def made(name: str, mode: str, project: str = "app", **more: object) -> ContainerRecord:
        config = ContainerConfig(
            name=f"{name}-1",
            service=name,
            project=project,
            image="x",
            image_id="x",
            argv=("x",),
            network_mode=mode,
        )
        status = Status.RUNNING
        return ContainerRecord(id=name * 64, config=config, created_at=0, status=status, **more)  # type: ignore[arg-type]

    records = [
        made("a", "", endpoints=(joined,)),
        made("b", "service:a"),
        made("c", "container:a-1"),
        made("d", "host"),
        made("e", "container:" + "d" * 64),
        made("f", "none"),
        made("g", "host", project="other"),
    ]
    found = net_graph([network], records, "app")
    assert as_text(found).splitlines() == [
        "front  bridge 10.0.0.0/24  leads out as the host",
        "  a-1  10.0.0.2  as a",
        "  b-1  10.0.0.2  has the network of a-1",
        "  c-1  10.0.0.2  has the network of a-1",
        "host  host   leads out as the host",
        "  d-1",
        "  e-1",
        "none  none   internal: no way out, its containers do not reach each other",
        "  f-1",
    ]
    assert ("a-1", "b-1", "front") in found.reach() and ("d-1", "e-1", "host") in found.reach()
    assert not any("f-1" in pair for pair in found.reach())
    assert "g-1" in as_text(net_graph([network], records))
    assert "d-1" not in as_text(whole)
    assert '"c:d-1" -- "n:host"' in as_dot(found) and "d-1" in as_svg(found)


def test_names_are_quoted_in_every_form() -> None:
    odd = 'a\\"<b>&'
    assert '"n:a\\\\\\"<b>&" [shape=box' in as_dot(graph(odd))
    assert odd in "".join(xml.fromstring(as_svg(graph(odd))).itertext())
