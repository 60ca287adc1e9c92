"""Each example stack, as its README has it: up, reachable, used, down, nothing left."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable

import pytest

from support.stack import Stack, assert_nothing_of_a_stack, fetch, free_port, host_address
from support.waiting import wait_until

pytestmark = [
    pytest.mark.needs("root", "netns", "userns", "overlay", "cgroup", "nft", "bridge"),
    pytest.mark.on_disk,  # as people have it
]


def test_tiny_serves_its_page_on_every_address_of_the_host(
    example: Callable[..., Stack],
) -> None:
    port = free_port()
    tiny = example("tiny", TINY_PORT=str(port))
    tiny.up()
    for address in ("127.0.0.1", "127.0.0.5", "localhost", host_address()):
        status, page = fetch(f"http://{address}:{port}/")
        assert (status, "It works" in page) == (200, True), address
    assert tiny.states() == {"tiny-web-1": "running"}
    assert tiny.ok("port", "web", "8000").out.strip().endswith(f":{port}")
    assert '"GET / HTTP/1.1" 200' in tiny.ok("logs", "web").text
    tiny.down()
    with pytest.raises(OSError):
        fetch(f"http://127.0.0.1:{port}/", timeout=2)
    assert_nothing_of_a_stack(tiny.engine)


def test_tiny_stops_at_once_because_its_init_forwards_the_signal(
    example: Callable[..., Stack],
) -> None:
    tiny = example("tiny", TINY_PORT=str(free_port()))
    tiny.up()
    # Without a forwarded signal the grace period of 10 s would pass.
    assert tiny.ok("down").elapsed < 8


def test_a_second_up_has_nothing_to_do_and_plan_agrees(example: Callable[..., Stack]) -> None:
    tiny = example("tiny", TINY_PORT=str(free_port()))
    assert tiny.run("plan").expect(2).out.strip()
    tiny.up()
    before = tiny.ids()
    tiny.run("plan").expect(0)
    tiny.up()
    assert tiny.ids() == before
    tiny.run("plan", env={"TINY_PORT": str(free_port())}).expect(2)
    assert tiny.ids() == before, "plan must change nothing"
    tiny.down()


def test_a_changed_service_is_recreated_and_others_are_kept(
    example: Callable[..., Stack],
) -> None:
    gateway = example("gateway", GATEWAY_PORT=str(free_port()))
    gateway.up()
    before = gateway.ids()
    port = free_port()
    gateway.up(env={"GATEWAY_PORT": str(port)})
    after = gateway.ids()
    assert after["gateway-gateway-1"] != before["gateway-gateway-1"]
    assert {n for n in after if after[n] == before.get(n)} >= {"gateway-stock-1", "gateway-load-1"}
    assert fetch(f"http://127.0.0.1:{port}/")[0] == 200
    gateway.down()


def test_only_the_gateway_sees_both_networks(example: Callable[..., Stack]) -> None:
    port = free_port()
    gateway = example("gateway", GATEWAY_PORT=str(port))
    gateway.up()
    status, page = fetch(f"http://{host_address()}:{port}/")
    assert (status, "3 books" in page) == (200, True)
    states = gateway.states()
    assert states.pop("gateway-load-1") == "exited"
    assert set(states.values()) == {"running"}
    logs = gateway.ok("logs", "reader").out
    assert "3 books through the gateway" in logs and "no way to the stock" in logs

    look_up = "import socket, sys; print(socket.gethostbyname(sys.argv[1]))"
    gateway.ok("exec", "-T", "reader", "python3", "-c", look_up, "gateway")
    assert gateway.run("exec", "-T", "reader", "python3", "-c", look_up, "stock").code == 1
    stock = gateway.ok("exec", "-T", "gateway", "python3", "-c", look_up, "stock").out.strip()
    connect = "import socket, sys; socket.create_connection((sys.argv[1], 8000), 2)"
    gateway.ok("exec", "-T", "gateway", "python3", "-c", connect, stock)
    by_address = gateway.run("exec", "-T", "reader", "python3", "-c", connect, stock)
    assert by_address.code == 1, "the reader reached the stock by its address"
    gateway.down()
    assert_nothing_of_a_stack(gateway.engine)


def test_a_volume_outlives_down_and_goes_with_down_v(example: Callable[..., Stack]) -> None:
    gateway = example("gateway", GATEWAY_PORT=str(free_port()))
    gateway.up()
    gateway.ok("down", "-t", "2")
    data = gateway.engine.paths.volume("gateway_books")
    connection = sqlite3.connect(data / "books.db")
    assert connection.execute("select count(*) from books").fetchone() == (3,)
    connection.close()
    gateway.down()
    assert not data.exists()


def test_replicas_take_turns_and_scale(example: Callable[..., Stack]) -> None:
    port = free_port()
    replicas = example("replicas", REPLICAS_PORT=str(port))
    replicas.up()
    answers = {fetch(f"http://127.0.0.1:{port}/")[1] for _ in range(30)}
    assert len(answers) == 3
    replicas.up("--scale", "worker=5")
    addresses = fetch(f"http://127.0.0.1:{port}/workers")[1].split()
    assert len(set(addresses)) == 5
    replicas.up("--scale", "worker=1")
    assert sorted(replicas.states()) == ["replicas-front-1", "replicas-worker-1"]
    assert len({fetch(f"http://127.0.0.1:{port}/")[1] for _ in range(5)}) == 1
    replicas.down()
    assert_nothing_of_a_stack(replicas.engine)


@pytest.mark.needs(
    "program:nginx",
    "program:redis-server",
    "program:curl",
    "postgresql",
    "python:psycopg2",
    "python:redis",
)
def test_the_shop_sells(example: Callable[..., Stack]) -> None:
    port = free_port()
    shop = example("shop", SHOP_PORT=str(port))
    shop.up(limit=120)
    base = f"http://127.0.0.1:{port}"
    status, text = fetch(f"{base}/")
    assert status == 200
    seen = json.loads(text)
    assert [p["name"] for p in seen["products"]] == ["biscuit tin", "kettle", "teapot"]
    assert (seen["orders"], seen["visits"]) == (0, 1)
    assert fetch(f"{base}/orders", b"teapot") == (201, '{"order": 1}')
    assert json.loads(fetch(f"http://{host_address()}:{port}/")[1])["orders"] == 1

    states = shop.states()
    assert states.pop("shop-migrate-1") == "exited"
    assert set(states.values()) == {"running"}
    assert "002-orders.sql applied" in shop.ok("logs", "migrate").out
    assert "order 1 for teapot" in shop.ok("logs", "--no-log-prefix", "app").out
    count = "psql -h /tmp -U shop -Atc 'select count(*) from orders'"
    find = "PATH=$(ls -d /usr/lib/postgresql/*/bin | tail -n 1):$PATH"
    assert shop.ok("exec", "-T", "db", "sh", "-c", f"{find} {count}").out.strip() == "1"

    # The data is the volume's: it outlives the containers.
    shop.ok("down")
    shop.up(limit=120)
    assert json.loads(fetch(f"{base}/")[1])["orders"] == 1
    assert "already" in shop.ok("logs", "migrate").out
    # nginx asks the resolver anew: the application may come back with another address.
    shop.up("--force-recreate", "--no-deps", "app")
    wait_until(lambda: fetch(f"{base}/healthz")[0] == 200, what="nginx found the new application")
    shop.down()
    assert_nothing_of_a_stack(shop.engine)
