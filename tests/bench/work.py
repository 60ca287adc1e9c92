"""The kinds of work that are measured. Each leaves nothing running."""

from __future__ import annotations

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


KINDS: tuple[Kind, ...] = (Ten(), Chain(), Fifty())


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


def _body(reply: BinaryIO) -> None:
    """Reads an answer to its end, with a length or in chunks."""
    length = -1
    while (line := reply.readline().strip().lower()) != b"":
        if line.startswith(b"content-length:"):
            length = int(line.partition(b":")[2])
    if length >= 0:
        reply.read(length)
        return
    while size := int(reply.readline(), 16):
        reply.read(size + 2)
    reply.readline()


def timed(
    contender: Contender,
    path: Path,
    command: tuple[str, ...],
    more: Mapping[str, str] | None = None,
) -> float:
    """Seconds of a whole command. One that fails ends the run with what it said."""
    environment = {
        **os.environ,
        "COMPOSE_PARALLEL_LIMIT": "64",
        **contender.environment,
        "IMAGE": contender.image,
        **(more or {}),
    }
    started = time.monotonic()
    done = subprocess.run(
        command,
        cwd=path,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    elapsed = time.monotonic() - started
    if done.returncode != 0:
        raise SystemExit(f"bench: {' '.join(command)} gave {done.returncode}:\n{done.stdout}")
    return elapsed
