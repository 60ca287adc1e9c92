"""The commands on a running stack, with docker compose's names, flags and exit codes."""

from __future__ import annotations

import json
import re
import select
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.engine import Engine, Result
from support.stack import Stack, free_port
from support.waiting import wait_until

pytestmark = pytest.mark.needs("root", "netns", "userns", "overlay", "cgroup", "nft", "bridge")

TWO = """\
services:
  web:
    image: stackctl/host
    command: sh -c 'echo hello from $$(hostname); exec sleep infinity'
    init: true
    hostname: webhost
    environment: {GREETING: hello}
    ports: ["${PORT}:80"]
    volumes: ["data:/data"]
  talker:
    image: stackctl/host
    command: sh -c 'for i in 1 2 3; do echo line $$i; done; echo problem >&2; exec sleep infinity'
    # No init: /proc/1 is the service itself, to whose output a test writes.
    stop_signal: SIGKILL
  job:
    image: stackctl/host
    command: sh -c 'echo done; exit 3'
    profiles: [jobs]
volumes:
  data:
"""


@pytest.fixture
def two(stack: Stack) -> Iterator[Stack]:
    stack.write(TWO)
    stack.env["PORT"] = str(free_port())
    stack.up()
    yield stack
    stack.down()


def exec_in(stack: Stack, *argv: str) -> str:
    return stack.ok("exec", "-T", *argv).out.strip()


def test_exec_runs_beside_the_service(two: Stack) -> None:
    assert exec_in(two, "web", "hostname") == "webhost"
    assert exec_in(two, "-e", "MORE=5", "web", "sh", "-c", "echo $GREETING $MORE") == "hello 5"
    assert exec_in(two, "-u", "1234:5678", "web", "sh", "-c", "id -u; id -g") == "1234\n5678"
    assert exec_in(two, "-w", "/usr", "web", "pwd") == "/usr"
    assert exec_in(two, "--index", "1", "web", "echo", "one") == "one"
    assert two.run("exec", "-T", "web", "sh", "-c", "exit 42").code == 42
    assert two.run("exec", "-T", "web", "no-such-program").code == 127
    assert two.run("exec", "-T", "nobody", "true").expect(1).err


def test_exec_passes_standard_input_and_both_outputs(two: Stack) -> None:
    result = two.ok("exec", "-T", "web", "sh", "-c", "cat; echo done >&2", stdin="some\ntext\n")
    assert (result.out, result.err) == ("some\ntext\n", "done\n")
    big = "x" * 1_000_000
    assert len(two.ok("exec", "-T", "web", "cat", stdin=big).out) == len(big)


def test_exec_detached_goes_on_without_a_reader(two: Stack) -> None:
    # More output than a pipe holds: nobody reads it, and it must not stop the process.
    two.ok("exec", "-d", "web", "sh", "-c", "seq 100000; echo finished >/data/marker")
    wait_until(
        lambda: two.run("exec", "-T", "web", "cat", "/data/marker").out == "finished\n",
        20,
        what="the detached process to finish",
    )


def test_a_service_may_reopen_its_own_output(two: Stack) -> None:
    write = "echo again >/dev/stdout; echo sorry >/dev/stderr"
    for user in ("0", "1234"):
        result = two.ok("exec", "-T", "-u", user, "web", "sh", "-c", write)
        assert (result.out, result.err) == ("again\n", "sorry\n"), user


def test_logs(two: Stack) -> None:
    assert re.findall(r"talker-1\W+line (\d)", two.ok("logs").out) == ["1", "2", "3"]
    assert "hello from webhost" in two.ok("logs", "web").out
    long = two.ok("run", "-d", "talker", "sh", "-c", "head -c 40000 /dev/zero | tr '\\0' x; echo")
    two.ok("container", "wait", long.out.strip())
    said = two.ok("container", "logs", long.out.strip()).out
    assert said == "x" * 40000 + "\n"
    two.ok("container", "rm", long.out.strip())
    tail = two.ok("logs", "--no-log-prefix", "--tail", "2", "talker").out.splitlines()
    assert tail == ["line 3", "problem"]
    stamped = two.ok("logs", "--no-log-prefix", "--timestamps", "talker").out.splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z ", line) for line in stamped)
    assert two.ok("logs", "--since", "2100-01-01T00:00:00Z").out == ""


