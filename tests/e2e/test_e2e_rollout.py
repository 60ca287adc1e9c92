"""pre_start hooks, providers, and updates that start the new container first."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.stack import Stack, assert_nothing_of_a_stack
from support.waiting import wait_until

pytestmark = pytest.mark.needs("root", "netns", "userns", "overlay", "cgroup", "nft", "bridge")

HOOKS = """\
services:
  db:
    image: stackctl/host
    command: python3 -m http.server 80
    init: true
    healthcheck:
      test: "python3 -c 'import socket; socket.create_connection((\\"localhost\\", 80))'"
  web:
    image: stackctl/host
    command: sleep infinity
    init: true
    scale: 2
    depends_on: {db: {condition: service_healthy}}
    volumes: ["data:/data", /anonymous]
    environment: {WHO: web}
    pre_start:
      - command: [sh, -c, "echo $$WHO $$MORE >>/data/log; touch /anonymous/one"]
        environment: {MORE: first}
      - command: [python3, -c, "import socket; socket.create_connection(('db', 80))"]
      - {command: [sh, -c, "echo second >>/data/log; exit $CODE"], user: "0:0"}
volumes: {data: }
"""

PROGRAM = """\
#!/bin/sh
echo "$*" >>"$CLOUD_LOG"
if [ "$2" = metadata ]; then
    test -n "$CLOUD_STOPS" && echo '{"stop": {"parameters": [{"name": "size"}]}}'
    exit
fi
echo '{"type": "info", "message": "preparing"}'
echo '{"type": "debug", "message": "hidden"}'
if [ "$3" = up ]; then
    echo '{"type": "get-service-config"}'
    read -r line && echo "$line" >"$CLOUD_LOG.config"
    echo '{"type": "setenv", "message": "URL=cloud://'"$CLOUD_VERSION"'"}'
    echo '{"type": "rawsetenv", "message": "PLAIN=raw=1"}'
fi
if [ "$CLOUD_VERSION" = broken ]; then
    echo '{"type": "error", "message": "no credit left"}'
