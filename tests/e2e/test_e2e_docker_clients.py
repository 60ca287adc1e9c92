"""docker-py, docker-compose and testcontainers against our socket."""

from __future__ import annotations

import base64
import io
import os
import shutil
import socket
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support import reaper
from support.dockers import Docker
from support.engine import Engine
from support.stack import free_port
from support.waiting import wait_until

docker = pytest.importorskip("docker")

pytestmark = pytest.mark.needs("root", "netns", "userns", "overlay", "cgroup", "nft", "bridge")

IMAGE = "stackctl/host"


@pytest.fixture
def client(engine: Engine) -> Iterator[Any]:
    engine.ok("info")
    with_client = docker.DockerClient(base_url=f"unix://{engine.paths.socket}", timeout=30)
    yield with_client
    for container in with_client.containers.list(all=True):
        container.remove(force=True, v=True)
    with_client.networks.prune()
    with_client.volumes.prune(filters={"all": True})
    with_client.close()


def test_docker_py_containers(client: Any) -> None:
    assert client.ping() and client.version()["ApiVersion"] == "1.51"
    assert client.containers.run(IMAGE, "echo hello", remove=True) == b"hello\n"
    with pytest.raises(docker.errors.ContainerError) as bad:
        client.containers.run(IMAGE, "sh -c 'echo no >&2; exit 3'", remove=True)
    assert bad.value.exit_status == 3 and bad.value.stderr == b"no\n"
    found = client.containers.run(
        IMAGE,
        "sh -c 'echo one; echo two >&2; exec sleep 100'",
        detach=True,
        name="py",
        labels={"x": "y"},
        ports={"80/tcp": None},
        mem_limit="64m",
        init=True,
    )
    wait_until(lambda: found.logs().count(b"\n") == 2, 10, what="its output")
    assert found.logs(stdout=True, stderr=False) == b"one\n"
    found.reload()
    assert found.status == "running" and found.attrs["HostConfig"]["Memory"] == 64 << 20
    assert found.ports["80/tcp"][0]["HostPort"].isdigit()
    assert [c.name for c in client.containers.list(filters={"label": "x=y"})] == ["py"]
    with pytest.raises(docker.errors.APIError) as taken:
        client.containers.create(IMAGE, "true", name="py")
    assert taken.value.status_code == 409 and "already in use" in taken.value.explanation
    found.stop(timeout=2)
    assert found.wait()["StatusCode"] == 143
    with pytest.raises(docker.errors.NotFound):
        client.containers.get("no-such")
    with pytest.raises(docker.errors.ImageNotFound):
        client.images.get("no-such")


def test_docker_py_streams(client: Any) -> None:
    found = client.containers.create(IMAGE, "cat", stdin_open=True)
    attached = found.attach_socket(params={"stdin": 1, "stdout": 1, "stream": 1})
    found.start()
    attached._sock.sendall(b"hey\n")
    assert attached.read(12) == b"\1\0\0\0\0\0\0\4hey\n"
    attached._sock.shutdown(socket.SHUT_WR)
    assert found.wait()["StatusCode"] == 0
    attached.close()
    spoken = client.containers.run(IMAGE, "sh -c 'for i in 1 2 3; do echo $i; done'", detach=True)
    assert b"".join(spoken.logs(stream=True, follow=True)) == b"1\n2\n3\n"
    lives = client.containers.run(IMAGE, "sleep 100", detach=True)
    for _ in range(5):  # what comes right behind the head must not be lost
        code, output = lives.exec_run("sh -c 'echo out; echo err >&2; exit 9'", demux=True)
        assert code == 9 and output == (b"out\n", b"err\n")
    through = lives.exec_run("cat", stdin=True, socket=True).output
    through._sock.sendall(b"ping\n")
    through._sock.shutdown(socket.SHUT_WR)
    assert through.read(13) == b"\1\0\0\0\0\0\0\5ping\n"
    through.close()
    with io.BytesIO() as buffer:
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            entry = tarfile.TarInfo("z")
            entry.size = 3
            tar.addfile(entry, io.BytesIO(b"abc"))
        assert lives.put_archive("/tmp", buffer.getvalue())
    pieces, stat = lives.get_archive("/tmp/z")
    assert stat["size"] == 3
    with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as tar:
        file = tar.extractfile("z")
        assert file is not None and file.read() == b"abc"
    exported = lives.export()  # all of the machine's /usr: its beginning will do
    assert b"ustar" in next(exported)
    exported.close()


