"""Single containers on the command line: life, names, exit codes, listings."""

from __future__ import annotations

import json
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from stackctl.state.records import Store
from support.engine import Engine
from support.stack import fetch, free_port
from support.waiting import wait_until

pytestmark = pytest.mark.needs("root", "netns", "userns", "overlay", "cgroup", "nft", "bridge")

HOST = "stackctl/host"


def container(engine: Engine, *argv: str, code: int = 0, stdin: str | None = None) -> str:
    """Standard output of `stackctl container argv...`, stripped."""
    return engine.run("container", *argv, stdin=stdin).expect(code).out.strip()


def run(engine: Engine, *argv: str) -> str:
    """A detached container; its id."""
    return container(engine, "run", "-d", *argv)


def state(engine: Engine, name: str, path: str = ".State.Status") -> str:
    return container(engine, "inspect", "-f", "{{" + path + "}}", name)


def names(engine: Engine, *argv: str) -> list[str]:
    return container(engine, "ls", "--format", "{{.Names}}", *argv).split()


def test_run_gives_output_input_and_the_commands_own_exit_code(engine: Engine) -> None:
    script = "echo out; echo err >&2; exit 7"
    result = engine.run("container", "run", "--rm", HOST, "sh", "-c", script)
    assert (result.code, result.out, result.err) == (7, "out\n", "err\n")
    big = "x" * 300_000
    assert container(engine, "run", "--rm", "-i", HOST, "cat", stdin=big) == big
    # Without -i nobody reads our input.
    assert container(engine, "run", "--rm", HOST, "cat", stdin="lost") == ""
    only_err = engine.run("container", "run", "--rm", "-a", "stderr", HOST, "sh", "-c", script)
    assert (only_err.out, only_err.err) == ("", "err\n")
    assert container(engine, "ls", "-aq") == ""
    assert_nothing_of_containers(engine)


def assert_nothing_of_containers(engine: Engine) -> None:
    """All that is left is the engine's own: --rm takes away everything else."""
    assert engine.container_processes() == []
    assert not [f for f in engine.census().files if f.startswith(("root/containers/", "run/c/"))]
    assert engine.shim_pids() == []


#: (arguments of run, exit code, what the error says).
REFUSED: tuple[tuple[tuple[str, ...], int, str], ...] = (
    (("--rm", HOST, "no-such-program"), 127, "no-such-program"),
    (("--rm", HOST, "/etc"), 126, "/etc"),
    (("--rm", "no-such-image", "true"), 125, "no-such-image"),
    (("--no-such-flag", HOST), 125, "no-such-flag"),
    (("--rm", "--network", "nowhere", HOST, "true"), 125, "nowhere"),
    (("--rm", "--restart", "always", HOST, "true"), 125, "restarted"),
    (("--memory", "lots", HOST, "true"), 125, "lots"),
    (("--memory", "1m", HOST, "true"), 125, "6MB"),
    (("-v", "/tmp:/", HOST, "true"), 125, "own root"),
    (("--tmpfs", "/proc/sys", HOST, "true"), 125, "/proc/sys is the kernel's"),
    (("-v", "/tmp:/x", "--tmpfs", "/x", HOST, "true"), 125, "two mounts have the target /x"),
    (("--gpus", "all", HOST, "true"), 125, "not supported"),
    (("-v", "relative:/x:wrong", HOST, "true"), 125, "wrong"),
    (("--name", "no/name", HOST, "true"), 125, "no/name"),
    (("--entrypoint", "", HOST), 125, "no command"),
    (("--rm", "--mount", "type=bind,src=/no/such,dst=/x", HOST, "true"), 125, "/no/such"),
)


def test_what_cannot_run_has_dockers_exit_codes(engine: Engine) -> None:
    for argv, code, words in REFUSED:
        result = engine.run("container", "run", *argv).expect(code)
        assert words in result.err, argv
        assert result.out == ""
    assert container(engine, "ls", "-aq") == ""