def test_logs_follow_shows_a_line_when_it_comes(two: Stack) -> None:
    with two.start("logs", "-f", "--no-log-prefix", "talker") as follower:
        assert follower.stdout is not None
        seen = [follower.stdout.readline() for _ in range(4)]
        assert seen[-1] == "problem\n"
        # What pid 1 of the container writes goes to its log.
        exec_in(two, "talker", "sh", "-c", "echo late >/proc/1/fd/1")
        assert follower.stdout.readline() == "late\n"
        # Nor does it miss what is started again.
        two.ok("restart", "-t", "1", "talker")
        assert sorted(follower.stdout.readline() for _ in seen) == sorted(seen)
        follower.send_signal(signal.SIGINT)
        assert follower.wait(10) in (0, 130)


def test_json_has_the_names_that_composes_has(two: Stack) -> None:
    version = json.loads(two.ok("version", "--format", "json").out)
    assert version["version"] == "v" + two.ok("version", "--short").out.strip()
    assert two.ok("version", "-f", "{{.Server.Version}}").out == f"{version['Client']['Version']}\n"
    image = json.loads(two.ok("images", "--format", "json").out)[0]
    assert {"ID", "ContainerName", "Repository", "Tag", "Size", "LastTagTime"} <= image.keys()
    assert image["Platform"].startswith("linux/")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", image["Created"])
    [volume] = map(json.loads, two.ok("volumes", "--format", "json").out.splitlines())
    assert {"Availability", "Driver", "Labels", "Mountpoint", "Name", "Scope"} <= volume.keys()
    assert volume["Size"] == "N/A"
    [project] = json.loads(two.ok("ls", "--format", "json").out)
    assert project.keys() == {"Name", "Status", "ConfigFiles"}
    # What has ended is told with -a only, and what has no containers never.
    two.ok("stop", "web")
    assert [
        json.loads(two.ok("ls", *a, "--format", "json").out)[0]["Status"] for a in ((), ("-a",))
    ] == [
        "running(1)",
        "exited(1), running(1)",
    ]
    two.ok("rm", "-sf")
    assert json.loads(two.ok("ls", "-a", "--format", "json").out) == []