fi
"""


def log_of(stack: Stack) -> str:
    return stack.ok("exec", "-T", "web", "cat", "/data/log").out


def test_pre_start_hooks_prepare_a_service_once(stack: Stack) -> None:
    stack.write(HOOKS)
    stack.env["CODE"] = "7"
    failed = stack.run("up", "-d").expect(1)
    assert 'pre_start hook of service "web" exited with code 7' in failed.err
    assert "app-web-pre_start-2" in failed.err  # it stays to be looked at
    assert {r["Service"] for r in stack.rows() if r["State"] == "running"} == {"db"}
    stack.env["CODE"] = "0"
    stack.up()
    assert not [name for name in stack.states() if "pre_start" in name]
    assert log_of(stack) == "web first\nsecond\n" * 2
    # A restart, and an `up` that finds all as it is, prepare nothing.
    stack.ok("restart", "web")
    stack.ok("stop", "web")
    stack.up()
    assert log_of(stack) == "web first\nsecond\n" * 2
    one = [stack.run("exec", "-T", "--index", n, "web", "ls", "/anonymous").out for n in "12"]
    assert one == ["one\n", ""]  # the first replica's own volume
    stack.down()
    assert_nothing_of_a_stack(stack.engine)


def test_a_provider_stands_in_for_containers(stack: Stack, tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "mycloud").write_text(PROGRAM)
    (programs / "mycloud").chmod(0o755)
    stack.write("""\
        services:
          database:
            provider: {type: mycloud, options: {size: 256, zone: [a, b], fast: true}}
          web:
            image: stackctl/host
            command: sh -c 'echo $$DATABASE_URL $$PLAIN; exec sleep infinity'
            init: true
            depends_on: [database]
        """)
    log = tmp_path / "log"
    stack.env |= {
        "CLOUD_LOG": str(log),
        "CLOUD_VERSION": "one",
        "PATH": f"{programs}:{stack.engine.environment['PATH']}",
    }
    stack.up()
    wait_until(lambda: "cloud://one raw=1" in stack.ok("logs", "web").out, 20)
    asked = "compose --project-name=app up --size=256 --zone=a --zone=b --fast=true database"
    assert asked in log.read_text().splitlines()
    assert '"mycloud"' in Path(f"{log}.config").read_text()
    # A one-off gets the same variables.
    lines = stack.ok("run", "--rm", "-T", "web", "env").out.splitlines()
    assert "DATABASE_URL=cloud://one" in lines
    before = stack.ids()
    stack.up()
    assert stack.ids() == before and list(before) == ["app-web-1"]
    stack.env["CLOUD_VERSION"] = "two"
    stack.up()
    assert stack.ids() != before
    stack.env["CLOUD_VERSION"] = "broken"
    assert "no credit left" in stack.run("up", "-d").expect(1).err
    stack.env["CLOUD_VERSION"] = "two"
    # Only a program that says so is asked to stop, after those that depend on it.
    stack.ok("stop")
    assert "stop" not in log.read_text()
    stack.env["CLOUD_STOPS"] = "yes"
    stack.ok("stop")
    assert log.read_text().splitlines()[-1] == "compose --project-name=app stop --size=256 database"
    stack.env["CLOUD_STOPS"] = ""
    (stack.directory / "stack.yaml").rename(tmp_path / "away.yaml")
    # What was provided is taken away although no file says so any more.
    shown = stack.ok("-p", "app", "down").err
    assert "provider database  removed" in shown and "provided" not in shown
    assert log.read_text().splitlines()[-1] == (
        "compose --project-name=app down --size=256 --zone=a --zone=b --fast=true database"
    )
    assert_nothing_of_a_stack(stack.engine)
    (tmp_path / "away.yaml").rename(stack.directory / "stack.yaml")
    stack.env["PATH"] = stack.engine.environment["PATH"]
    assert 'no program "mycloud"' in stack.run("up", "-d").expect(1).err
    # A path is one from where the stack file is, whoever asks from where.
    stack.write("services: {database: {provider: {type: ./mine/cloud}}}")
    assert "/app/mine/cloud is no program" in stack.run("up", "-d").expect(1).err
    programs.rename(stack.directory / "mine")
    (stack.directory / "mine/mycloud").rename(stack.directory / "mine/cloud")
    stack.up()
    stack.ok("-p", "app", "down")
    assert log.read_text().splitlines()[-1] == "compose --project-name=app down database"


def test_start_first_answers_all_the_time(stack: Stack) -> None:
    stack.write("""\
        services:
          web:
            image: stackctl/host
            command: python3 -m http.server 80
            stop_signal: SIGKILL
            environment: {VERSION: "$VERSION"}
            healthcheck:
              test: "python3 -c 'import socket; socket.create_connection((\\"localhost\\", 80))'"
            deploy: {update_config: {order: start-first}}
          client:
            image: stackctl/host
            init: true
            command:
              - python3
              - -c
              - |
                import http.client, os, urllib.request
                count = failures = 0
                while not os.path.exists("/end") and failures < 5:
                    # What was being answered when the old one was killed may be cut off.
                    try:
                        urllib.request.urlopen("http://web", timeout=5).read()
                    except (OSError, http.client.HTTPException) as error:
                        failures += 1
                        print(error)
                        continue
                    count, failures = count + 1, 0
                assert failures < 5
                print("answered", count)
            depends_on: {web: {condition: service_healthy, restart: false}}
        """)
    stack.env["VERSION"] = "1"
    stack.up()
    before = stack.ids()["app-web-1"]
    stack.env["VERSION"] = "2"
    stack.up()
    assert stack.ids()["app-web-1"] != before and len(stack.ids()) == 2
    stack.ok("exec", "-T", "client", "touch", "/end")
    wait_until(lambda: stack.states()["app-client-1"] == "exited", 60)
    assert "answered" in stack.ok("logs", "client").out
    assert stack.rows("-a", "client")[0]["ExitCode"] == 0
    stack.down()