def test_life_of_a_container_by_name_id_and_prefix(engine: Engine) -> None:
    made = container(engine, "create", "--name", "one", "--init", HOST, "sleep", "600")
    assert len(made) == 64
    assert state(engine, "one") == "created"
    # What was named is printed, as docker does.
    assert container(engine, "start", made[:12]) == made[:12]
    assert state(engine, made) == "running"
    assert container(engine, "pause", "one") == "one"
    assert state(engine, "one") == "paused"
    assert names(engine, "--filter", "status=paused") == ["one"]
    assert container(engine, "unpause", "one") == "one"
    assert container(engine, "restart", "-t", "1", "one") == "one"
    assert state(engine, "one") == "running"
    assert container(engine, "exec", "one", "sh", "-c", "exit 5", code=5) == ""
    container(engine, "rename", "one", "two")
    assert container(engine, "exec", "two", "hostname") == made[:12]
    assert container(engine, "stop", "-t", "5", "two") == "two"
    assert state(engine, "two") == "exited"
    assert container(engine, "wait", "two") == state(engine, "two", ".State.ExitCode")
    assert container(engine, "rm", "two") == "two"
    assert names(engine, "-a") == []


def test_several_at_once_and_those_that_are_not_there(engine: Engine) -> None:
    for name in ("a", "b"):
        run(engine, "--name", f"x{name}", HOST, "sleep", "600")
    result = engine.run("container", "kill", "xa", "nobody", "xb").expect(1)
    assert result.out.split() == ["xa", "xb"]
    assert "no such container: nobody" in result.err
    assert container(engine, "wait", "xa", "xb").split() == ["137", "137"]
    assert "in use" in engine.run("container", "rename", "xa", "xb").expect(1).err
    assert "in use" in engine.run("container", "create", "--name", "xb", HOST, "true").expect(1).err
    assert container(engine, "start", "xa") == "xa"
    assert "stop it first" in engine.run("container", "rm", "xa").expect(1).err
    assert container(engine, "rm", "-f", "xa", "xb").split() == ["xa", "xb"]
    assert engine.run("container", "inspect", "xa").expect(1).out.strip() == "[]"


def test_ls_filters_and_formats(engine: Engine) -> None:
    first = run(engine, "--name", "web", "-l", "tier=front", "-l", "on", HOST, "sleep", "600")
    second = run(engine, "--name", "db", "-l", "tier=back", "-v", "data:/d", HOST, "sleep", "600")
    container(engine, "run", "--name", "job", HOST, "sh", "-c", "exit 3", code=3)
    assert names(engine) == ["db", "web"]
    assert names(engine, "-a") == ["job", "db", "web"]
    for argv, expected in (
        (("-f", "name=we"), ["web"]),
        (("-f", "name=^/db$"), ["db"]),
        (("-f", f"id={first[:12]}"), ["web"]),
        (("-f", "label=tier=back"), ["db"]),
        (("-f", "label=on"), ["web"]),
        (("-f", "exited=3"), ["job"]),
        (("-f", "exited=0"), []),
        (("-f", "status=running", "-f", "name=d"), ["db"]),
        (("-a", "-f", "before=db"), ["web"]),
        (("-a", "-f", "since=db"), ["job"]),
        (("-f", "volume=data"), ["db"]),
        (("-f", "network=bridge"), ["db", "web"]),
        (("-f", f"ancestor={HOST}"), ["db", "web"]),
        (("-n", "2"), ["job", "db"]),
        (("-l",), ["job"]),
    ):
        assert names(engine, *argv) == expected, argv
    assert container(engine, "ls", "-q", "--no-trunc").split() == [second, first]
    assert container(engine, "ls", "-q") == f"{second[:12]}\n{first[:12]}"
    rows = [json.loads(line) for line in container(engine, "ls", "--format", "json").splitlines()]
    assert [(row["ID"], row["Names"], row["State"]) for row in rows] == [
        (second[:12], "db", "running"),
        (first[:12], "web", "running"),
    ]
    table = container(engine, "ls", "-as").splitlines()
    assert table[0].split()[:2] == ["CONTAINER", "ID"] and table[0].endswith("SIZE")
    assert any("Exited (3)" in line and line.split()[0] for line in table)
    assert "no filter" in engine.run("container", "ls", "-f", "colour=red").err
    container(engine, "rm", "-f", "web", "db", "job")
    assert engine.ok("volume", "rm", "data").out == "data\n"


