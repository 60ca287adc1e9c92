"""Two stacks in one engine, and two engines on one machine, do not disturb each other."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from support.engine import Engine
from support.stack import EXAMPLES, Stack, assert_nothing_of_a_stack, fetch, free_port

pytestmark = pytest.mark.needs("root", "netns", "userns", "overlay", "cgroup", "nft", "bridge")


def gateway_of(engine: Engine, directory: Path, *options: str) -> Stack:
    shutil.copytree(EXAMPLES / "gateway", directory)
    return Stack(engine, directory, {"GATEWAY_PORT": str(free_port())}, options)


def page(stack: Stack) -> int:
    return fetch(f"http://127.0.0.1:{stack.env['GATEWAY_PORT']}/")[0]


def test_two_stacks_of_one_file(engine: Engine, tmp_path: Path) -> None:
    one = gateway_of(engine, tmp_path / "one", "-p", "one")
    two = gateway_of(engine, tmp_path / "two", "-p", "two")
    with one.start("up", "-d", "--wait") as first, two.start("up", "-d", "--wait") as second:
        assert (first.wait(60), second.wait(60)) == (0, 0)
    assert (page(one), page(two)) == (200, 200)
    assert {name.split("-")[0] for name in one.states()} == {"one"}
    # The same name in two stacks is two services: each resolves its own.
    address = "import socket; print(socket.gethostbyname('stock'))"
    seen = [s.ok("exec", "-T", "gateway", "python3", "-c", address).out.strip() for s in (one, two)]
    assert seen[0] != seen[1]
    listed = engine.ok("ls").out
    assert "one" in listed and "two" in listed
    one.down()
    assert page(two) == 200
    assert len([s for s in two.states().values() if s == "running"]) == 3
    two.down()
    assert_nothing_of_a_stack(engine)


def test_two_engines(engines: Callable[[], Engine], tmp_path: Path) -> None:
    first, second = engines(), engines()
    one = gateway_of(first, tmp_path / "one")
    two = gateway_of(second, tmp_path / "two")
    one.up()
    two.up()
    assert first.daemon_pids() != second.daemon_pids()
    assert (page(one), page(two)) == (200, 200)
    assert one.ids().keys() == two.ids().keys()
    assert not set(one.ids().values()) & set(two.ids().values())
    one.down()
    first.leave()
    assert not first.census().kernel
    assert page(two) == 200
    two.run("plan").expect(0)
    two.down()


def test_a_port_of_the_other_engine_is_busy(engines: Callable[[], Engine], tmp_path: Path) -> None:
    one = gateway_of(engines(), tmp_path / "one")
    two = gateway_of(engines(), tmp_path / "two")
    two.env = one.env
    one.up()
    result = two.run("up", "-d").expect(1)
    assert one.env["GATEWAY_PORT"] in result.err
    assert page(one) == 200
    two.down()
    one.down()