def test_run_is_a_container_of_its_own(two: Stack) -> None:
    result = two.ok("run", "--rm", "-T", "-e", "A=b", "web", "sh", "-c", "echo $GREETING $A")
    assert result.out == "hello b\n"
    # A bare name takes what the project knows: of the caller, or of .env.
    (two.directory / ".env").write_text("MINE=file\nGREETING=hi\n")
    asked = ("run", "--rm", "-T", "-e", "MINE", "-e", "GREETING", "-e", "NOBODY", "web", "env")
    found = two.ok(*asked).out.splitlines()
    assert {"MINE=file", "GREETING=hi"} <= set(found) and "NOBODY" not in str(found)
    assert "MINE=caller" in two.ok(*asked, env={"MINE": "caller"}).out.splitlines()
    asked = ("exec", "-T", "-e", "MINE", "-e", "NOBODY", "web", "env")
    found = two.ok(*asked).out.splitlines()
    assert "MINE=file" in found and "NOBODY" not in str(found)
    assert "MINE=caller" in two.ok(*asked, env={"MINE": "caller"}).out.splitlines()
    (two.directory / ".env").unlink()
    assert "MINE" not in two.ok(*asked).out
    assert two.run("run", "--rm", "-T", "web", "sh", "-c", "exit 9").code == 9
    # Nobody has closed what it reads.
    two.ok("run", "-d", "--name", "reader", "web", "cat")
    assert two.states()["reader"] == "running"
    # Where a service has no other container, exec means the one-off.
    two.ok("run", "-d", "--name", "lone", "job", "sleep", "infinity")
    assert two.ok("exec", "-T", "job", "hostname").out != two.ok("exec", "web", "hostname").out
    two.run("exec", "-T", "--index", "1", "job", "true").expect(1)
    two.ok("container", "rm", "-f", "reader", "lone")
    nameless = two.run("run", "--name", "a b", "web", "true").expect(2)
    assert '"a b" is no name for a container' in nameless.err
    empty = two.run("run", "--rm", "-T", "web", "").expect(127)
    assert 'cannot execute "": the command begins with an empty word' in empty.err
    data = str(two.directory)
    out = two.ok("run", "--rm", "-T", "-v", f"{data}:/here:ro", "web", "ls", "/here").out
    assert "stack.yaml" in out
    assert two.ok("run", "--rm", "-T", "--entrypoint", "echo", "web", "hi").out == "hi\n"
    # `run` reaches the services by name, and leaves nothing with --rm.
    two.ok("run", "--rm", "-T", "web", "getent", "hosts", "talker")
    assert two.run("run", "--rm", "-T", "job").code == 3
    # Not even what could not start.
    assert two.run("run", "--rm", "-T", "web", "/no/such/program").code == 127
    assert two.run("run", "--rm", "-d", "web", "/no/such/program").code != 0
    assert sorted(two.states()) == ["app-talker-1", "app-web-1"]
    # A volume that only the command line names is made, and outlives the container.
    two.ok("run", "--rm", "-T", "-v", "kept:/k", "web", "sh", "-c", "echo yes > /k/file")
    assert two.ok("run", "--rm", "-T", "-v", "kept:/k", "web", "cat", "/k/file").out == "yes\n"


def test_stop_start_restart_and_kill(two: Stack) -> None:
    two.ok("stop", "web")
    assert two.states() == {"app-web-1": "exited", "app-talker-1": "running"}
    assert [row["Name"] for row in two.rows()] == ["app-talker-1"]
    two.ok("start", "web")
    assert two.states()["app-web-1"] == "running"
    before = two.ids()
    two.ok("restart", "-t", "1")
    assert two.ids() == before
    two.ok("kill", "-s", "SIGKILL", "web")
    wait_until(lambda: two.states()["app-web-1"] == "exited", what="web has ended")
    [row] = two.rows("-a", "web")
    assert row["ExitCode"] == 137
    two.up()
    assert two.states()["app-web-1"] == "running"


def test_pause_stands_still_and_unpause_goes_on(two: Stack) -> None:
    two.ok("pause", "web")
    assert two.states()["app-web-1"] == "paused"
    # As with compose: one that was named and is so already is told, the others are done.
    assert "app-web-1 is paused already" in two.run("pause", "web", "talker").expect(1).err
    assert set(two.states().values()) == {"paused"}
    two.ok("pause")
    two.ok("unpause")
    assert set(two.states().values()) == {"running"}
    assert "app-web-1 is not paused" in two.run("unpause", "web").expect(1).err
    assert exec_in(two, "web", "echo", "awake") == "awake"


def test_wait_gives_the_exit_code(two: Stack) -> None:
    with two.start("wait", "web") as waiter:
        wait_until(lambda: waiter.poll() is None)
        two.ok("kill", "-s", "SIGTERM", "web")
        assert waiter.wait(20) == 143


def test_port_top_ps_and_ls(two: Stack) -> None:
    port = two.env["PORT"]
    address = two.ok("port", "web", "80").out.strip()
    assert address.endswith(f":{port}")
    assert two.ok("port", "web").out.splitlines()[0] == f"80/tcp -> {address}"
    top = two.ok("top").out
    assert "sleep infinity" in top and "UID" in top and "STIME" in top
    table = two.ok("ps").out
    assert "app-web-1" in table and f"{port}->80/tcp" in table
    [row] = two.rows("web")
    assert row["Service"] == "web" and row["Project"] == "app"
    assert {p["PublishedPort"] for p in row["Publishers"]} == {int(port)}
    [listed] = json.loads(two.engine.ok("ls", "--format", "json").out)
    assert listed["Name"] == "app"


