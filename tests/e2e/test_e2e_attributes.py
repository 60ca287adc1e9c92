"""Attributes of a stack file, seen from inside the containers that they shape."""

from __future__ import annotations

import json
import os
import signal
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from stackctl.model.sockets import DOCKER_SOCKETS
from support.stack import Stack
from support.waiting import wait_until

pytestmark = pytest.mark.needs("root", "netns", "userns", "overlay", "cgroup", "nft", "bridge")

FILES = """\
services:
  web:
    image: stackctl/host
    command: sleep infinity
    init: true
    read_only: true
    secrets:
      - plain
      - {source: plain, target: owned, uid: "1234", gid: "5678", mode: 0440}
      - {source: token, target: /etc/token, mode: 0400, uid: "7"}
    configs:
      - {source: text, target: /etc/app.conf}
      - text
  friend:
    image: stackctl/host
    command: sleep infinity
    init: true
    volumes: [data:/data, /anonymous]
    use_api_socket: true
  reader:
    image: stackctl/host
    command: sleep infinity
    init: true
    volumes_from: ["friend:ro"]
    volumes: ["${SOCKET}:/docker.sock:ro"]
secrets:
  plain: {file: plain.txt}
  token: {environment: TOKEN}
configs:
  text: {content: "port=${PORT:-80}\\n"}
volumes: {data: }
"""


def held(pid: int, path: Path) -> int:
    """How many descriptors of the file a process has."""
    count = 0
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            count += link.readlink() == path
    return count


def inside(stack: Stack, service: str, script: str) -> str:
    return stack.ok("exec", "-T", service, "sh", "-c", script).out.strip()


def steps(stack: Stack) -> list[dict[str, Any]]:
    plan = stack.run("plan", "--json")
    assert plan.code in (0, 2), plan.err
    return list(json.loads(plan.out)["steps"])


def test_secrets_configs_and_volumes_of_others(stack: Stack) -> None:
    stack.write(FILES)
    (stack.directory / "plain.txt").write_text("hidden\n")
    stack.env["TOKEN"] = "t0ken"
    # Docker's name for the engine's socket, where no Docker has it.
    docker = Path(DOCKER_SOCKETS[0])
    stack.env["SOCKET"] = str(stack.engine.paths.socket if docker.exists() else docker)
    assert "no Docker is at /var/run" in stack.up().err or docker.exists()
    look = "cat {0}; stat -c '%u %g %a' {0}"
    assert inside(stack, "web", "cat /run/secrets/plain") == "hidden"
    assert inside(stack, "web", look.format("/run/secrets/owned")) == "hidden\n1234 5678 440"
    assert inside(stack, "web", look.format("/etc/token")) == "t0ken7 0 400"
    assert inside(stack, "web", look.format("/etc/app.conf")) == "port=80\n0 0 444"
    assert inside(stack, "web", "cat /text") == "port=80"
    # Nobody's to write, root's neither.
    assert stack.run("exec", "-T", "web", "sh", "-c", "echo x > /run/secrets/owned").code != 0
    # A file that has gone is told, with its place, before the old container has.
    (stack.directory / "plain.txt").rename(stack.directory / "gone.txt")
    stack.env["TOKEN"] = "another"
    failed = stack.run("up", "-d").expect(1)
    assert "/stack.yaml:" in failed.err
    assert 'plain.txt of secret "plain" does not exist' in failed.err
    assert "correct secrets.plain.file" in failed.err
    assert stack.states()["app-web-1"] == "running"
    (stack.directory / "gone.txt").rename(stack.directory / "plain.txt")
    stack.env["TOKEN"] = "t0ken"
    # Mounts of another service, read-only, its anonymous volume too.
    inside(stack, "friend", "echo a > /data/f; echo b > /anonymous/f")
    assert inside(stack, "reader", "cat /data/f /anonymous/f") == "a\nb"
    assert stack.run("exec", "-T", "reader", "touch", "/data/g").code != 0
    # Root inside, nobody outside: the mount is what lets them in.
    ask = "curl -s --unix-socket {} http://d/containers/json | grep -o app-web-1 | sort -u"
    for service, socket in (("friend", DOCKER_SOCKETS[0]), ("reader", "/docker.sock")):
        assert inside(stack, service, ask.format(socket)) == "app-web-1"
    assert not docker.is_dir()
    # Another engine listens on another socket: who has the former one gets it.
    stack.engine.leave()
    for service, socket in (("friend", DOCKER_SOCKETS[0]), ("reader", "/docker.sock")):
        again = partial(inside, stack, service, ask.format(socket))
        wait_until(lambda again=again: again() == "app-web-1", 20, what="the new socket inside")
    # An owner with a new one: its readers follow.
    stack.ok("up", "-d", "--force-recreate", "-V", "friend")
    assert {step["service"] for step in steps(stack)} == {"reader"}
    stack.up()
    inside(stack, "friend", "echo c > /anonymous/f")
    assert inside(stack, "reader", "cat /data/f /anonymous/f") == "a\nc"
    stack.ok("up", "-d", "--force-recreate", "-V", "friend", "reader")
    inside(stack, "friend", "echo d > /anonymous/f")
    assert inside(stack, "reader", "cat /data/f /anonymous/f") == "a\nd"
    # Nothing changed: nothing to do; another value of the variable: only who uses it.
    assert steps(stack) == []
    stack.env["TOKEN"] = "other"
    assert {step["service"] for step in steps(stack)} == {"web"}
    stack.up()
    assert inside(stack, "web", "cat /etc/token") == "other"
    # No record holds a secret's text.
    assert b"t0ken" not in (stack.engine.paths.root / "state.db").read_bytes()
    stack.down()


