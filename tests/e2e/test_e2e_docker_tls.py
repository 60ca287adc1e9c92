"""The engine over TCP with mutual TLS: Docker's clients, and our own."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stackctl.state.endpoints import TlsFiles
from support.certificates import Authority
from support.dockers import RemoteDocker, commands
from support.engine import Engine
from support.waiting import wait_until

docker_py = pytest.importorskip("docker")

pytestmark = pytest.mark.needs("root", "netns", "userns", "overlay", "cgroup", "nft", "bridge")

IMAGE = "stackctl/host"


@dataclass
class Remote:
    """An engine that answers over TCP, and a client's certificates for it."""

    engine: Engine
    port: int
    authority: Authority
    files: TlsFiles

    @property
    def directory(self) -> Path:
        return self.files.key.parent

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"


def answering(engine: Engine) -> list[str]:
    """The addresses that the engine's log names."""
    with contextlib.suppress(FileNotFoundError):
        lines = map(json.loads, engine.paths.daemon_log.read_text().splitlines())
        return [str(line["at"]) for line in lines if line["message"] == "answering"]
    return []


@pytest.fixture
def remote(engine: Engine, tmp_path: Path) -> Iterator[Remote]:
    authority = Authority(tmp_path / "authority")
    ours = authority.issue("localhost", "127.0.0.1")
    link = tmp_path / "docker.sock"
    flags = ("--tlsverify", "--tlscacert", str(ours.authority), "--tlscert", str(ours.certificate))
    more = ("--tlskey", str(ours.key), "--host", f"unix://{tmp_path}/more.sock")
    with engine.start(
        *("daemon", "--host", "tcp://127.0.0.1:0", *flags, *more, "--docker-socket", str(link))
    ) as process:
        wait_until(lambda: answering(engine) and link.exists(), 20, what="an answering engine")
        port = int(answering(engine)[-1].rpartition(":")[2])
        yield Remote(engine, port, authority, authority.issue("client"))
        for one in engine.ok("container", "ls", "-aq").out.split():
            engine.ok("container", "rm", "-f", one)
        process.send_signal(signal.SIGTERM)
        process.wait(20)
    assert not link.is_symlink()


@pytest.mark.parametrize("program", commands())
def test_the_docker_command(remote: Remote, program: str) -> None:
    docker = RemoteDocker(remote.engine, program, remote.address, remote.directory)
    assert docker.ok("version", "-f", "{{.Server.APIVersion}}").strip() == "1.51"
    assert docker.ok("run", "--rm", IMAGE, "sh", "-c", "echo out") == "out\n"
    text = "x" * 1023 + "\n"
    assert docker.ok("run", "-i", "--rm", IMAGE, "cat", stdin=text * 2048) == text * 2048
    failed = docker.run("run", "--rm", IMAGE, "sh", "-c", "echo err >&2; exit 7")
    assert (failed.code, failed.err) == (7, "err\n")
    docker.ok("run", "-d", "--name", "box", "--init", IMAGE, "sleep", "infinity")
    # Its output comes when its input has ended: the two ends are apart.
    counted = docker.ok("exec", "-i", "box", "wc", "-c", stdin=text * 1024)
    assert counted.split() == [str(1 << 20)]
    assert docker.run("exec", "box", "sh", "-c", "exit 3").code == 3
    docker.ok("rm", "-f", "box")


def test_docker_py(remote: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)  # requests lets them win over the client's own
    told = {
        "DOCKER_HOST": f"tcp://{remote.address}",
        "DOCKER_TLS_VERIFY": "1",
        "DOCKER_CERT_PATH": str(remote.directory),
    }
    client = docker_py.from_env(environment=told, timeout=30)
    assert client.containers.run(IMAGE, "echo hello", remove=True) == b"hello\n"
    box = client.containers.run(IMAGE, "sleep infinity", init=True, detach=True)
    assert box.exec_run("echo inside").output == b"inside\n"
    out, err = box.exec_run(["sh", "-c", "echo a; echo b >&2"], demux=True).output
    assert (out, err) == (b"a\n", b"b\n")
    made = client.api.exec_create(box.id, ["head", "-1"], stdin=True)
    sock = client.api.exec_start(made["Id"], socket=True)
    sock._sock.sendall(b"line\n") if hasattr(sock, "_sock") else sock.sendall(b"line\n")
    frame = b""
    while len(frame) < 13 and (piece := sock.recv(64)):
        frame += piece
    assert frame[8:] == b"line\n"
    sock.close()
    box.remove(force=True)
    client.close()