def test_cp_both_ways_keeps_content(two: Stack) -> None:
    (two.directory / "note.txt").write_text("carried\n")
    two.ok("cp", "note.txt", "web:/data/note.txt")
    assert exec_in(two, "web", "cat", "/data/note.txt") == "carried"
    exec_in(two, "web", "sh", "-c", "mkdir /data/sub && echo back >/data/sub/file")
    two.ok("cp", "web:/data/sub", "fetched")
    assert (two.directory / "fetched" / "file").read_text() == "back\n"


def test_events_tell_what_happens(two: Stack) -> None:
    with two.start("events", "--json") as events:
        assert events.stdout is not None
        # Until it listens there is nothing to be heard.
        while not select.select([events.stdout], [], [], 0)[0]:
            two.ok("restart", "-t", "1", "talker")
        actions: list[str] = []
        while "start" not in actions:
            actions.append(json.loads(events.stdout.readline())["action"])
        events.send_signal(signal.SIGINT)
        events.wait(10)


def test_limits_are_the_kernels(stack: Stack) -> None:
    stack.write(
        "services: {web: {image: stackctl/host, init: true, command: sleep infinity,"
        " mem_limit: 64m, pids_limit: 50}}"
    )
    stack.up()
    groups = [Path(group) for group in stack.engine.census().cgroups]
    names = ("memory.limit_in_bytes", "memory.max", "pids.max")
    files = [group / name for group in groups for name in names]
    values = {file.read_text().strip() for file in files if file.exists()}
    assert {str(64 * 1024 * 1024), "50"} <= values
    stack.down()


def test_a_service_that_ends_is_restarted(stack: Stack) -> None:
    stack.write(
        "services: {web: {image: stackctl/host, restart: always,"
        " command: \"sh -c 'echo again; sleep 0.1; exit 1'\"}}"
    )
    # Of the built-in image no registry is asked: here there is none.
    stack.ok("up", "-d", "--pull", "always")
    wait_until(lambda: stack.ok("logs").out.count("again") >= 3, 20, what="three starts")
    stack.ok("stop")
    assert stack.states() == {"app-web-1": "exited"}
    for _ in range(3):
        # It may just be starting, running, ending, or about to come back.
        stack.ok("start")
        stack.ok("kill")
        assert stack.states() == {"app-web-1": "exited"}
    stack.down()


def test_an_up_that_was_left_gives_way_to_the_next_command(stack: Stack) -> None:
    waits = (
        "services:\n"
        "  h: {image: stackctl/host, command: sleep infinity, init: true,"
        " healthcheck: {test: 'false', interval: 1s, retries: 1000}}\n"
        "  d: {image: stackctl/host, command: sleep infinity, init: true,"
        " depends_on: {h: {condition: service_healthy}}}\n"
    )
    stack.write(waits)
    with stack.start("up", "-d") as left:
        wait_until(lambda: stack.states().get("app-h-1") == "running", 30)
        left.send_signal(signal.SIGINT)
        assert left.wait(20) == 130
    stack.write(waits.replace("'false'", "'true'"))
    assert "gives way to this" in stack.ok("up", "-d").err
    assert set(stack.states().values()) == {"running"}
    stack.down()


def test_attached_up_streams_logs_and_stops_on_interrupt(stack: Stack) -> None:
    stack.write(TWO)
    stack.env["PORT"] = str(free_port())
    with stack.start("up") as up:
        assert up.stdout is not None
        for line in up.stdout:
            if "problem" in line:
                break
        # Neither waits for the other.
        wait_until(lambda: stack.states()["app-web-1"] == "running", 20)
        up.send_signal(signal.SIGINT)
        up.stdout.read()
        assert up.wait(30) in (0, 130)
    assert set(stack.states().values()) == {"exited"}
    stack.down()