def test_a_job_is_run_again_for_changed_files_alone(stack: Stack) -> None:
    stack.write(
        """\
services:
  migrate:
    image: stackctl/host
    command: sh -c 'cat /steps/* >> /out/done'
    volumes: ["./steps:/steps:ro", ./out:/out]
  web:
    image: stackctl/host
    command: sleep infinity
    init: true
    depends_on: {migrate: {condition: service_completed_successfully}}
"""
    )
    done = stack.directory / "out/done"
    for directory in ("steps", "out"):
        (stack.directory / directory).mkdir()
    (stack.directory / "out").chmod(0o777)
    (stack.directory / "steps/1").write_text("1")
    stack.up()
    # What the job itself has written is no change.
    assert steps(stack) == []
    assert "ended with 0 and is unchanged: not run again" in stack.ok("up", "-d").err
    (stack.directory / "steps/2").write_text("2")
    stack.up()
    assert done.read_text() == "112"
    assert steps(stack) == []
    stack.down()


def test_hooks_run_inside_and_failures_are_told(stack: Stack) -> None:
    stack.write(
        """\
services:
  web:
    image: stackctl/host
    command: sleep infinity
    init: true
    volumes: [./out:/out]
    environment: {GREETING: hello}
    post_start:
      - command: [sh, -c, 'echo $$GREETING $$MORE $$(id -u) $$(pwd) > /out/started; echo begun']
        user: "12:13"
        working_dir: /usr
        environment: [MORE=more]
    pre_stop:
      - command: sh -c 'echo bye > /out/stopping; echo out; printf err >&2'
  brief: {image: stackctl/host, command: "true", depends_on: [web]}
"""
    )
    (stack.directory / "out").mkdir()
    (stack.directory / "out").chmod(0o777)
    # What they write is shown to who is attached.
    attached = stack.ok("up", "--abort-on-container-exit")
    said = [line.partition("| ")[2] for line in attached.out.splitlines()]
    assert said == ["begun", "out"] and "| err" in attached.err
    assert (stack.directory / "out/started").read_text() == "hello more 12 /usr\n"
    stack.down()
    assert (stack.directory / "out/stopping").read_text() == "bye\n"
    stack.write(
        """\
services:
  web:
    image: stackctl/host
    command: sleep infinity
    init: true
    stop_grace_period: 0s
    volumes: [./out:/out]
    post_start: [{command: [sh, -c, "echo no such luck; exit 3"]}]
    pre_stop:
      # Longer than the grace period, which begins when they have ended.
      - command: sh -c 'while ! test -e /out/go; do sleep 0.01; done; echo drained > /out/stopping'
      - command: sh -c 'echo nobody to tell; exit 5'
"""
    )
    failed = stack.run("up", "-d")
    assert failed.code == 1
    assert "post_start hook" in failed.err and "ended with code 3" in failed.err
    assert "no such luck" in failed.err
    with stack.start("stop", "-t", "0") as stopping:
        (stack.directory / "out/go").touch()
        # All is stopped, and that it is not as it should be is told by the exit code.
        assert stopping.wait(20) == 1
        error = stopping.stdout.read()
    assert "error: pre_stop hook" in error and "ended with code 5" in error
    assert "nobody to tell" in error and "web-1" in error
    assert (stack.directory / "out/stopping").read_text() == "drained\n"
    assert set(stack.states().values()) == {"exited"}
    stack.down()
    stack.write(
        """\
services:
  web:
    image: stackctl/host
    command: sleep ${FOR-infinity}
    init: true
    pre_stop: [{command: nowhere}]
  brief: {image: stackctl/host, command: "true", depends_on: [web]}
"""
    )
    reason = 'pre_stop hook of service "web": cannot execute nowhere'
    stack.up()
    # Of `up` the end of an old container is no task.
    again = stack.run("up", "-d", env={"FOR": "1000"})
    assert again.code == 0 and f"warning: {reason}" in again.err
    attached = stack.run("up", "--abort-on-container-exit", env={"FOR": "1000"})
    assert attached.code == 1 and f"error: {reason}" in attached.err
    assert "web-1 exited with" in attached.err
    stack.up()
    ended = stack.run("down")
    assert ended.code == 1 and f"error: {reason}" in ended.err
    assert stack.states() == {} and "network default  removed" in ended.err