def test_inspect_logs_top_and_port(engine: Engine, tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "index.html").write_text("hello\n")
    run(
        engine,
        *("--name", "web", "-p", f"{port}:8000", "--init", "-e", "A=b", "-w", "/srv"),
        *("-v", f"{tmp_path}:/srv:ro", HOST),
        *("sh", "-c", "echo up; echo oops >&2; exec busybox httpd -f -p 8000 -h /srv"),
    )
    wait_until(lambda: "up" in container(engine, "logs", "web"), 10)
    logs = engine.ok("container", "logs", "web")
    assert (logs.out, logs.err) == ("up\n", "oops\n")
    stamped = container(engine, "logs", "-t", "-n", "1", "--since", "1h", "web")
    assert stamped == "" or stamped.endswith("Z up")  # the last line is one of the two streams'
    wait_until(lambda: _page(port) == "hello\n", 10, what="the page")
    assert container(engine, "port", "web") == f"8000/tcp -> 0.0.0.0:{port}"
    assert container(engine, "port", "web", "8000/tcp") == f"0.0.0.0:{port}"
    assert engine.run("container", "port", "web", "9").expect(1).err
    found = json.loads(container(engine, "inspect", "web"))[0]
    assert (found["Name"], found["State"]["Running"]) == ("/web", True)
    assert found["Config"]["Env"][0] == "A=b" or "A=b" in found["Config"]["Env"]
    binding = '{{(index (index .NetworkSettings.Ports "8000/tcp") 0).HostPort}}'
    assert container(engine, "inspect", "-f", binding, "web") == str(port)
    assert container(engine, "top", "web", "-o", "pid,user").split()[:2] == ["PID", "USER"]
    top = container(engine, "top", "web").splitlines()
    assert top[0].split() == ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]
    assert any("httpd" in line for line in top[1:])
    container(engine, "rm", "-f", "web")


def _page(port: int) -> str:
    try:
        return fetch(f"http://127.0.0.1:{port}/index.html")[1]
    except OSError:
        return ""


def test_containers_of_the_default_network_know_each_other_by_name(engine: Engine) -> None:
    run(engine, "--name", "server", "--network-alias", "other", HOST, "sleep", "600")
    address = state(engine, "server", ".NetworkSettings.Networks.bridge.IPAddress")
    for name in ("server", "other"):
        found = container(engine, "run", "--rm", HOST, "getent", "hosts", name)
        assert found.split()[0] == address
    lonely = container(engine, "run", "--rm", "--network", "none", HOST, "ls", "/sys/class/net")
    assert lonely.split() == ["lo"]
    hosts = set(os.listdir("/sys/class/net"))
    shared = container(engine, "run", "--rm", "--network", "host", HOST, "ls", "/sys/class/net")
    assert {name for name in shared.split() if name == "lo"} <= hosts
    assert "eth0" not in shared.split() or "eth0" in hosts
    container(engine, "rm", "-f", "server")