def test_exit_code_from_a_service(stack: Stack) -> None:
    stack.write(TWO)
    stack.env["PORT"] = str(free_port())
    result = stack.run("--profile", "jobs", "up", "--exit-code-from", "job", "-t", "1")
    assert result.code == 3, str(result)
    assert "running" not in stack.states().values()
    stack.ok("--profile", "jobs", "down", "-v", "-t", "1")


def test_remove_orphans_and_force_recreate(two: Stack) -> None:
    two.write(TWO.replace("  talker:", "  speaker:"))
    assert "does not describe: app-talker-1" in two.up().err
    assert "app-talker-1" in two.states()
    assert "app-talker-1" not in two.up(env={"COMPOSE_IGNORE_ORPHANS": "1"}).err
    two.up(env={"COMPOSE_REMOVE_ORPHANS": "1"})
    assert sorted(two.states()) == ["app-speaker-1", "app-web-1"]
    before = two.ids()
    two.up("--force-recreate")
    assert not set(before.values()) & set(two.ids().values())


def test_plan_prints_causes_and_json(stack: Stack) -> None:
    stack.write(TWO)
    stack.env["PORT"] = str(free_port())
    text = stack.run("plan").expect(2).out
    assert "web" in text and "talker" in text and "job" not in text
    steps = json.loads(stack.run("plan", "--json").expect(2).out)
    assert steps
    assert not stack.engine.census().links


def test_config_shows_the_resolved_model(stack: Stack) -> None:
    stack.write(TWO)
    stack.env["PORT"] = "8123"
    assert stack.ok("config", "--services").out.split() == ["web", "talker"]
    model = json.loads(stack.ok("config", "--format", "json").out)
    assert model["services"]["web"]["image"] == "stackctl/host"
    assert "8123" in json.dumps(model["services"]["web"]["ports"])


def test_version_info_and_doctor(engine: Engine) -> None:
    assert re.search(r"\d+\.\d+", engine.ok("version").out)
    assert engine.ok("info").out
    doctor = engine.run("doctor")
    assert doctor.code in (0, 1) and "overlay" in doctor.out


def test_the_engine_leaves_by_itself_when_nobody_needs_it(stack: Stack) -> None:
    stack.engine.extra["STACKCTL_IDLE_SECONDS"] = "0.5"
    stack.write("services: {web: {image: stackctl/host, init: true, command: sleep infinity}}")
    stack.up()
    stack.down()
    engine = stack.engine
    wait_until(lambda: not engine.processes(), 20, what="the engine gone")
    assert not engine.census().kernel


def test_up_wait_fails_when_a_service_without_a_health_check_dies(stack: Stack) -> None:
    stack.write(
        "services:\n"
        "  dies: {image: stackctl/host, command: sh -c 'echo gone; exit 3'}\n"
        "  lives: {image: stackctl/host, command: sleep 100, init: true}\n"
    )
    result = stack.run("up", "-d", "--wait").expect(1)
    assert "exited with code 3" in result.err and "gone" in result.err
    # Who does not wait is told, and no more: the code does not depend on how soon it dies.
    assert 'warning: service "dies" exited with code 3' in stack.ok("up", "-d").err
    # Who can do without it is no reason to fail.
    stack.write(
        "services:\n"
        "  dies: {image: stackctl/host, command: sh -c 'echo gone; exit 3'}\n"
        "  lives:\n"
        "    image: stackctl/host\n"
        "    command: sleep 100\n"
        "    init: true\n"
        "    depends_on: {dies: {condition: service_completed_successfully, required: false}}\n"
    )
    assert 'optional dependency: service "dies" exited with code 3' in stack.ok("up", "-d").err
    assert stack.states()["app-lives-1"] == "running"
    # More time to stop than usual is somebody's wish: who has no handler may end by himself.
    stack.write(
        "services: {saves: {image: stackctl/host, stop_grace_period: 60s,"
        " command: \"sh -c 'sleep 2; exit 7'\"}}"
    )
    stack.ok("up", "-d", "--remove-orphans")
    stack.ok("stop")
    (row,) = (
        json.loads(line)
        for line in stack.ok("ps", "-a", "--format", "json").out.split("\n")
        if line
    )
    assert row["ExitCode"] == 7
    stack.down()


