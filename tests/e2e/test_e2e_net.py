"""Networks through the command line: shared between stacks, connected, shown, lost ports."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from support.engine import Engine
from support.stack import Stack, free_port
from support.waiting import wait_until

pytestmark = pytest.mark.needs("root", "netns", "userns", "overlay", "cgroup", "nft", "bridge")

SHOP = """\
services:
  web:
    image: stackctl/host
    command: sleep infinity
    stop_signal: SIGKILL
    networks: [default, shared]
    links: ["db:database"]
  db:
    image: stackctl/host
    command: sleep infinity
    stop_signal: SIGKILL
    networks: [default]
networks:
  shared: {external: true, name: street}
"""

LIBRARY = """\
services:
  db:
    image: stackctl/host
    command: sleep infinity
    stop_signal: SIGKILL
    networks: {shared: {aliases: [books]}}
  guest: {image: stackctl/host, command: sleep infinity, network_mode: street, stop_signal: KILL}
networks:
  shared: {external: true, name: street}
"""


@pytest.fixture
def shop(stack: Stack) -> Iterator[Stack]:
    stack.ok("net", "create", "street")
    stack.write(SHOP)
    stack.up()
    yield stack
    stack.down()
    stack.ok("net", "rm", "street")


def addresses(stack: Stack, container: str) -> dict[str, str]:
    """Network -> the address that `net inspect` shows."""
    found = {}
    for name in stack.ok("net", "ls", "--format", "{{.Name}}").out.split():
        (shape,) = json.loads(stack.ok("net", "inspect", name).out)
        for member in shape["Containers"].values():
            if member["Name"] == container:
                found[name] = member["IPv4Address"].partition("/")[0]
    return found


def resolved(stack: Stack, service: str, name: str) -> str:
    result = stack.run("exec", "-T", service, "getent", "ahostsv4", name)
    return " ".join(dict.fromkeys(line.split()[0] for line in result.out.splitlines()))


def test_a_shared_network_leaks_no_foreign_container_into_an_own_name(
    shop: Stack, engine: Engine, tmp_path: Path
) -> None:
    other = Stack(engine, tmp_path / "library")
    other.directory.mkdir()
    other.write(LIBRARY)
    other.up()
    mine, theirs = addresses(shop, "app-db-1"), addresses(shop, "library-db-1")
    # Both projects have a "db"; each means its own.
    assert resolved(shop, "web", "db") == mine["app_default"]
    assert resolved(other, "db", "db") == theirs["street"]
    # What only the other one has is found in the network that both are in.
    assert resolved(shop, "web", "books") == theirs["street"]
    assert resolved(shop, "db", "books") == ""
    # network_mode: NAME is in it too.
    assert resolved(other, "guest", "books") == theirs["street"]
    assert shop.run("net", "rm", "street").expect(1).err.count("in use")
    other.down()
    assert resolved(shop, "web", "books") == ""


def own_addresses(stack: Stack, service: str) -> list[str]:
    """What its own name means to a container, by its /etc/hosts."""
    lines = stack.ok("exec", "-T", service, "sh", "-c", 'grep -w "$(hostname)" /etc/hosts').out
    return sorted(line.split()[0] for line in lines.splitlines())


def test_a_running_container_is_connected_and_disconnected(shop: Stack) -> None:
    shop.ok("net", "connect", "--alias", "store", "street", "app-db-1")
    there = addresses(shop, "app-db-1")["street"]
    assert resolved(shop, "web", "store") == there
    assert own_addresses(shop, "db") == sorted(addresses(shop, "app-db-1").values())
    shop.ok("exec", "-T", "db", "test", "-e", "/sys/class/net/eth1")
    # It stays so when the container starts again.
    shop.ok("restart", "-t", "1", "db")
    assert resolved(shop, "web", "store") == there
    assert shop.run("net", "connect", "street", "app-db-1").expect(1).err
    # So does its successor, at the same address, and what it is called elsewhere.
    before = shop.ids()
    shop.write(SHOP.replace("command: sleep infinity", "command: sleep 100000"))
    shop.up()
    assert not set(before.values()) & set(shop.ids().values())
    assert addresses(shop, "app-db-1")["street"] == there
    assert resolved(shop, "web", "store") == there
    linked = resolved(shop, "web", "database").split()
    assert sorted(linked) == sorted(addresses(shop, "app-db-1").values())
    shop.ok("net", "disconnect", "street", "app-db-1")
    further = ("--link", "app-web-1:page", "--link-local-ip", "169.254.8.8", "--driver-opt")
    named = (*further, "com.docker.network.endpoint.ifname=street0")
    shop.ok("net", "connect", *named, "street", "app-db-1")
    shown = shop.ok("exec", "-T", "db", "ip", "-br", "address", "show", "dev", "street0").out
    assert "169.254.8.8/16" in shown
    linked = resolved(shop, "db", "page").split()
    assert sorted(linked) == sorted(addresses(shop, "app-web-1").values())
    bad = shop.run("net", "connect", *further, "x=y", "street", "app-web-1").expect(2)
    assert "no option x for one container" in bad.err
    shop.ok("net", "disconnect", "street", "app-db-1")
    assert resolved(shop, "web", "store") == ""
    assert "street" not in addresses(shop, "app-db-1")
    assert own_addresses(shop, "db") == list(addresses(shop, "app-db-1").values())
    # Who has stopped is in it all the same.
    shop.ok("stop", "db")
    assert "in use by app-" in shop.run("net", "rm", "app_default").expect(1).err
    shop.ok("start", "db")
    assert shop.run("exec", "-T", "db", "test", "-e", "/sys/class/net/eth1").code == 1
    # One of two who are at it at once: who makes it, and who connects or removes it.
    with ThreadPoolExecutor() as at_once:
        codes = [r.code for r in at_once.map(lambda _: shop.run("net", "create", "race"), range(3))]
        assert sorted(codes) == [0, 1, 1]
        joined = at_once.submit(shop.run, "net", "connect", "race", "app-db-1")
        removed = at_once.submit(shop.run, "net", "rm", "race").result()
        assert sorted((joined.result().code, removed.code)) == [0, 1], (joined.result(), removed)
    assert ("race" in addresses(shop, "app-db-1")) is (removed.code == 1)
    if removed.code == 1:
        shop.ok("net", "disconnect", "race", "app-db-1")
        shop.ok("net", "rm", "race")
    # What a container did to its own interfaces stands in nobody's way, and is told.
    pid = shop.ok("container", "inspect", "-f", "{{.State.Pid}}", "app-db-1").out.strip()
    subprocess.run(["nsenter", "-t", pid, "-n", "ip", "link", "set", "eth0", "down"], check=True)
    for verb in ("connect", "disconnect"):
        told = shop.ok("net", verb, "street", "app-db-1").err
        assert "warning: app-db-1: no default route by" in told, verb
    shop.ok("restart", "-t", "0", "db")


def test_the_graph_says_who_reaches_whom(shop: Stack) -> None:
    text = shop.ok("net", "graph").out
    assert "app_default  bridge" in text
    assert "app-web-1" in text
    dot = shop.ok("net", "graph", "--format", "dot").out
    assert '"c:app-web-1" -- "n:street"' in dot
    assert "</svg>" in shop.ok("net", "graph", "app", "--format", "svg").out
    assert shop.run("net", "graph", "--format", "png").code == 2
    assert "no such project: nosuch" in shop.run("net", "graph", "nosuch").expect(1).err
    assert "from its start on" in shop.run("net", "connect", "host", "app-db-1").expect(1).err


def test_networks_are_made_listed_and_pruned(stack: Stack) -> None:
    argv = ("--ipv6", "--subnet", "fd99::/64", "--gateway", "fd99::7", "--label", "a=b", "six")
    stack.ok("net", "create", *argv)
    assert stack.run("net", "create", "six").expect(1).err
    (shape,) = json.loads(stack.ok("net", "inspect", "six").out)
    assert {"Subnet": "fd99::/64", "Gateway": "fd99::7"} in shape["IPAM"]["Config"]
    assert stack.ok("net", "ls", "-q", "--filter", "label=a").out.split() == [shape["Id"][:12]]
    assert stack.ok("net", "ls", "-q", "--filter", "label=c").out == ""
    assert stack.ok("net", "inspect", "-f", "{{.Name}} {{.Driver}}", "six").out == "six bridge\n"
    assert stack.ok("net", "inspect", "-v", "six", "--format", "{{.Name}}").out == "six\n"
    form = "{{.Name}} {{.IPv4}} {{.IPv6}} {{.Internal}} {{.CreatedAt}}"
    created = shape["Created"][:19].replace("T", " ")
    (row,) = stack.ok("net", "ls", "-f", "name=^six$", "--format", form).out.splitlines()
    assert row == f"six true true false {created} +0000 UTC"
    stack.ok("net", "create", "--ipam-driver", "default", "--scope", "local", "five")
    assert stack.ok("net", "rm", "five").out == "five\n"
    for refused in ("--ingress", "--config-only", "--config-from=six", "--ipam-opt=a=b"):
        assert "is not supported: " in stack.run("net", "create", refused, "seven").expect(2).err
    assert "--scope" in stack.run("net", "create", "--scope", "swarm", "seven").expect(2).err
    assert stack.ok("net", "ls", "-q", "-f", "name=^si$").out == ""
    for wanted, count in (("type=custom", 1), ("type=builtin", 0), ("scope=swarm", 0)):
        found = stack.ok("net", "ls", "-q", "--filter", wanted, "-f", "name=six").out
        assert len(found.split()) == count, wanted
    assert stack.ok("net", "rm", "-f", "seven").out == ""
    for name in ("host", "none", "bridge"):
        assert "are there without being made" in stack.run("net", "create", name).expect(2).err
    assert stack.run("net", "inspect", "six", "seven").code == 1
    assert stack.ok("net", "prune", "-f").out.split() == ["six"]
    assert stack.ok("net", "ls", "--format", "json").out == ""
    stack.ok("container", "run", "--rm", "stackctl/host", "true")
    assert "pre-defined" in stack.run("net", "rm", "bridge").expect(1).err
    assert stack.ok("net", "prune", "-f").out == ""


def test_ports_are_published_where_the_caller_wants_them(stack: Stack) -> None:
    port, other = free_port(), free_port()
    stack.write(f"""\
        services:
          web:
            image: stackctl/host
            command: sleep infinity
            stop_signal: SIGKILL
            ports: ["0:80", "0.0.0.0:{port}:81", "{other}-{other}:82"]
        """)

    def places() -> list[str]:
        return [
            stack.ok("port", "web", inside).out.strip().rpartition(":")[0]
            for inside in ("80", "81", "82")
        ]

    careful = {"STACKCTL_PUBLISH_ADDR": "127.0.0.1"}
    # Everywhere, as Compose has it; the engine was started by somebody who said nothing.
    stack.up()
    assert places() == ["0.0.0.0"] * 3
    stack.up(env=careful)
    assert places() == ["127.0.0.1", "0.0.0.0", "127.0.0.1"]
    before = stack.ids()
    stack.up(env=careful)
    assert stack.ids() == before
    bad = stack.run("up", "-d", env={"STACKCTL_PUBLISH_ADDR": "here"}).expect(2)
    assert 'STACKCTL_PUBLISH_ADDR: "here" is not an IP address' in bad.err
    stack.ok("container", "run", "-d", "--name", "one", "-p", "80", "stackctl/host", "sleep", "60",
             env=careful)  # fmt: skip
    assert stack.ok("container", "port", "one", "80").out.startswith("127.0.0.1:")
    stack.ok("container", "rm", "-f", "one")
    stack.down()


def test_a_container_is_recreated_at_its_fixed_address(stack: Stack) -> None:
    text = """\
        services:
          one:
            image: stackctl/host
            command: sleep infinity
            stop_signal: SIGKILL
            environment: {TURN: "TURN"}
            networks: {front: {ipv4_address: 10.213.7.9}}
          two:
            image: stackctl/host
            command: sleep infinity
            stop_signal: SIGKILL
            networks: [front]
        networks:
          front: {ipam: {config: [{subnet: 10.213.6.0/24}, {subnet: 10.213.7.0/24}]}}
        """
    stack.write(text)
    stack.up()
    before = stack.ids()
    stack.write(text.replace('"TURN"', '"2"'))
    stack.up()
    assert stack.ids() != before
    # The second of the network's pools has it; who asks for nothing gets from the first.
    assert addresses(stack, "app-one-1") == {"app_front": "10.213.7.9"}
    assert addresses(stack, "app-two-1")["app_front"].startswith("10.213.6.")
    stack.down()


def test_a_port_that_was_taken_while_nobody_held_it_is_told(stack: Stack) -> None:
    port = free_port()
    stack.write(
        f"""\
        services:
          one:
            image: stackctl/host
            command: sleep infinity
            stop_signal: SIGKILL
            ports: ["127.0.0.1:{port}:80"]
        """
    )
    stack.up()
    # The daemon must not bring a keeper back before the thief has the port.
    stack.engine.kill(stack.engine.daemon_pids())
    stack.engine.kill(stack.engine.keeper_pids())
    wait_until(lambda: can_bind(port), what="the free port")
    thief = socket.create_server(("127.0.0.1", port))
    (row,) = stack.rows()
    assert f"host port {port}/tcp was taken" in row["Status"]
    assert row["Publishers"] == []
    thief.close()
    stack.ok("restart", "-t", "1", "one")
    (row,) = stack.rows()
    assert [p["PublishedPort"] for p in row["Publishers"]] == [port]
    # The next daemon, too, knows by name who has it.
    stack.engine.kill(stack.engine.daemon_pids())
    place = f"127.0.0.1:{port}:80"
    busy = stack.run("container", "run", "--rm", "-p", place, "stackctl/host", "true")
    assert f"{port}/tcp is held by container app-one-1 of project app" in busy.expect(125).err
    stack.down()


def can_bind(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def test_a_stack_with_ipv6_options_and_the_hosts_network(stack: Stack) -> None:
    stack.write(
        """\
        services:
          one:
            image: stackctl/host
            command: sleep infinity
            stop_signal: SIGKILL
            networks: {front: {ipv6_address: "fd44::9", link_local_ips: [169.254.7.7]}}
            dns_search: [example.test]
          two:
            image: stackctl/host
            command: sleep infinity
            stop_signal: SIGKILL
            networks: [front]
            links: ["one:uno"]
            extra_hosts: ["gate:host-gateway"]
          three:
            image: stackctl/host
            command: sleep infinity
            stop_signal: SIGKILL
            networks: [outside]
        networks:
          front:
            enable_ipv6: true
            driver_opts: {com.docker.network.bridge.name: br-e2enet6}
            ipam: {config: [{subnet: "fd44::/64"}, {subnet: 10.214.7.0/24}]}
          outside: {external: true, name: host}
        """
    )
    stack.up()
    for name in ("one", "uno"):
        out = stack.ok("exec", "-T", "two", "getent", "ahostsv6", name).out
        assert out.startswith("fd44::9 ")
    assert "10.214.7.1\tgate" in stack.ok("exec", "-T", "two", "cat", "/etc/hosts").out
    assert "search example.test" in stack.ok("exec", "-T", "one", "cat", "/etc/resolv.conf").out
    stack.ok("exec", "-T", "three", "test", "-e", "/sys/class/net/br-e2enet6")
    assert " 169.254.7.7/16 " in stack.ok("exec", "-T", "one", "ip", "-br", "address").out
    # On the machine's network it is called as the machine is, and knows whom it knows.
    called = stack.ok("exec", "-T", "three", "sh", "-c", "hostname; cat /etc/hosts").out
    assert called.strip() == f"{socket.gethostname()}\n{Path('/etc/hosts').read_text()}".strip()
    listed = json.loads(stack.ok("net", "ls", "--format", "json", "--no-trunc").out)
    assert (listed["Name"], listed["Driver"], len(listed["ID"])) == ("app_front", "bridge", 64)
    assert "com.docker.compose.network=front" in listed["Labels"].split(",")
    stack.down()