def test_limits_names_and_rights_reach_the_process(stack: Stack) -> None:
    stack.write(
        """\
services:
  web:
    image: stackctl/host
    command: sleep infinity
    init: true
    hostname: web1
    domainname: example.test
    extra_hosts: ["other=10.9.8.7", "six=::1"]
    dns: [192.0.2.1]
    dns_search: [corp.test]
    dns_opt: ["ndots:3"]
    ulimits: {nofile: {soft: 100, hard: 200}, core: 0}
    sysctls: {net.core.somaxconn: 77}
    group_add: ["4242"]
    oom_score_adj: 321
    cap_drop: [ALL]
    security_opt: ["no-new-privileges:true"]
    shm_size: 2m
    tmpfs: ["/scratch:size=1m,mode=1700"]
    devices: ["/dev/null:/dev/nothing"]
    logging: {driver: json-file, options: {max-size: 1m, max-file: "2"}}
"""
    )
    stack.up()
    found = inside(
        stack,
        "web",
        "ulimit -Sn; ulimit -Hn; ulimit -c; cat /proc/sys/net/core/somaxconn; id -G;"
        "cat /proc/1/oom_score_adj; grep -E '^(NoNewPrivs|CapBnd)' /proc/self/status;"
        "stat -fc %b:%S /dev/shm; stat -c %a /scratch; stat -c %F /dev/nothing",
    ).split("\n")
    assert found[:6] == ["100", "200", "0", "77", "0 4242", "321"]
    assert found[6].split() == ["CapBnd:", "0000000000000000"]
    assert found[7].split() == ["NoNewPrivs:", "1"]
    blocks, size = found[8].split(":")
    assert int(blocks) * int(size) == 2 * 1024 * 1024
    assert found[9:] == ["1700", "character special file"]
    hosts = inside(stack, "web", "cat /etc/hosts")
    assert "10.9.8.7\tother" in hosts and "::1\tsix" in hosts
    assert "web1.example.test" in hosts
    resolver = inside(stack, "web", "cat /etc/resolv.conf")
    assert "search corp.test" in resolver and "ndots:3" in resolver
    stack.down()