def test_a_users_start_counts_restarts_anew(stack: Stack) -> None:
    stack.write(
        "services:\n"
        "  a: {image: stackctl/host, command: sh -c 'echo ran; exit 3', restart: 'on-failure:1'}\n"
    )

    def runs() -> int:
        return stack.run("logs", "--no-log-prefix", "a").out.count("ran")

    stack.run("up", "-d")
    wait_until(lambda: runs() == 2, 20, what="the first restart")
    wait_until(lambda: stack.states()["app-a-1"] == "exited", 20, what="the policy to give up")
    stack.run("start", "a")
    wait_until(lambda: runs() == 4, 20, what="a restart after the user's start")
    # What is about to be started again has no process, and a kill ends it all the same.
    base = "image: stackctl/host, restart: always, logging: {driver: none}"
    stack.write(f"services: {{b: {{{base}, command: sh -c 'exit 3'}}}}")
    stack.env["COMPOSE_IGNORE_ORPHANS"] = "true"
    stack.ok("up", "-d")
    # Where nothing is kept, nothing is no answer.
    assert "app-b-1 keeps no log" in stack.ok("logs", "b").err
    assert "app-b-1 keeps no log" in stack.run("container", "logs", "app-b-1").expect(1).err
    wait_until(lambda: stack.states()["app-b-1"] == "restarting", 20)
    stack.ok("kill", "b")
    assert stack.states() == {"app-a-1": "exited", "app-b-1": "exited"}
    del stack.env["COMPOSE_IGNORE_ORPHANS"]
    (stack.directory / ".env").write_text("COMPOSE_REMOVE_ORPHANS=1\n")
    stack.ok("up", "-d")
    assert list(stack.states()) == ["app-b-1"]
    stack.down()


def test_attached_up_of_a_service_listens_to_that_service_alone(stack: Stack) -> None:
    stack.write(
        "services:\n"
        "  other: {image: stackctl/host, command: sh -c 'echo other-said; exec sleep 100'}\n"
        "  work: {image: stackctl/host, command: sh -c 'echo work-said; exit 4'}\n"
        "  cat: {image: stackctl/host, command: cat, stdin_open: true}\n"
        "  mute: {image: stackctl/host, command: echo a, logging: {driver: none}}\n"
    )
    stack.run("up", "-d", "other", "cat").expect(0)
    # Who looks at a service that reads its input takes that with him neither way.
    for flags in ((), ("--no-stdin",)):
        with stack.start("attach", *flags, "cat") as looker:

            def is_seen(out: Any = looker.stdout) -> bool:
                exec_in(stack, "cat", "sh", "-c", "echo seen >/proc/1/fd/1")
                return bool(select.select([out], [], [], 0.1)[0])

            wait_until(is_seen, 20, what="what the service says")
            assert looker.stdout is not None and looker.stdout.readline() == "seen\n"
        assert stack.states()["app-cat-1"] == "running"
    result = stack.run("up", "work", "mute")
    assert "work-said" in result.text and "other-said" not in result.text
    # Nor does it say that it listens to others, or to who cannot be heard.
    assert "attached to work-1" in result.err.splitlines()
    assert "app-mute-1 keeps no log" in result.err
    assert stack.states()["app-other-1"] == "running"
    stack.down()


PROFILES = """\
services:
  web: {image: stackctl/host, command: sleep infinity, init: true}
  dbg: {image: stackctl/host, command: sleep infinity, init: true, profiles: [debug]}
  mute: {image: stackctl/host, command: echo muted, attach: false}
"""


