"""kill -9 of daemon, shim and both, while a stack runs and in the middle of `up`.

One invariant throughout: afterwards `up -d` converges, and after `down -v`
nothing is left. What the daemon's death alone must not touch: containers,
published ports, names.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from support.engine import Engine
from support.stack import Stack, assert_nothing_of_a_stack, fetch, free_port
from support.waiting import wait_until

pytestmark = pytest.mark.needs("root", "netns", "userns", "overlay", "cgroup", "nft", "bridge")

VICTIMS: dict[str, Callable[[Engine], list[int]]] = {
    "daemon": Engine.daemon_pids,
    "shim": Engine.shim_pids,
    "both": lambda engine: engine.daemon_pids() + engine.shim_pids(),
}

#: Three services in a chain, each ready a moment after it started: `up` has a middle.
CHAIN = """\
services:
  a: &service
    image: stackctl/host
    command: sh -c 'sleep 0.3; touch /tmp/ready; exec sleep infinity'
    init: true
    stop_grace_period: 1s
    healthcheck: {test: [CMD, test, -e, /tmp/ready], interval: 200ms, retries: 50}
  b:
    <<: *service
    depends_on: {a: {condition: service_healthy}}
  c:
    <<: *service
    depends_on: {b: {condition: service_healthy}}
    ports: ["${PORT}:80"]
"""


@pytest.fixture
def chain(stack: Stack) -> Stack:
    stack.write(CHAIN)
    stack.env["PORT"] = str(free_port())
    return stack


def assert_up_and_down(stack: Stack) -> None:
    stack.up()
    assert stack.states() == {f"app-{name}-1": "running" for name in "abc"}
    assert len(stack.engine.daemon_pids()) == 1
    # One whose daemon was killed before it had said anything leaves by itself after a while.
    wait_until(lambda: len(stack.engine.shim_pids()) == 1, 20, what="one shim is left")
    stack.down()
    assert_nothing_of_a_stack(stack.engine)


@pytest.mark.parametrize("victim", VICTIMS)
def test_killed_while_a_stack_runs(chain: Stack, victim: str) -> None:
    chain.up()
    pids = VICTIMS[victim](chain.engine)
    assert pids
    chain.engine.kill(pids)
    assert_up_and_down(chain)


@pytest.mark.parametrize("victim", VICTIMS)
@pytest.mark.parametrize("containers", [1, 2, 3])
def test_killed_half_way_through_up(chain: Stack, victim: str, containers: int) -> None:
    engine = chain.engine
    sleepers = "sh -c sleep 0.3"
    with chain.start("up", "-d", "--wait"):
        wait_until(
            lambda: (
                sum(sleepers in p.command for p in engine.container_processes()) >= 1
                and len({*engine.census().links}) >= containers
                and VICTIMS[victim](engine)
            ),
            20,
            what="up to be half way",
        )
        engine.kill(VICTIMS[victim](engine))
    if victim == "shim":
        # An `up` that finds one running which has just lost its supervisor tells how it ended.
        wait_until(lambda: "running" not in chain.states().values(), 20, what="the end is known")
    assert_up_and_down(chain)


def test_containers_ports_and_names_outlive_the_daemon(example: Callable[..., Stack]) -> None:
    port = free_port()
    gateway = example("gateway", GATEWAY_PORT=str(port))
    gateway.up()
    engine = gateway.engine
    before = gateway.ids()
    running = {p.pid for p in engine.container_processes()}
    engine.kill(engine.daemon_pids())
    # The page needs the port's forwarding, the gateway, the name `stock`, and the stock.
    for _ in range(5):
        assert fetch(f"http://127.0.0.1:{port}/")[0] == 200
    assert running == {p.pid for p in engine.container_processes()}
    # The next command starts another daemon, and that one knows them all again.
    assert gateway.ids() == before
    gateway.run("plan").expect(0)
    assert "3 books" in gateway.ok("logs", "reader").out
    gateway.down()
    assert_nothing_of_a_stack(engine)


@pytest.mark.parametrize("restart", ["no", "always"])
def test_ports_of_a_container_that_ended_unseen_are_published_again(
    stack: Stack, restart: str
) -> None:
    port = free_port()
    stack.write(
        f"services:\n  web: {{image: stackctl/host, init: true, restart: '{restart}',"
        f" command: python3 -m http.server 80 -d /srv, ports: ['{port}:80']}}\n"
    )
    stack.ok("up", "-d")
    engine = stack.engine
    engine.kill(engine.daemon_pids() + engine.shim_pids())
    wait_until(lambda: not engine.container_processes(), 10, what="the container ended")
    stack.ok("up", "-d")

    def is_served() -> bool:
        try:
            return fetch(f"http://127.0.0.1:{port}/")[0] == 200
        except OSError:
            return False

    wait_until(is_served, 20, what="the page is served")
    stack.down()


def test_an_exit_that_nobody_saw_is_told_by_the_next_daemon(stack: Stack) -> None:
    stack.write(
        "services:\n  job: {image: stackctl/host,"
        " command: \"sh -c 'while ! test -e /srv/app/go; do sleep 0.05; done; exit 5'\","
        " volumes: ['.:/srv/app']}\n"
    )
    stack.ok("up", "-d")
    engine = stack.engine
    engine.kill(engine.daemon_pids())
    (stack.directory / "go").touch()
    wait_until(lambda: not engine.container_processes(), 10, what="the job ended")
    [row] = stack.rows("-a")
    assert (row["State"], row["ExitCode"]) == ("exited", 5)
    stack.down()


def test_killing_all_daemons_again_and_again_leaves_no_rubbish(chain: Stack) -> None:
    for _ in range(3):
        chain.up()
        chain.engine.kill(chain.engine.daemon_pids())
    assert len(chain.engine.keeper_pids()) <= 1
    assert_up_and_down(chain)