def test_namespaces_of_another_service(stack: Stack) -> None:
    stack.write(
        """\
services:
  web: {image: stackctl/host, command: sleep infinity, init: true}
  beside:
    image: stackctl/host
    command: sleep infinity
    init: true
    network_mode: "service:web"
    pid: "service:web"
    ipc: "service:web"
"""
    )
    stack.up()
    look = "for n in net pid ipc mnt; do readlink /proc/self/ns/$n; done"
    one, other = (inside(stack, name, look).split("\n") for name in ("web", "beside"))
    assert one[:3] == other[:3]
    assert one[3] != other[3]
    # Who shares a network shares what it is called there, too.
    called = "cat /etc/hostname /etc/hosts; hostname; hostname -f"
    assert inside(stack, "web", called) == inside(stack, "beside", called)
    stack.down()


#: A container that does nothing.
IDLE = ("stackctl/host", "sleep", "infinity")

SMALL = """\
services:
  web: {image: stackctl/host, command: sleep infinity, init: true, volumes: ["data:/d"]}
volumes: {data: }
"""


def test_a_saved_plan_is_carried_out_or_refused(stack: Stack) -> None:
    stack.write(SMALL)
    assert stack.run("plan", "--out", "plan.json").code == 2
    stack.ok("up", "-d", "--plan", "plan.json")
    # It has been done: what there would be to do now is something else.
    again = stack.run("up", "-d", "--plan", "plan.json")
    assert again.code == 1 and "has changed since the plan was made" in again.err
    assert stack.ids().keys() == {"app-web-1"}
    # What a build comes to is part of it, and what is built is not what was seen any more.
    built = SMALL.replace("image: stackctl/host", 'build: {dockerfile_inline: "%s"}')
    stack.write(built % "FROM stackctl/host\\nENV A=1")
    stack.ok("up", "-d")
    stack.write(built % "FROM stackctl/host\\nENV A=2")
    assert stack.run("plan", "--build", "--out", "plan.json").code == 2
    stack.ok("up", "-d", "--plan", "plan.json")
    assert inside(stack, "web", "echo $A") == "2" and steps(stack) == []
    assert stack.run("plan", "--build", "--out", "plan.json").code == 2
    stack.write(built % "FROM stackctl/host\\nENV A=3")
    refused = stack.run("up", "-d", "--plan", "plan.json")
    assert refused.code == 1 and "has changed since the plan was made" in refused.err
    stack.write(SMALL)
    stack.up()
    # What differs is named; what is only written out is no difference.
    stack.write(SMALL.replace("init: true", 'init: true, restart: "no", read_only: false'))
    assert "nothing to do" in stack.run("plan").expect(0).out
    changed = "init: true, mem_limit: 64m, environment: {A: '1', TOKEN: s3cret}"
    stack.write(SMALL.replace("init: true", changed))
    plan = stack.run("plan").expect(2).out
    assert 'configuration changed: environment.A added: "1"; environment.TOKEN added; ' in plan
    assert "also      mem_limit added: 64m" in plan
    assert "s3cret" not in plan + json.dumps(steps(stack))
    # A container of nobody's, by a name that only the service has for it.
    stack.write(SMALL.replace("init: true", "init: true, external_links: ['alone:other']"))
    missing = stack.run("up", "-d").expect(1)
    assert 'service "web" links to container "alone", which does not exist' in missing.err
    stack.ok("container", "run", "-d", "--name", "alone", "--network", "app_default", *IDLE)
    stack.up()
    address = "{{.NetworkSettings.Networks.app_default.IPAddress}}"
    found = stack.ok("container", "inspect", "--format", address, "alone").out.strip()
    assert inside(stack, "web", "getent hosts other").split()[0] == found
    stack.ok("container", "rm", "-f", "alone")
    # A keeper of secrets makes .env a pipe, and asks its user before it writes: that is told.
    pipe = stack.directory / ".env"
    os.mkfifo(pipe)
    [daemon] = stack.engine.daemon_pids()
    with stack.start("up") as gives_up, stack.start("config", "--environment") as waits:
        for process in (gives_up, waits):
            assert f"{pipe} is a pipe: waiting" in process.stdout.readline()
        gives_up.send_signal(signal.SIGINT)
        assert gives_up.wait(20) == 130
        # The engine waits for those alone who still wait for it.
        wait_until(lambda: held(daemon, pipe) == 1, 20, what="one reader to leave")
        pipe.write_text("WHO=x\n")
        assert "WHO=x" in waits.communicate(timeout=20)[0].splitlines()
    with stack.start("exec", "-T", "web", "echo", "inside") as waits:
        assert f"{pipe} is a pipe: waiting" in waits.stdout.readline()
        pipe.write_text("WHO=x\n")
        assert waits.communicate(timeout=20)[0] == "inside\n"
    # Who takes it away needs no variables of a service.
    pipe.rename(stack.directory / "web.env")
    stack.write(SMALL.replace("init: true", "init: true, env_file: web.env"))
    assert "is a pipe" not in stack.ok("down", "-t", "0").err
    stack.down()


