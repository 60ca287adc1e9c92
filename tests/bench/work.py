"""The kinds of work that are measured. Each leaves nothing running."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from contenders import Contender

SLEEP = "command: [busybox, sleep, '3600']"
HEALTH = "healthcheck: {test: [CMD, busybox, 'true'], interval: 1s, timeout: 5s, retries: 10}"


class Samples:
    """Measured values by (row, contender): seconds, if the row does not end with another unit.

    Memory is in bytes.
    """

    def __init__(self) -> None:
        self.values: dict[tuple[str, str], list[float]] = defaultdict(list)

    def add(self, row: str, contender: Contender, value: float) -> None:
        self.values[row, contender.name].append(value)


def services(count: int) -> str:
    """A stack of independent services; `version` is for the old docker-compose."""
    lines = ["services:"]
    for i in range(1, count + 1):
        lines.append(f"  s{i:02}: {{image: '${{IMAGE}}', {SLEEP}}}")
    return "\n".join(lines) + "\n"


def chain(count: int) -> str:
    """Each service waits until the one before it is healthy."""
    lines = ["services:"]
    for i in range(1, count + 1):
        lines += [f"  s{i:02}:", "    image: '${IMAGE}'", f"    {SLEEP}", f"    {HEALTH}"]
        if i > 1:
            lines.append(f"    depends_on: {{s{i - 1:02}: {{condition: service_healthy}}}}")
    return "\n".join(lines) + "\n"


class Kind(ABC):
    name = ""
    large = False
    #: Takes long: only when it is asked for by name.
    on_request = False
    #: Takes very long: one round, without one that warms caches.
    is_single = False

    def fits(self, contender: Contender) -> bool:
        return True

    @abstractmethod
    def run(self, contender: Contender, directory: Path, samples: Samples) -> None: ...

    def project(self, contender: Contender, directory: Path, text: str) -> Path:
        path = directory / f"{contender.name}-{self.name}"
        path.mkdir(exist_ok=True)
        (path / "docker-compose.yml").write_text(text)
        return path


class Ten(Kind):
    """10 independent services: up, up again, ps, down."""

    name = "ten"

    def run(self, contender: Contender, directory: Path, samples: Samples) -> None:
        path = self.project(contender, directory, services(10))
        up = contender.compose("up", "-d")
        samples.add("10 services: up -d", contender, timed(contender, path, up))
        samples.add("10 services: up -d again", contender, timed(contender, path, up))
        ps = contender.compose("ps")
        samples.add("10 services: ps", contender, timed(contender, path, ps))
        down = contender.compose("down", "-t", "0")
        samples.add("10 services: down -t 0", contender, timed(contender, path, down))


class Chain(Kind):
    """10 services in a chain, each waiting until the one before is healthy, interval 1 s."""

    name = "chain"
    large = True

    def fits(self, contender: Contender) -> bool:
        return contender.has_health

    def run(self, contender: Contender, directory: Path, samples: Samples) -> None:
        path = self.project(contender, directory, chain(10))
        started = time.monotonic()
        timed(contender, path, contender.up_until_healthy("s10"))
        contender.wait_healthy(f"{path.name}_s10_1")
        row = "chain of 10, interval 1 s: all healthy"
        samples.add(row, contender, time.monotonic() - started)
        timed(contender, path, contender.compose("down", "-t", "0"))


class Fifty(Kind):
    """50 independent services, and what the engine takes while they run."""

    name = "fifty"
    large = True

    def run(self, contender: Contender, directory: Path, samples: Samples) -> None:
        path = self.project(contender, directory, services(50))
        up = contender.compose("up", "-d")
        samples.add("50 services: up -d", contender, timed(contender, path, up))
        samples.add("50 containers: engine memory (PSS)", contender, contender.memory())
        if contender.socket is not None:
            ps = ("/usr/bin/docker", "-H", f"unix://{contender.socket}", "ps")
            timed(contender, path, ps)
            samples.add("50 containers: docker ps", contender, timed(contender, path, ps))
            row = "50 containers: 200 x GET /containers/json"
            samples.add(row, contender, listed(contender.socket, 200))
        down = contender.compose("down", "-t", "0")
        samples.add("50 services: down -t 0", contender, timed(contender, path, down))


class Single(Kind):
    """One container that ends at once, as a whole command; and started over Docker's API.

    On a network of its own: the dockerd of the bench has no default one.
    """

    name = "single"
    times = 5

    def run(self, contender: Contender, directory: Path, samples: Samples) -> None:
        path = self.project(contender, directory, services(1))
        timed(contender, path, contender.engine("network", "create", "single"))
        command = contender.engine(
            *("container", "run", "--rm", "--network", "single", contender.image),
            *("busybox", "true"),
        )
        for _ in range(self.times):
            samples.add("container run --rm IMAGE true", contender, timed(contender, path, command))
        if contender.socket is not None:
            for _ in range(self.times):
                taken = started(contender.socket, contender.image, "single")
                samples.add("one container: create and start (API)", contender, taken)
        timed(contender, path, contender.engine("network", "rm", "single"))


KINDS: tuple[Kind, ...] = (Ten(), Chain(), Fifty(), Single())


def started(path: Path, image: str, network: str) -> float:
    """Seconds from asking for a container until its program has been executed."""
    wish = {
        "Image": image,
        "Cmd": ["busybox", "sleep", "3600"],
        "HostConfig": {"NetworkMode": network},
    }
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        reply = connection.makefile("rb")
        began = time.monotonic()
        made = json.loads(_asked(connection, reply, "POST", "/containers/create", wish))["Id"]
        _asked(connection, reply, "POST", f"/containers/{made}/start", {})
        taken = time.monotonic() - began
        _asked(connection, reply, "DELETE", f"/containers/{made}?force=1", {})
        return taken


def _asked(
    connection: socket.socket, reply: BinaryIO, method: str, target: str, body: dict[str, object]
) -> bytes:
    raw = json.dumps(body).encode()
    head = f"{method} /v1.41{target} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    connection.sendall(f"{head}Content-Length: {len(raw)}\r\n\r\n".encode() + raw)
    status = reply.readline()
    found = _headers(reply) if b" 204 " in status else _body(reply)
    assert b" 20" in status, (status, found)
    return found


def _headers(reply: BinaryIO) -> bytes:
    while reply.readline().strip():
        pass
    return b""


def listed(path: Path, count: int) -> float:
    """Seconds for so many lists of containers, one after the other on one connection."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        reply = connection.makefile("rb")
        started = time.monotonic()
        for _ in range(count):
            connection.sendall(b"GET /v1.41/containers/json HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b" 200 " in reply.readline()
            _body(reply)
        return time.monotonic() - started


def _body(reply: BinaryIO) -> bytes:
    """Reads an answer to its end, with a length or in chunks."""
    length = -1
    while (line := reply.readline().strip().lower()) != b"":
        if line.startswith(b"content-length:"):
            length = int(line.partition(b":")[2])
    if length >= 0:
        return reply.read(length)
    found = b""
    while size := int(reply.readline(), 16):
        found += reply.read(size + 2)[:-2]
    reply.readline()
    return found


def timed(
    contender: Contender,
    path: Path,
    command: tuple[str, ...],
    more: Mapping[str, str] | None = None,
    limit: float | None = None,
) -> float:
    """Seconds of a whole command. One that fails ends the run with what it said.

    One that takes longer than `limit` seconds is broken off.
    """
    environment = {
        **os.environ,
        "COMPOSE_PARALLEL_LIMIT": "64",
        "COMPOSE_HTTP_TIMEOUT": "600",
        **contender.environment,
        "IMAGE": contender.image,
        **(more or {}),
    }
    started = time.monotonic()
    try:
        done = subprocess.run(
            command,
            cwd=path,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=limit,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return time.monotonic() - started
    elapsed = time.monotonic() - started
    if done.returncode != 0:
        raise SystemExit(f"bench: {' '.join(command)} gave {done.returncode}:\n{done.stdout}")
    return elapsed
