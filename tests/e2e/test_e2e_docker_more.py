"""The docker command, new and old: terminals, flags of run, images from containers, registries."""

from __future__ import annotations

import json
import os
import signal
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.docker_registry import docker_registry
from support.dockers import Docker, commands
from support.engine import Engine
from support.terminal import Terminal, terminal
from support.waiting import wait_until

docker_py = pytest.importorskip("docker")

pytestmark = pytest.mark.needs("root", "netns", "userns", "overlay", "cgroup", "nft", "bridge")

IMAGE = "stackctl/host"


@pytest.fixture(params=commands())
def docker(request: pytest.FixtureRequest, engine: Engine) -> Iterator[Docker]:
    engine.ok("info")
    client = Docker(engine, request.param)
    yield client
    if ids := client.ok("ps", "-aq").split():
        client.ok("rm", "-f", "-v", *ids)
    client.run("volume", "prune", "-f")
    if ids := client.ok("images", "-q", "--filter", "label=made").split():
        client.run("rmi", "-f", *ids)


def shell_size(shell: Terminal, columns: int, rows: int) -> None:
    """Resizes and asks until the terminal inside has this size: a resize is a request of its
    own, and docker listens for the signal only some time after it has begun."""
    size = b"%d %d" % (rows, columns)

    def asked() -> bool:
        shell.resize(columns, rows)
        shell.type(b"stty size; echo as''ked\n")
        shell.expect(b"asked")
        return size in shell.before

    wait_until(asked, 20, what=f"a terminal of {size.decode()}")


def test_at_a_terminal(docker: Docker) -> None:
    run = (docker.program, "run", "-it", "--name", "tty", IMAGE, "sh")
    with terminal(run, docker.environment) as shell:
        shell.expect(b"# ")
        shell_size(shell, 100, 30)
        shell_size(shell, 77, 20)
        # Ctrl-C goes to the process inside.
        shell.type(b"sh -c \"echo in''side; exec sleep 1000\"\n")
        shell.expect(b"inside")
        shell.type(b"\x03")
        shell.expect(b"# ")
        shell.type(b"\x10\x11")  # Ctrl-P Ctrl-Q: it goes on without us
        assert shell.end() == 0
    assert docker.ok("ps", "-q", "-f", "name=tty").strip()
    with terminal((docker.program, "attach", "tty"), docker.environment) as shell:
        shell.type(b"echo back''again; exit 12\n")
        shell.expect(b"backagain")
        assert shell.end() == 12
    docker.ok("start", "tty")
    with terminal((docker.program, "exec", "-it", "tty", "sh"), docker.environment) as shell:
        shell.type(b"test -t 0 && echo is''-terminal; exit 3\n")
        shell.expect(b"is-terminal")
        assert shell.end() == 3
    docker.ok("rm", "-f", "tty")