def test_create_scale_and_volumes(stack: Stack) -> None:
    stack.write(SMALL)
    stack.ok("--dry-run", "up", "-d")
    assert stack.states() == {}
    stack.ok("create")
    assert stack.states() == {"app-web-1": "created"}
    stack.ok("scale", "web=2")
    assert stack.states() == {"app-web-1": "running", "app-web-2": "running"}
    assert stack.ok("volumes", "-q").out.split() == ["app_data"]
    assert stack.ok("volumes", "-q", "web").out.split() == ["app_data"]
    assert stack.ok("stats", "--no-stream", "--format", "json").out.count("app-web-") == 2
    # What each command would do, and nothing is done.
    before = stack.ids(), stack.states()
    for command, head in (
        ("restart", "app: 2 to restart"),
        ("stop web", "app: 2 to stop"),
        ("start", "app: nothing to do"),
        ("kill", "app: 2 to kill"),
        ("pause", "app: 2 to pause"),
        ("unpause", "app: nothing to do"),
        ("rm", "app: nothing to do"),
        ("rm -s", "app: 2 to remove"),
        ("pull", "app: nothing to do"),
        ("down -v", "app: 4 to remove"),
        ("exec web true", "app: 1 to exec"),
        ("cp stack.yaml web:/", "app: 2 to copy"),
        ("run --rm --no-deps web true", "app: 1 to create"),
    ):
        assert stack.ok("--dry-run", *command.split()).out.splitlines()[0] == head
    assert (stack.ids(), stack.states()) == before
    assert 'no such service: "wbe"' in stack.run("--dry-run", "stop", "wbe").expect(1).err
    stack.down()
    # Names as docker-compose 1 gave them; what is there keeps its name.
    stack.ok("--compatibility", "create")
    assert stack.states() == {"app_web_1": "created"}
    stack.ok("up", "-d", "--scale", "web=2")
    assert stack.states() == {"app_web_1": "running", "app-web-2": "running"}
    assert "web_1" in stack.ok("logs").out + stack.ok("ps").out
    # Who is made anew because its network has changed is not made without its variables.
    beside = "  beside: {image: stackctl/host, command: sleep 99, env_file: gone.env}\n"
    changed = SMALL.replace("volumes: {", f"{beside}volumes: {{")
    stack.write(changed.replace(", env_file: gone.env", ""))
    stack.up()
    before = stack.ids()
    stack.write(f"{changed}networks: {{default: {{internal: true}}}}\n")
    for command in (("plan", "web"), ("up", "-d", "web")):
        assert "gone.env does not exist" in stack.run(*command).expect(1).err
    assert stack.ids() == before
    stack.down()


