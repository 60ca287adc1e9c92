"""Asks for one name again and again, the next question after each answer; in a container's
network namespace.

Usage: asker.py SERVER NAME COUNT. Prints answers a second, p50 and p99 in microseconds.
"""

from __future__ import annotations

import socket
import struct
import sys
import time

_WARM = 200


def main() -> None:
    server, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    labels = b"".join(bytes((len(part),)) + part.encode() for part in name.split("."))
    tail = labels + b"\0" + struct.pack(">HH", 1, 1)
    link = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    link.settimeout(5)
    link.connect((server, 53))
    times, clock = [], time.perf_counter_ns
    for number in range(count + _WARM):
        query = struct.pack(">HHHHHH", number & 0xFFFF, 0x0100, 1, 0, 0, 0) + tail
        began = clock()
        link.send(query)
        reply = link.recv(4096)
        times.append(clock() - began)
        # The same id, an answer without an error, and something in it.
        assert reply[:2] == query[:2], "another question's answer"
        assert not reply[3] & 15 and reply[6:8] != b"\0\0", f"no address for {name}"
    times = sorted(times[_WARM:])
    print(count / (sum(times) / 1e9), times[count // 2] / 1e3, times[count * 99 // 100] / 1e3)


if __name__ == "__main__":
    main()