def test_docker_py_networks_volumes_events(client: Any) -> None:
    network = client.networks.create("pynet", labels={"q": "1"})
    assert [n.name for n in client.networks.list(names=["pynet"])] == ["pynet"]
    client.volumes.create("pyvol", labels={"q": "1"})
    assert [v.name for v in client.volumes.list(filters={"label": "q=1"})] == ["pyvol"]
    events = client.events(decode=True, filters={"type": "container"})
    found = client.containers.run(
        IMAGE, "sleep 100", detach=True, network="pynet", volumes={"pyvol": {"bind": "/v"}}
    )
    network.reload()
    assert [c.id for c in network.containers] == [found.id]
    first = next(events)
    assert first["Action"] == first["status"] == "create"
    assert first["Actor"]["ID"] == first["id"] == found.id and first["from"] == IMAGE
    events.close()
    found.remove(force=True)
    network.remove()
    assert client.networks.list(names=["pynet"]) == []


COMPOSE = """\
version: "3.7"
services:
  web:
    image: stackctl/host
    command: sh -c 'echo web up; exec sleep 1000'
    ports: ["${PORT}:80"]
    depends_on: [db]
    volumes: ["data:/data"]
  db:
    image: stackctl/host
    command: sh -c 'echo db up; exec sleep 1000'
    init: true
volumes: {data: {}}
"""

#: A further file, for a service that is built.
BUILT = """\
version: "3.7"
services:
  made:
    build: {context: made, args: {WORD: built}}
    command: cat /said
"""


def test_docker_compose(client: Any, engine: Engine, tmp_path: Path) -> None:
    program = shutil.which("docker-compose")
    assert program, "install docker-compose (scripts/packages.sh tests)"
    compose = Docker(engine, program)
    directory = tmp_path / "app"
    directory.mkdir()
    port = free_port()
    (directory / "docker-compose.yml").write_text(COMPOSE.replace("${PORT}", str(port)))

    compose.ok("up", "-d", cwd=directory)
    shown = compose.ok("ps", cwd=directory)
    assert f"0.0.0.0:{port}->80/tcp" in shown and shown.count(" Up ") == 2
    assert "web up" in compose.ok("logs", cwd=directory)
    ran = compose.run("exec", "-T", "web", "sh", "-c", "getent hosts db >&2; exit 4", cwd=directory)
    assert ran.code == 4 and "db" in ran.err
    once = compose.run("run", "--rm", "-T", "db", "sh", "-c", "echo once; exit 5", cwd=directory)
    assert once.code == 5 and "once" in once.out
    compose.ok("up", "-d", "--scale", "db=2", cwd=directory)
    assert len(compose.ok("ps", "-q", cwd=directory).split()) == 3
    before = compose.ok("ps", "-q", "web", cwd=directory)
    compose.ok("up", "-d", "--force-recreate", "--no-deps", "-t", "0", "web", cwd=directory)
    assert compose.ok("ps", "-q", "web", cwd=directory) not in ("", before)
    (directory / "made").mkdir()
    dockerfile = "FROM stackctl/host\nARG WORD\nRUN echo $WORD > /said\n"
    (directory / "made/Dockerfile").write_text(dockerfile)
    (directory / "built.yml").write_text(BUILT)
    both = ("-f", "docker-compose.yml", "-f", "built.yml")
    assert "Successfully tagged app_made" in compose.run(*both, "build", "made", cwd=directory).text
    assert "built" in compose.ok(*both, "run", "--rm", "-T", "made", cwd=directory)
    compose.ok(*both, "down", "-v", "-t", "0", cwd=directory)
    client.images.remove("app_made")
    assert client.containers.list(all=True, ignore_removed=True) == []
    assert client.volumes.list() == []
    # A stack of our own is compose's too: its labels say so.
    (directory / "stack.yaml").write_text(COMPOSE.replace("${PORT}", str(free_port())))
    engine.ok("-f", "stack.yaml", "-p", "app", "up", "-d", cwd=directory)
    assert "app-web-1" in compose.ok("-p", "app", "ps", cwd=directory)
    engine.ok("-f", "stack.yaml", "-p", "app", "down", "-v", cwd=directory)