OPTIONS = """\
services:
  web:
    image: stackctl/host
    command: sleep infinity
    init: true
    network_mode: bridge
    tmpfs: ["/t:exec,uid=33,gid=44,mode=700,size=1m"]
    volumes:
      - dir:/dir:ro
      - memory:/memory
      - {type: image, source: stackctl/host, target: /programs, image: {subpath: usr/bin}}
      - {type: image, source: stackctl/host, target: /all/of/it}
volumes:
  dir: {driver_opts: {type: none, o: bind, device: ./d}}
  memory: {driver_opts: {type: tmpfs, device: tmpfs, o: "size=2m,uid=5"}}
"""


def test_volumes_by_options_and_the_engines_own_network(stack: Stack) -> None:
    stack.write(OPTIONS)
    (stack.directory / "d").mkdir()
    (stack.directory / "d" / "f").write_text("here\n")
    stack.up()
    assert inside(stack, "web", "cat /dir/f; stat -c '%u %g %a' /t /memory") == (
        "here\n33 44 700\n5 0 1777"
    )
    flags = inside(stack, "web", "awk '$2 ~ \"^/(t|memory)$\" {print $4}' /proc/mounts")
    assert ["noexec" in line for line in flags.splitlines()] == [False, True]
    for place in ("/dir", "/programs", "/all/of/it", "/all/of/it/usr"):
        assert stack.run("exec", "-T", "web", "touch", f"{place}/x").code != 0
    # An image's files: those below a directory, and all of them.
    look = "/programs/env echo found; test -x /all/of/it/usr/bin/env; echo $?"
    assert inside(stack, "web", look) == "found\n0"
    (row,) = json.loads(stack.ok("container", "inspect", "app-web-1").out)
    assert list(row["NetworkSettings"]["Networks"]) == ["bridge"]
    assert steps(stack) == []
    # The engine's network is nobody's: the stack made none of its own.
    made = stack.ok("network", "ls", "--format", "{{.Name}}").out.split()
    assert "bridge" in made
    assert "app_default" not in made
    stack.ok("down", "-v")


def test_down_with_volumes_is_about_those_of_its_file(stack: Stack) -> None:
    sleeps = "image: stackctl/host, command: sleep infinity, init: true"
    stack.write(f"""\
        services:
          db: {{{sleeps}, volumes: ["kept:/d"]}}
          extra: {{{sleeps}, volumes: ["extra:/d"], profiles: [x]}}
        volumes: {{kept: , extra: }}
        """)
    stack.ok("--profile", "x", "up", "-d")
    inside(stack, "db", "echo data >/d/file")
    stack.write(f"""\
        services: {{web: {{{sleeps}, volumes: ["own:/d"]}}}}
        volumes: {{own: }}
        """)
    stack.ok("up", "-d", "--remove-orphans")
    rehearsed = stack.run("--dry-run", "down", "-v")
    assert "volume own" in rehearsed.out and "volume kept" not in rehearsed.out
    told = stack.ok("down", "-v").err
    assert "volume own" in told and "uses stay: app_extra, app_kept" in told

    def volumes() -> str:
        return stack.ok("volume", "ls", "-q").out

    assert volumes() == "app_extra\napp_kept\n"
    # One that is named counts with its profile; what a wrong file means nobody guesses at.
    stack.write(f"""\
        services:
          web: {{{sleeps}}}
          extra: {{{sleeps}, volumes: ["extra:/d"], profiles: [x]}}
        volumes: {{extra: }}
        """)
    stack.ok("up", "-d", "extra")
    stack.ok("down", "-v", "extra")
    assert volumes() == "app_kept\n"
    stack.write("services: {web: {imag: x}}")
    assert "unknown key" in stack.run("down", "-v").expect(1).err
    assert volumes() == "app_kept\n"
    # Without its file all of a project goes.
    (stack.directory / "stack.yaml").unlink()
    stack.ok("-p", "app", "down", "-v")
    assert volumes() == ""