def test_what_is_not_shown_decides_nothing(stack: Stack) -> None:
    stack.write("""\
        services:
          short: {image: stackctl/host, command: sh -c 'sleep 0.3; exit 0'}
          fail: {image: stackctl/host, command: sh -c 'sleep 1; exit 7'}
          long: {image: stackctl/host, command: sleep 1000, init: true}
        """)
    for line, code in (
        (("--exit-code-from", "fail", "--no-attach", "short"), 7),
        (("--attach", "fail", "--exit-code-from", "fail"), 7),
        (("--attach", "fail", "--abort-on-container-exit"), 7),
        (("--no-attach", "fail", "--abort-on-container-failure", "--no-attach", "long"), 0),
        # Who is named is waited for, shown or not.
        (("--no-attach", "fail", "fail", "short"), 0),
    ):
        assert stack.run("up", "-t", "0", *line).code == code, line
        assert stack.states()["app-fail-1"] == (
            "running" if code == 0 and "long" in line else "exited"
        )
        stack.ok("stop", "-t", "0")
    stack.down()


def test_ctrl_c_leaves_other_profiles_alone(stack: Stack) -> None:
    stack.write(PROFILES)
    stack.ok("--profile", "debug", "up", "-d", "dbg")
    with stack.start("up") as up:
        wait_until(lambda: stack.states().get("app-web-1") == "running", 20)
        wait_until(lambda: "app-mute-1" in stack.states(), 20)
        up.send_signal(signal.SIGINT)
        up.stdout.read()
        assert up.wait(30) == 130
    assert stack.states()["app-web-1"] == "exited" and stack.states()["app-dbg-1"] == "running"
    stack.ok("--profile", "debug", "down", "-t", "0")


def test_commands_without_names_leave_other_profiles_alone(stack: Stack) -> None:
    stack.write(PROFILES)
    stack.ok("--profile", "debug", "up", "-d")
    before = stack.ids()["app-dbg-1"]
    for line in (
        ("pause",),
        ("unpause",),
        ("restart", "-t", "0"),
        ("stop",),
        ("start",),
        ("kill",),
    ):
        stack.ok(*line)
        assert stack.states()["app-dbg-1"] == "running", line
    stack.ok("stop", "dbg")
    assert stack.states()["app-dbg-1"] == "exited"
    stack.ok("start", "dbg")
    assert "app-dbg-1" not in stack.run("rm", "-sf").text
    told = stack.ok("down", "--remove-orphans").err
    assert "profiles that are not active stay: app-dbg-1" in told
    assert stack.ids() == {"app-dbg-1": before}
    stack.ok("--profile", "debug", "down")
    assert not stack.ids()


def test_commands_without_names_leave_orphans_alone(stack: Stack) -> None:
    stack.write(PROFILES)
    stack.up()
    stack.write(PROFILES.replace("web:", "site:"))
    stack.ok("stop")
    assert stack.states()["app-web-1"] == "running"
    stack.ok("run", "-d", "--name", "one", "site", "sleep", "1000")
    stack.ok("kill", "--remove-orphans")
    assert stack.states()["app-web-1"] == "exited" and stack.states()["one"] == "exited"
    stack.ok("container", "rm", "one")
    stack.ok("start", "web")
    # What is said counts for more than the environment.
    stack.env["COMPOSE_REMOVE_ORPHANS"] = "1"
    stack.ok("up", "-d", "--remove-orphans=false")
    stack.ok("down", "--remove-orphans=false")
    assert "app-web-1" in stack.states()
    stack.ok("down")
    assert not stack.states()


def test_a_project_that_is_named_alone_is_all_that_it_has(stack: Stack) -> None:
    stack.write(PROFILES)
    stack.ok("-p", "other", "--profile", "debug", "up", "-d")
    stack.write("services: {else: {image: stackctl/host}}")
    stack.ok("-p", "other", "stop", "-t", "0")
    assert {row["State"] for row in stack.rows("-a")} == set()
    listed = json.loads(stack.ok("ls", "-a", "--format", "json").out)
    assert [(row["Name"], row["Status"]) for row in listed] == [("other", "exited(3)")]
    stack.ok("-p", "other", "down")
    assert json.loads(stack.ok("ls", "-a", "--format", "json").out) == []