def test_signals_are_passed_on_and_restart_policies_hold(engine: Engine) -> None:
    script = "trap 'echo caught; exit 9' TERM; echo ready; while :; do sleep 0.1; done"
    with engine.start("container", "run", "--name", "traps", HOST, "sh", "-c", script) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.read() == "caught\n"
        assert process.wait(10) == 9
    run(engine, "--name", "again", "--restart", "on-failure:2", HOST, "sh", "-c", "exit 4")
    wait_until(
        lambda: (
            state(engine, "again") == "exited" and state(engine, "again", ".RestartCount") == "2"
        ),
        20,
        what="two attempts",
    )
    run(engine, "--name", "always", "--restart", "always", HOST, "sleep", "600")
    first = state(engine, "always", ".State.Pid")
    os.kill(int(first), signal.SIGKILL)
    wait_until(lambda: state(engine, "always", ".State.Pid") not in (first, "0"), 10)
    container(engine, "stop", "-t", "0", "always")
    assert state(engine, "always") == "exited"
    container(engine, "update", "--restart", "no", "always")
    assert state(engine, "always", ".HostConfig.RestartPolicy.Name") == "no"
    container(engine, "rm", "traps", "again", "always")


def test_start_attached_and_the_id_file(engine: Engine, tmp_path: Path) -> None:
    file = tmp_path / "cid"
    made = container(
        engine, "create", "--cidfile", str(file), "-i", HOST, "sh", "-c", "cat; exit 6"
    )
    assert file.read_text() == made
    assert container(engine, "start", "-ai", made, code=6, stdin="twice\n") == "twice"
    assert container(engine, "start", "-ai", made, code=6, stdin="again\n") == "again"
    assert (
        "is there already"
        in engine.run("container", "run", "--cidfile", str(file), HOST, "true").err
    )
    other = tmp_path / "other"
    engine.run("container", "run", "--cidfile", str(other), "no-such-image").expect(125)
    assert not other.exists()
    container(engine, "rm", made)


def test_cp_both_ways(engine: Engine, tmp_path: Path) -> None:
    run(engine, "--name", "box", HOST, "sleep", "600")
    (tmp_path / "here").write_text("text\n")
    container(engine, "cp", str(tmp_path / "here"), "box:/tmp/there")
    assert container(engine, "exec", "box", "cat", "/tmp/there") == "text"
    container(engine, "cp", "box:/tmp/there", str(tmp_path / "back"))
    assert (tmp_path / "back").read_text() == "text\n"
    container(engine, "rm", "-f", "box")


def test_prune_update_and_stats(engine: Engine) -> None:
    container(engine, "run", "--name", "ended", HOST, "true")
    container(engine, "run", "--name", "kept", "-l", "keep", HOST, "true")
    run(engine, "--name", "lives", "-m", "64m", HOST, "sleep", "600")
    row = json.loads(container(engine, "stats", "--no-stream", "--format", "json"))
    assert row["Name"] == "lives" and row["MemUsage"].endswith("/ 64MiB")
    assert row["CPUPerc"].endswith("%") and int(row["PIDs"]) >= 1
    container(engine, "update", "-m", "128m", "--pids-limit", "50", "lives")
    assert state(engine, "lives", ".HostConfig.Memory") == str(128 << 20)
    row = json.loads(container(engine, "stats", "--no-stream", "--format", "json", "lives"))
    assert row["MemUsage"].endswith("/ 128MiB")
    assert engine.run("container", "prune").expect(2).err  # nobody to ask
    pruned = container(engine, "prune", "-f", "--filter", "label!=keep").splitlines()
    assert pruned[0] == "Deleted Containers:" and pruned[-1].startswith("Total reclaimed space:")
    assert names(engine, "-a") == ["lives", "kept"]
    container(engine, "rm", "-f", "lives", "kept")