def test_names_go_from_one_container_to_another(stack: Stack) -> None:
    sleeps = "image: stackctl/host, command: sleep infinity, init: true"

    def services(**called: str) -> None:
        lines = (f"{name}: {{{sleeps}, container_name: {c}}}" for name, c in called.items())
        stack.write("services: {" + ", ".join(lines) + "}")

    def named() -> dict[str, str]:
        return {row["Name"]: row["Service"] for row in stack.rows()}

    services(old="n-x")
    stack.up()
    services(new="n-x")
    stack.ok("up", "-d", "--remove-orphans")
    assert named() == {"n-x": "new"}
    services(a="n-x", b="n-y")
    stack.ok("up", "-d", "--remove-orphans")
    services(a="n-y", b="n-x")
    stack.up()
    assert named() == {"n-y": "a", "n-x": "b"}
    assert stack.ok("exec", "-T", "a", "getent", "hosts", "n-x").out.split()[1] == "n-x"
    services(a="n-z", b="n-x", c="n-y")
    stack.up()
    assert named() == {"n-z": "a", "n-x": "b", "n-y": "c"}
    assert "nothing to do" in stack.up().err
    # An update that does not come to its end takes no name away, and can be taken back.
    gate = "gate: {image: stackctl/host, command: 'false'}"
    needs = "depends_on: {gate: {condition: service_completed_successfully}}"
    swapped = (("a", "n-x"), ("b", "n-z"), ("c", "n-y"))
    lines = (f"{s}: {{{sleeps}, container_name: {n}, {needs}}}" for s, n in swapped)
    stack.write("services: {" + ", ".join((*lines, gate)) + "}")
    stack.run("up", "-d").expect(1)
    assert named() == {"n-z": "a", "n-x": "b", "n-y": "c"}
    services(a="n-z", b="n-x", c="n-y")
    stack.ok("up", "-d", "--remove-orphans")
    assert named() == {"n-z": "a", "n-x": "b", "n-y": "c"}
    stack.down()


def test_a_changed_volume_is_kept_or_made_anew(stack: Stack) -> None:
    def written(label: str) -> None:
        stack.write(f"""\
            services:
              db: {{image: stackctl/host, command: sleep infinity, init: true, volumes: ["d:/d"]}}
            volumes: {{d: {{labels: {{kind: {label}}}}}}}
            """)

    written("one")
    stack.up()
    inside(stack, "db", "echo kept >/d/file")
    written("two")
    assert "`up -y` makes it anew, empty" in stack.up().err
    assert inside(stack, "db", "cat /d/file") == "kept"
    planned = stack.run("plan", "-y", "--out", "p.json").expect(2)
    assert "all that is in volume app_d" in planned.out
    stack.ok("up", "-d", "--plan", "p.json")
    assert inside(stack, "db", "ls /d") == ""
    labels = stack.ok("volume", "inspect", "-f", "{{.Labels.kind}}", "app_d").out
    assert labels == "two\n"
    assert "nothing to do" in stack.ok("up", "-d", "-y").err
    stack.down()


def test_a_mounted_image_that_is_built_anew_makes_its_user_anew(stack: Stack) -> None:
    stack.write("""\
        services:
          source:
            build: {dockerfile_inline: "FROM stackctl/host\\nCOPY content /app/content"}
            image: files:1
            command: "true"
          user:
            image: stackctl/host
            command: sleep infinity
            init: true
            depends_on: [source]
            volumes: [{type: image, source: "files:1", target: /data, image: {subpath: app}}]
        """)
    for content in ("one", "two"):
        (stack.directory / "content").write_text(content)
        stack.ok("up", "-d", "--build")
        assert inside(stack, "user", "cat /data/content") == content
    before = stack.ids()["app-user-1"]
    stack.ok("up", "-d", "--build")
    assert stack.ids()["app-user-1"] == before
    # Also where its maker has no container.
    stack.ok("rm", "-sf", "source")
    (stack.directory / "content").write_text("three")
    stack.ok("up", "-d", "--build")
    assert inside(stack, "user", "cat /data/content") == "three"
    stack.down()