def test_logs_are_of_what_is_attached_to(stack: Stack) -> None:
    stack.write(PROFILES.replace("command: sleep infinity", "command: sh -c 'echo up; sleep 1000'"))
    stack.ok("--profile", "debug", "up", "-d")
    stack.ok("run", "-d", "web", "echo", "once")
    said = stack.ok("logs").out
    assert "web-1" in said and not {"dbg-1", "muted", "once"} & set(re.split(r"\W*[|\s]\s*", said))
    assert "muted" in stack.ok("logs", "mute").out and "once" not in stack.ok("logs", "web").out
    assert "no container number 5" in stack.run("logs", "--index", "5", "web").expect(1).err
    assert "of one service" in stack.run("logs", "--index", "1").expect(2).err
    stack.ok("--profile", "debug", "down", "-t", "0")


def test_an_attached_up_waits_for_what_it_shows(stack: Stack) -> None:
    stack.write("""\
        services:
          quiet: {image: stackctl/host, command: sleep infinity, init: true}
          mute: {image: stackctl/host, command: sleep infinity, init: true, attach: false}
          work: {image: stackctl/host, command: echo done}
        """)
    assert "done" in stack.ok("up", "--no-attach", "quiet").out
    assert stack.states() == {
        "app-quiet-1": "running",
        "app-mute-1": "running",
        "app-work-1": "exited",
    }
    # Who decides about the end is waited for in any case.
    stack.ok("up", "--no-attach", "work", "--exit-code-from", "work")
    assert set(stack.states().values()) == {"exited"}
    stack.down()


@pytest.mark.parametrize("flag", ["--exit-code-from", "--attach", "--no-attach"])
def test_a_flag_of_up_that_names_no_service_is_refused(stack: Stack, flag: str) -> None:
    stack.write(TWO)
    stack.env["PORT"] = str(free_port())
    result = stack.run("up", flag, "wbe").expect(1)
    assert 'no service is called "wbe"' in result.err and '"web"' in result.err
    assert not stack.states()


def test_attached_up_shows_what_is_said_while_others_wait(stack: Stack) -> None:
    stack.write(
        """\
        services:
          first:
            image: stackctl/host
            command: sh -c 'echo first-said; exec sleep 100'
            healthcheck: {test: test -e /tmp/go, interval: 0.1s, retries: 1000}
          second:
            image: stackctl/host
            command: sh -c 'echo second-said; exec sleep 100'
            depends_on: {first: {condition: service_healthy}}
        """
    )
    with stack.start("up") as up:
        assert up.stdout is not None
        for line in up.stdout:
            if "first-said" in line and "|" in line:
                break
        assert "app-second-1" not in stack.states() or stack.states()["app-second-1"] == "created"
        stack.ok("exec", "-T", "first", "touch", "/tmp/go")
        for line in up.stdout:
            if "second-said" in line and "|" in line:
                break
        up.send_signal(signal.SIGINT)
        rest = up.stdout.read()
        assert up.wait(30) == 130
    assert "first-said" not in rest, "each line once"
    stack.down()


def test_closed_standard_streams_lead_nowhere(two: Stack) -> None:
    def without(stream: str, *argv: str) -> Result:
        return two.run(*argv, prefix=("sh", "-c", f'exec "$@" {stream}', "sh"), limit=60)

    assert "in web" in without("<&-", "exec", "-T", "web", "echo", "in web").expect(0).out
    assert "in run" in without("<&-", "run", "--rm", "-T", "web", "echo", "in run").expect(0).out
    for stream in (">&-", "2>&-"):
        for argv in (("ps",), ("up", "-d"), ("exec", "-T", "web", "true")):
            result = without(stream, *argv).expect(0)
            assert "Traceback" not in result.text