def test_flags_of_run(docker: Docker, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "given").write_text("from outside\n")
    flags = [
        *("--name", "flags", "-P", "--expose", "81", "--cpus", "0.5", "--memory", "64m"),
        *("-v", f"{tmp_path}:/bound:ro", "--mount", "type=volume,source=v1,target=/vol"),
        *("--tmpfs", "/mem", "--user", "12:34", "--cap-drop", "ALL", "--cap-add", "CHOWN"),
        *("--restart", "on-failure:3", "--hostname", "named", "--init", "--shm-size", "8m"),
        *("--health-cmd", "test -e /bound/given", "--health-interval", "1s", "--read-only"),
    ]
    docker.ok("run", "-d", *flags, IMAGE, "sleep", "1000")
    told = docker.ok("exec", "flags", "sh", "-c", "cat /bound/given; hostname; id -u; id -g")
    assert told.split("\n")[:4] == ["from outside", "named", "12", "34"]
    assert docker.run("exec", "flags", "touch", "/x").code != 0
    wait_until(
        lambda: (
            docker.ok("inspect", "-f", "{{.State.Health.Status}}", "flags").strip() == "healthy"
        ),
        30,
        what="its health",
    )
    (shape,) = json.loads(docker.ok("inspect", "flags"))
    host = shape["HostConfig"]
    assert (host["NanoCpus"], host["Memory"]) == (500_000_000, 64 << 20)
    assert host["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 3}
    assert host["CapDrop"] == ["ALL"] and len(host["CapAdd"]) == 1 and host["ReadonlyRootfs"]
    assert {m["Type"] for m in shape["Mounts"]} >= {"bind", "volume"}
    assert int(shape["NetworkSettings"]["Ports"]["81/tcp"][0]["HostPort"])
    status = docker.ok("exec", "flags", "cat", "/proc/self/status")
    bounding = next(line for line in status.splitlines() if line.startswith("CapBnd"))
    assert int(bounding.split()[1], 16) == 1  # CAP_CHOWN alone
    every = docker.ok("run", "--rm", "--privileged", IMAGE, "cat", "/proc/self/status")
    bounding = next(line for line in every.splitlines() if line.startswith("CapEff"))
    assert int(bounding.split()[1], 16) & 1 << 21  # CAP_SYS_ADMIN


def test_images_of_containers(docker: Docker) -> None:
    docker.ok("run", "--name", "maker", IMAGE, "sh", "-c", "echo made > /made")
    assert "A /made" in docker.ok("diff", "maker").splitlines()
    changes = ("-c", 'CMD ["cat", "/made"]', "-c", "LABEL made=yes", "-c", "ENV E=1")
    identity = docker.ok("commit", "-m", "why", "-a", "who", *changes, "maker", "kept:1").strip()
    assert docker.ok("images", "-q", "--no-trunc", "kept:1").strip() == identity
    assert docker.ok("run", "--rm", "kept:1") == "made\n"
    (shape,) = json.loads(docker.ok("image", "inspect", "kept:1"))
    assert (shape["Comment"], shape["Author"]) == ("why", "who")
    assert "E=1" in shape["Config"]["Env"] and shape["Config"]["Labels"] == {"made": "yes"}
    assert "why" in docker.ok("history", "kept:1")
    refused = docker.run("commit", "maker", "UPPER:1")
    assert refused.code == 1 and "Traceback" not in refused.err
    assert "No such container" in docker.run("commit", "nobody", "x").err
    assert "kept:1" in docker.ok("rmi", "kept:1")


def test_a_registry(docker: Docker, tmp_path: Path) -> None:
    root = tmp_path / "root.tar"
    (tmp_path / "file").write_text("content\n")
    with tarfile.open(root, "w") as tar:
        tar.add(tmp_path / "file", "file")
    docker.ok("import", "-c", "LABEL made=yes", str(root), "local:1")
    docker.ok("create", "--name", "plain", "local:1", "x")
    docker.ok("export", "-o", str(tmp_path / "files.tar"), "plain")
    with tarfile.open(tmp_path / "files.tar") as tar:
        assert tar.extractfile("file").read() == b"content\n"  # type: ignore[union-attr]
    docker.ok("rm", "plain")
    with docker_registry(tmp_path) as address:
        name = f"{address}/some/image:1"
        assert "Succeeded" in docker.ok(
            "login", "-u", "user", "--password-stdin", address, stdin="password\n"
        )
        docker.ok("tag", "local:1", name)
        pushed = docker.ok("push", name)
        digest = next(w for w in pushed.split() if w.startswith("sha256:") and len(w) == 71)
        docker.ok("rmi", name, "local:1")
        pulled = docker.ok("pull", name)
        assert digest in pulled and f"Downloaded newer image for {name}" in pulled
        assert "up to date" in docker.ok("pull", name)
        assert docker.ok("pull", "-q", f"{address}/some/image@{digest}").strip().endswith(digest)
        missing = docker.run("pull", f"{address}/some/image:2")
        assert missing.code == 1 and "not found" in missing.err.lower()
        # run pulls what is missing, and says that it does.
        docker.ok("rmi", "-f", docker.ok("images", "-q", name).split()[0])
        ran = docker.run("run", "--rm", name, "x")
        assert ran.code == 127 and "Unable to find image" in ran.err
        docker.ok("logout", address)
        docker.ok("rmi", "-f", docker.ok("images", "-q", name).split()[0])
    searched = docker.run("search", "anything")
    assert searched.code == 1 and "not supported" in searched.err


def test_events_prunes_and_waits(docker: Docker) -> None:
    assert docker.run("run", "--name", "gone", "-l", "a=b", IMAGE, "sh", "-c", "exit 4").code == 4
    assert docker.ok("wait", "gone").strip() == "4"
    window = ("--since", "10m", "--until", "0s", "-f", "container=gone")

    def deaths() -> list[dict[str, Any]]:
        # Docker's "0s" ago is the beginning of this second.
        lines = docker.ok("system", "events", *window, "--format", "{{json .}}").splitlines()
        return [e for e in map(json.loads, lines) if e["Action"] == "die"]

    (died,) = wait_until(deaths, 20, what="the event of its end")
    assert died["Type"] == "container" and died["Actor"]["Attributes"]["exitCode"] == "4"
    assert died["Actor"]["Attributes"]["a"] == "b" and died["timeNano"] // 10**9 == died["time"]
    assert (
        died["id"] == died["Actor"]["ID"] and died["from"] == died["Actor"]["Attributes"]["image"]
    )
    docker.ok("run", "-d", "--name", "stays", "--init", IMAGE, "sleep", "1000")
    rows = docker.ok("stats", "--no-stream", "--format", "{{json .}}").splitlines()
    assert [json.loads(row)["Name"] for row in rows] == ["stays"]
    assert "gone" not in docker.ok("container", "prune", "-f")  # ids only
    assert docker.ok("ps", "-a", "--format", "{{.Names}}").split() == ["stays"]
    docker.ok("volume", "create", "unused")
    docker.ok("network", "create", "unused")
    docker.ok("system", "prune", "-f", "--volumes")
    assert "unused" not in docker.ok("network", "ls")
    docker.ok("image", "prune", "-f")
    kinds = docker.ok("system", "df", "--format", "{{.Type}}").splitlines()
    assert {"Images", "Containers", "Local Volumes"} <= set(kinds)
    assert "default" in docker.ok("context", "ls")
    docker.ok("kill", "-s", "TERM", "stays")
    assert docker.ok("wait", "stays").strip() == str(128 + signal.SIGTERM)


def test_attach_with_what_was_said_before(engine: Engine) -> None:
    """logs=1 replays, stream=1 goes on: both in one request."""
    engine.ok("info")
    client: Any = docker_py.DockerClient(base_url=f"unix://{engine.paths.socket}", timeout=30)
    script = "echo before; echo wrong >&2; read line; echo after $line"
    box = client.containers.create(IMAGE, ["sh", "-c", script], stdin_open=True)
    box.start()
    wait_until(lambda: box.logs() == b"before\nwrong\n", 20, what="its first words")
    assert box.attach(stream=False, logs=True, stdout=True, stderr=False) == b"before\n"
    sock = box.attach_socket(params={"stdin": 1, "stdout": 1, "logs": 1, "stream": 1})
    os.write(sock.fileno(), b"typed\n")
    got = b""
    while b"after typed" not in got and (piece := sock.read(4096)):
        got += piece
    assert b"before" in got and b"wrong" not in got
    sock.close()
    assert box.wait()["StatusCode"] == 0
    box.remove()
    client.close()
