"""What one small message costs on its way to a container and back: microseconds of CPU.

Usage: trips.py SERVER_NETNS CLIENT_NETNS ADDRESS PORT INSIDE

Connects from one network namespace to ADDRESS:PORT, where a socket that listens at port
INSIDE of the other one answers. Both ends are one thread, so that the scheduler does not
count: each side's packets are handled within its own write. Prints the lowest tenth of
many short rounds.
"""

from __future__ import annotations

import ctypes
import os
import socket
import sys
import time

_CLONE_NEWNET = 0x40000000
_MESSAGE = b"x" * 200
_ROUNDS, _TRIPS = 400, 50
_LIBC = ctypes.CDLL(None, use_errno=True)


def enter(path: str) -> None:
    with open(path) as file:
        if _LIBC.setns(file.fileno(), _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"setns {path}")


def main() -> None:
    server, client, address, port, inside = sys.argv[1:]
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    enter(server)
    listener = socket.create_server(("0.0.0.0", int(inside)))
    enter(client)
    one = socket.create_connection((address, int(port)), timeout=10)
    other, _ = listener.accept()
    for link in (one, other):
        link.settimeout(None)
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    costs = []
    for _ in range(_ROUNDS):
        began = time.thread_time_ns()
        for _ in range(_TRIPS):
            one.send(_MESSAGE)
            other.recv(4096)
            other.send(_MESSAGE)
            one.recv(4096)
        costs.append((time.thread_time_ns() - began) / _TRIPS / 1000)
    sys.stdout.write(f"{sorted(costs)[_ROUNDS // 10]:.2f}\n")


if __name__ == "__main__":
    main()