def test_testcontainers(client: Any, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    core = pytest.importorskip("testcontainers.core.container")
    waiting = pytest.importorskip("testcontainers.core.waiting_utils")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{engine.paths.socket}")
    monkeypatch.setenv("PATH", engine.environment["PATH"])
    settings = pytest.importorskip("testcontainers.core.config").testcontainers_config
    # The reaper's own image is in a registry: what stands in for it does the same.
    program = base64.b64encode(Path(reaper.__file__).read_bytes()).decode()
    dockerfile = f"FROM {IMAGE}\nRUN echo {program} | base64 -d > /reaper.py\n"
    dockerfile += 'CMD ["python3", "/reaper.py"]\n'
    client.images.build(fileobj=io.BytesIO(dockerfile.encode()), tag="reaper:test", rm=True)
    monkeypatch.setattr(settings, "ryuk_disabled", False)
    monkeypatch.setattr(settings, "ryuk_image", "reaper:test")
    monkeypatch.setattr(settings, "ryuk_docker_socket", str(engine.paths.socket))
    redis = (
        core.DockerContainer(IMAGE)
        .with_command("redis-server --port 6379 --bind 0.0.0.0 --protected-mode no --dir /tmp")
        .with_exposed_ports(6379)
    )
    net = pytest.importorskip("testcontainers.core.network")
    with net.Network() as network, redis.with_network(network).with_network_aliases("store"):
        waiting.wait_for_logs(redis, "Ready to accept connections", timeout=20)
        address = ("127.0.0.1", int(redis.get_exposed_port(6379)))
        with socket.create_connection(address, timeout=10) as connection:
            connection.sendall(b"PING\r\n")
            assert connection.recv(64) == b"+PONG\r\n"
        code, output = redis.exec("redis-cli ping")
        assert code == 0 and output.strip() == b"PONG"
        asking = core.DockerContainer(IMAGE).with_network(network)
        asking.with_command("sh -c 'redis-cli -h store ping; exec sleep 100'")
        with asking:
            waiting.wait_for_logs(asking, "PONG", timeout=20)
    # A test run that is killed: its connection ends, and all that it made goes.
    labels = pytest.importorskip("testcontainers.core.labels").create_labels(IMAGE, None)
    network = client.networks.create("left", labels=labels)
    client.volumes.create("left", labels=labels)
    client.volumes.create("others")
    left = core.DockerContainer(IMAGE).with_volume_mapping("left", "/data")
    left.with_command("sleep infinity").with_kwargs(network="left").start()
    client.images.build(
        fileobj=io.BytesIO(f"FROM {IMAGE}\nRUN echo left > /left\n".encode()),
        tag="left:test",
        labels=labels,
    )
    core.Reaper._socket.close()
    wait_until(
        lambda: client.containers.list(all=True, ignore_removed=True) == [],
        60,
        what="the reaper to be done",
    )
    assert network.name not in [n.name for n in client.networks.list()]
    assert [v.name for v in client.volumes.list()] == ["others"]
    assert not [i for i in client.images.list() if "left:test" in i.tags]
    core.Reaper.delete_instance()


def test_a_container_drives_the_engine_through_its_socket(client: Any, engine: Engine) -> None:
    """Its root is nobody outside: that the socket was mounted into it is the consent."""
    script = (
        "curl -s --unix-socket /var/run/docker.sock http://d/containers/json"
        " | grep -o driver | sort -u; id -u"
    )
    # By its own name, and by Docker's where no Docker is (as reapers and proxies do).
    sources = {str(engine.paths.socket): "rw"}
    if not os.path.exists("/var/run/docker.sock"):
        sources["/var/run/docker.sock"] = "ro"
    for source, mode in sources.items():
        mount = {source: {"bind": "/var/run/docker.sock", "mode": mode}}
        output = client.containers.run(
            IMAGE, ["sh", "-c", script], name="driver", volumes=mount, remove=True
        )
        assert output.split() == [b"driver", b"0"]
    assert not os.path.exists("/var/run/docker.sock") or len(sources) == 1
    assert os.stat(engine.paths.socket).st_mode & 0o777 == 0o660