def test_volumes_and_the_system(engine: Engine) -> None:
    assert engine.ok("volume", "create", "--label", "a=b", "data").out == "data\n"
    anonymous = engine.ok("volume", "create").out.strip()
    assert len(anonymous) == 64
    run(engine, "--name", "user", "-v", "data:/d", HOST, "sh", "-c", "echo x >/d/f; sleep 600")
    assert engine.ok("volume", "ls", "-q", "-f", "dangling=true").out.split() == [anonymous]
    assert engine.ok("volume", "inspect", "-f", "{{.Labels.a}}", "data").out == "b\n"
    assert "in use by user" in engine.run("volume", "rm", "data").expect(1).err
    rows = engine.ok("system", "df", "--format", "{{.Type}}:{{.TotalCount}}:{{.Active}}").out
    assert rows.splitlines()[1:] == ["Containers:1:1", "Local Volumes:2:1", "Build Cache:0:0"]
    container(engine, "rename", "user", "renamed")
    found = container(engine, "run", "--rm", HOST, "getent", "hosts", "renamed")
    assert found.split()[0] == state(
        engine, "renamed", ".NetworkSettings.Networks.bridge.IPAddress"
    )
    seen = engine.ok(
        "system", "events", "--since", "1h", "--until", "0s", "-f", "container=renamed"
    )
    assert " container rename " in seen.out
    container(engine, "kill", "renamed")
    container(engine, "wait", "renamed")
    pruned = engine.ok("system", "prune", "-f", "--volumes").out
    assert "Deleted Containers:" in pruned and anonymous in pruned
    assert engine.ok("volume", "ls", "-q").out == "data\n"
    assert engine.ok("volume", "prune", "-af").out.splitlines()[1] == "data"


def test_a_killed_caller_and_a_killed_daemon_leave_the_container(engine: Engine) -> None:
    run(engine, "--name", "stays", "--rm", HOST, "sleep", "600")
    pid = state(engine, "stays", ".State.Pid")
    engine.kill(engine.daemon_pids())
    assert state(engine, "stays", ".State.Pid") == pid
    container(engine, "stop", "-t", "0", "stays")
    wait_until(lambda: names(engine, "-a") == [], 10, what="--rm after the daemon's death")
    assert_nothing_of_containers(engine)


def test_what_could_not_be_done_as_asked_is_told_to_the_caller(engine: Engine) -> None:
    """sysfs has no id-mapped mounts: its files belong to nobody, which is no failure."""
    words = "has no id-mapped mounts"
    mount = ("-v", "/sys/kernel/mm:/seen:ro")
    attached = engine.run("container", "run", "--rm", *mount, HOST, "echo", "out")
    assert (attached.code, attached.out) == (0, "out\n")
    assert words in attached.err
    detached = engine.ok("container", "run", "-d", "--name", "told", *mount, HOST, "sleep", "600")
    assert words in detached.err and len(detached.out.strip()) == 64
    container(engine, "kill", "told")
    container(engine, "wait", "told")
    started = engine.ok("container", "start", "told")
    assert (started.out, words in started.err) == ("told\n", True)
    container(engine, "rm", "-f", "told")


def test_a_reboot_is_recognised(engine: Engine) -> None:
    """Everything dies, the run-time directory is gone, and the records are of another boot."""
    for name, policy in (
        ("plain", "no"),
        ("always", "always"),
        ("stopped", "always"),
        ("unless", "unless-stopped"),
        ("left", "unless-stopped"),
    ):
        run(engine, "--name", name, "--restart", policy, HOST, "sleep", "600")
    container(engine, "stop", "-t", "0", "stopped", "left")
    engine.kill(engine.daemon_pids())
    engine.kill([process.pid for process in engine.processes()])
    wait_until(lambda: not engine.processes(), 10, what="an empty machine")
    shutil.rmtree(engine.paths.run)
    # Another id of the kernel's cannot be had; records of another boot can.
    store = Store.open(engine.paths)
    for record in store.containers():
        store.put_container(replace(record, boot_id="of another boot"))
    store.close()
    alive = ["always", "stopped", "unless"]
    wait_until(lambda: sorted(names(engine)) == alive, 20, what="those that come back")
    assert state(engine, "plain") == "exited"
    assert "rebooted" in state(engine, "plain", ".State.Error")
    assert state(engine, "left") == "exited"
    wait_until(lambda: engine.run("container", "exec", "always", "true").code == 0, 20)
    container(engine, "rm", "-f", "plain", "left", *alive)
