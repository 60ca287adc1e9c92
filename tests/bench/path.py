"""What one small message costs on its way to a container and back: microseconds of CPU.

    path.py NAME DIRECTORY GROUP

is one contender with two containers and a neighbour, in network namespaces of its own
(nobody else's rules may see its packets), until its input ends. `measure` has all of them
up at once and a connection on each way of each, and goes around between them every few
milliseconds: so a machine that is faster now than a second ago is so for everybody. Both
ends of a connection are one thread, so that the scheduler does not count: each side's
packets are handled within its own write. The lowest tenth of all rounds is given.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import networks
from contenders import Contender, every
from place import prepare
from work import Samples, timed

_CLONE_NEWNET = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)
_MESSAGE = b"x" * 200
#: Messages that only warm the caches, then a round's, and rounds before the next one's turn.
_WARM, _TRIPS, _ROUNDS = 20, 30, 4
#: (what, whose network namespace the client is in, address; "" the container's)
_WAYS = (
    ("container to container", "two", ""),
    ("a published port, from the LAN", "neighbour", networks.HOST),
    ("a published port, host's address", "host", networks.HOST),
    ("a published port, 127.0.0.1", "host", networks.LOOPBACK),
)

Ends = tuple[socket.socket, socket.socket]


def measure(
    contenders: Sequence[Contender], directory: Path, group: str, seconds: float, samples: Samples
) -> None:
    with contextlib.ExitStack() as stack:
        connected = [
            (contender, what, ends)
            for contender in contenders
            for what, ends in _ways(stack.enter_context(_served(contender, directory, group)))
        ]
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        costs: dict[int, list[float]] = {index: [] for index in range(len(connected))}
        turns = list(costs)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            random.shuffle(turns)
            for index in turns:
                costs[index] += _costs(connected[index][2])
        for index, (contender, what, _) in enumerate(connected):
            row = f"network: CPU of a message there and back: {what}, us"
            samples.add(row, contender, sorted(costs[index])[len(costs[index]) // 10])


def _costs(ends: Ends) -> Iterator[float]:
    _go(ends, _WARM)
    for _ in range(_ROUNDS):
        began = time.thread_time_ns()
        _go(ends, _TRIPS)
        yield (time.thread_time_ns() - began) / _TRIPS / 1000


def _go(ends: Ends, times: int) -> None:
    one, other = ends
    for _ in range(times):
        one.send(_MESSAGE)
        other.recv(4096)
        other.send(_MESSAGE)
        one.recv(4096)


@contextlib.contextmanager
def _served(contender: Contender, directory: Path, group: str) -> Iterator[dict[str, Any]]:
    """A child that is the contender; what it says of itself."""
    place = directory / f"path-{contender.name}"
    place.mkdir()
    command = ["unshare", "--mount", "--net", "--propagation", "private", "--", sys.executable]
    command += [__file__, contender.name, str(place), f"{group}-path"]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdin is not None and child.stdout is not None
    try:
        told = child.stdout.readline()
        if not told:
            raise SystemExit(f"bench: {contender.name} did not come up")
        yield json.loads(told)
    finally:
        child.stdin.close()
        child.wait()


def _ways(facts: dict[str, Any]) -> Iterator[tuple[str, Ends]]:
    """A connection on each way, by its name."""
    port = networks.STREAM
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    try:
        _enter(facts["one"])
        listener = socket.create_server(("0.0.0.0", port))
        for what, client, address in _WAYS:
            _enter(facts[client])
            one = socket.create_connection((address or facts["address"], port), timeout=10)
            other, _ = listener.accept()
            for link in (one, other):
                link.settimeout(None)
                link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            yield what, (one, other)
        listener.close()
    finally:
        _set_namespace(home)
        os.close(home)


def _enter(pid: int) -> None:
    with open(f"/proc/{pid}/ns/net") as file:
        _set_namespace(file.fileno())


def _set_namespace(descriptor: int) -> None:
    if _LIBC.setns(descriptor, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def main() -> None:
    name, directory, group = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    prepare(directory)
    contender = next(c for c in every(directory, group) if c.name == name)
    contender.open()
    try:
        path = directory / "path"
        path.mkdir()
        (path / "docker-compose.yml").write_text(networks.pair())
        timed(contender, path, contender.compose("up", "-d"))
        one, two = contender.pid("bench-one"), contender.pid("bench-two")
        neighbour = networks.meet_neighbour()
        facts = {"one": one, "two": two, "host": os.getpid(), "neighbour": neighbour.pid}
        sys.stdout.write(json.dumps({**facts, "address": networks.address_of(one)}) + "\n")
        sys.stdout.flush()
        sys.stdin.read()
        neighbour.kill()
        timed(contender, path, contender.compose("down", "-t", "0"))
    finally:
        contender.close()


if __name__ == "__main__":
    main()