def test_nothing_for_who_has_no_certificate(remote: Remote, tmp_path: Path) -> None:
    other = Authority(tmp_path / "other")
    foreign = other.issue("x", trusted=remote.authority)
    docker = RemoteDocker(remote.engine, commands()[0], remote.address, foreign.key.parent)
    refused = docker.run("ps")
    assert refused.code == 1 and "certificate" in refused.err
    with socket.create_connection(("127.0.0.1", remote.port), 20) as plain:
        plain.sendall(b"GET /containers/json HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = b""
        with contextlib.suppress(ConnectionError):
            while piece := plain.recv(4096):
                answer += piece
        assert b"HTTP" not in answer


def test_tcp_without_tls_is_refused(engine: Engine) -> None:
    refused = engine.run("daemon", "--host", "tcp://127.0.0.1:0").expect(2)
    assert "mutual TLS only" in refused.err and "--tlsverify" in refused.err


def test_our_own_command_and_a_context(remote: Remote, tmp_path: Path) -> None:
    engine, files = remote.engine, remote.files
    elsewhere: Any = {
        "env": {
            "STACKCTL_RUN": str(tmp_path / "none"),
            "STACKCTL_ROOT": str(tmp_path / "none"),
            "STACKCTL_CONFIG": str(tmp_path / "config"),
        }
    }
    where = f"host=tcp://{remote.address},ca={files.authority}"
    engine.ok(
        *("context", "create", "far", "--engine"),
        f"{where},cert={files.certificate},key={files.key}",
        **elsewhere,
    )
    engine.ok("context", "use", "far", **elsewhere)
    assert "far *" in engine.ok("context", "ls", **elsewhere).out
    ran = engine.run(
        "container", "run", "-i", "--rm", IMAGE, "wc", "-c", stdin="12345", **elsewhere
    )
    assert (ran.code, ran.out.split()) == (0, ["5"]), ran
    direct = ("-H", f"tcp://{remote.address}", "--tlscacert", str(files.authority))
    own = ("--tlscert", str(files.certificate), "--tlskey", str(files.key))
    made = engine.ok(*direct, *own, "container", "run", "-d", IMAGE, "sleep", "100", **elsewhere)
    assert engine.ok("container", "ls", "-q").out.strip() == made.out.strip()[:12]
    refused = engine.run("doctor", **elsewhere)
    assert refused.code == 2 and "--context default" in refused.err


STACK = """\
services:
  web:
    build: {context: app, args: {WORD: built}}
    command: sh -c 'cat /words /run/secrets/key /etc/web.conf; echo $$FROM_FILE; exec sleep 100'
    init: true
    env_file: web.env
    secrets: [key]
    configs: [{source: conf, target: /etc/web.conf}]
    volumes: ["kept:/kept"]
secrets: {key: {file: key.txt}}
configs: {conf: {file: ./conf.txt}}
volumes: {kept: {}}
"""
DOCKERFILE = """\
FROM stackctl/host
ARG WORD
COPY . /app
RUN echo $WORD > /words; ls -A /app | tr '\\n' ' ' >> /words; echo >> /words
"""


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A project that the engine's machine is taken not to have."""
    directory = tmp_path / "faraway"
    (directory / "app").mkdir(parents=True)
    files = {
        "stack.yaml": STACK,
        "web.env": "FROM_FILE=from-env-file\n",
        "key.txt": "from-secret\n",
        "conf.txt": "from-config\n",
        "app/Dockerfile": DOCKERFILE,
        "app/sent": "",
        "app/hidden": "",
        "app/.dockerignore": "hidden\n.dockerignore\nDockerfile\n",
    }
    for name, text in files.items():
        (directory / name).write_text(text)
    return directory


def test_a_stack_of_this_machine_on_an_engine_elsewhere(remote: Remote, elsewhere: Path) -> None:
    engine = remote.engine
    where = ("-H", f"tcp://{remote.address}")
    env = {"STACKCTL_CERT_PATH": str(remote.directory), "STACKCTL_ROOT": "/x", "STACKCTL_RUN": "/x"}

    def run(*argv: str, code: int = 0) -> str:
        done = engine.run(*where, *argv, cwd=elsewhere, env=env).expect(code)
        return done.text

    run("plan", code=2)
    run("up", "-d", "--wait")
    (elsewhere / "key.txt").unlink()  # it is there by now
    wait_until(lambda: "from-env-file" in run("logs", "web"), 20, what="its words")
    words = run("logs", "--no-log-prefix", "web").split("\n")
    assert words[:5] == ["built", "sent ", "from-secret", "from-config", "from-env-file"]
    assert run("exec", "-T", "web", "sh", "-c", "echo inside").strip() == "inside"
    (elsewhere / "key.txt").write_text("from-secret\n")
    run("plan")  # nothing is to be done: nothing depends on where files are
    (elsewhere / "app" / "sent").write_text("changed")
    run("up", "-d", "--build")
    assert run("exec", "-T", "web", "cat", "/app/sent") == "changed"
    saved = elsewhere / "saved.tar"
    run("image", "save", "-o", str(saved), "faraway-web")
    run("down", "-v")
    run("image", "rm", "faraway-web")
    assert "faraway-web" in run("image", "load", "-i", str(saved))
    run("image", "rm", "faraway-web")
    assert engine.ok("ls", "-q").out == ""
    assert not list((engine.paths.root / "received").iterdir())

    text = STACK.replace('"kept:/kept"', '"./app:/app:ro"')
    (elsewhere / "stack.yaml").write_text(text)
    refused = run("up", "-d", code=1)
    line = text[: text.index('"./app')].count("\n") + 1
    assert f"stack.yaml:{line}:" in refused and "another machine" in refused
    (elsewhere / "key.txt").unlink()
    assert 'secret "key"' in run("up", "-d", code=1)
    bound = run("container", "run", "-v", f"{elsewhere}:/x", IMAGE, "true", code=125)
    assert "is on this machine" in bound
