"""`make bench-net`: the network room alone, without containers' own start.

Plays on a machine of its own (a network namespace) with bare namespaces as
containers. Prints a table for docs/benchmarks.md. Compare within one run only.
"""

from __future__ import annotations

import asyncio
import socket
import statistics
import struct
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve()
sys.path[:0] = [str(HERE.parents[2]), str(HERE.parents[1])]

from stackctl.model.container import NetworkAttachment, PortBinding  # noqa: E402
from stackctl.model.network import NetworkConfig  # noqa: E402
from stackctl.model.record import NetworkRecord  # noqa: E402
from stackctl.net.naming import Naming  # noqa: E402
from stackctl.net.service import Net  # noqa: E402
from stackctl.state.paths import Paths  # noqa: E402
from support.netlab import Box, run  # noqa: E402

MEMBERS, PORTS, QUERIES = 300, 500, 20_000
RESOLVER = 41053


def row(what: str, value: str) -> None:
    print(f"| {what} | {value} |", flush=True)


async def scenario(paths: Paths) -> None:
    paths.run.mkdir(parents=True)
    net = Net(paths)
    await net.open((), (), ())
    boxes: list[Box] = []
    try:
        config = NetworkConfig(name="front", enable_ipv6=True)
        front = await net.create_network(config, "f" * 64)
        took = await members(net, front, boxes)
        row(f"{MEMBERS} containers on one bridge: all connected", f"{took:.2f} s")
        row("one more: connected", f"{await one_more(net, front, boxes) * 1e3:.1f} ms")
        took = await ports(net)
        row(f"{PORTS} published ports: all added", f"{took * 1e3:.0f} ms")
        rate, half, tail = await asyncio.to_thread(names, boxes[0], "c7", False)
        row("names of ours, one asker", f"{rate:.0f} / s, p50 {half:.0f} us, p99 {tail:.0f} us")
        rate, half, tail = await asyncio.to_thread(names, boxes[0], "web", False)
        row("a name of 300 replicas (truncated)", f"{rate:.0f} / s, p50 {half:.0f} us")
    finally:
        await net.stop()
        await net.close()
        for box in boxes:
            box.end()


def naming(name: str, pid: int, endpoint: object) -> Naming:
    return Naming(
        container_id=name,
        endpoints=(endpoint,),  # type: ignore[arg-type]
        names={"front": (name, "web")},
        resolver=(pid, RESOLVER),
    )


async def members(net: Net, front: NetworkRecord, boxes: list[Box]) -> float:
    boxes += [Box() for _ in range(MEMBERS)]
    leases = [net.lease(front, f"c{n}", NetworkAttachment(network="front")) for n in range(MEMBERS)]
    boxes[0].load(net.netns_blobs(RESOLVER))
    began = time.monotonic()
    await asyncio.gather(
        *(
            net.attach(box.pid, [lease], naming(f"c{n}", box.pid, lease))
            for n, (box, lease) in enumerate(zip(boxes, leases, strict=True))
        )
    )
    return time.monotonic() - began


async def one_more(net: Net, front: NetworkRecord, boxes: list[Box]) -> float:
    taken = []
    for number in range(9):
        box, name = Box(), f"more{number}"
        boxes.append(box)
        lease = net.lease(front, name, NetworkAttachment(network="front"))
        began = time.monotonic()
        await net.attach(box.pid, [lease], naming(name, box.pid, lease))
        taken.append(time.monotonic() - began)
    return statistics.median(taken)


async def ports(net: Net) -> float:
    endpoint = net._addresses.endpoints_of("c1")[0]
    began = time.monotonic()
    await asyncio.gather(
        *(
            net.publish("c1", endpoint, [PortBinding(container_port=80, host_port=(p, p))])
            for p in range(20_000, 20_000 + PORTS)
        )
    )
    return time.monotonic() - began


def names(box: Box, name: str, tcp: bool) -> tuple[float, float, float]:
    """(answers a second, p50, p99 in microseconds) of one asker's sequential loop."""
    link = box.new_socket(socket.SOCK_DGRAM)
    link.connect(("127.0.0.11", 53))
    labels = b"".join(bytes((len(part),)) + part.encode() for part in name.split("."))
    tail = labels + b"\0" + struct.pack(">HH", 1, 1)
    clock: Callable[[], int] = time.perf_counter_ns
    times = []
    for number in range(QUERIES):
        query = struct.pack(">HHHHHH", number & 0xFFFF, 0x0100, 1, 0, 0, 0) + tail
        began = clock()
        link.send(query)
        link.recv(4096)
        times.append(clock() - began)
    link.close()
    times.sort()
    total = sum(times) / 1e9
    return QUERIES / total, times[len(times) // 2] / 1e3, times[len(times) * 99 // 100] / 1e3


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="scbn-") as directory:
        print("| the network alone | |\n|---|---|", flush=True)
        run(scenario, Path(directory))
