"""Networks: throughput, published ports, names, and how long it takes to change them.

The programs that measure (iperf3, nginx, wrk, a loop that asks for a name) are the
machine's own for all contenders: they are started from here in the network
namespaces of containers that sleep, so nothing but the network differs.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from contenders import Contender
from images import _client, _remove
from work import SLEEP, Kind, Samples, timed

#: An address of the machine's own beside loopback.
HOST = "192.0.2.1"
#: The address of a neighbour who reaches that one; it is in a namespace of its own.
NEIGHBOUR = "192.0.2.2"
LOOPBACK = "127.0.0.1"
SECONDS = "3"
TRIES = 6
QUESTIONS = "20000"
PORTS, MEMBERS, JOINS = 500, 300, 5
#: Seconds; the peers take up to ten minutes for all.
LIMIT = 100
STREAM, _PAGES = 5201, 8080
_NGINX = """\
daemon off; master_process off; worker_processes 1; pid {place}/pid; error_log {place}/log;
events {{ worker_connections 512; }}
http {{ access_log off; server {{ listen {port}; root {place}; }} }}
"""


def pair() -> str:
    return f"""\
services:
  one:
    image: '${{IMAGE}}'
    container_name: bench-one
    {SLEEP}
    ports: ['{STREAM}:{STREAM}', '{_PAGES}:{_PAGES}']
  two:
    image: '${{IMAGE}}'
    container_name: bench-two
    {SLEEP}
"""


def inside(pid: int, *argv: str) -> list[str]:
    return ["nsenter", f"--net=/proc/{pid}/ns/net", "--", *argv]


def asked(argv: list[str]) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode != 0:
        raise SystemExit(f"bench: {' '.join(argv)}:\n{done.stdout}{done.stderr}")
    return done.stdout


def has_programs(*names: str) -> bool:
    missing = [name for name in names if not shutil.which(name)]
    if missing:
        sys.stderr.write(f"net: not without {', '.join(missing)}\n")
    return not missing


def meet_neighbour() -> subprocess.Popen[bytes]:
    """Another machine on a LAN with this one: a process in a network namespace of its own."""
    neighbour = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
    there = f"/proc/{neighbour.pid}/ns/net"
    while Path(there).stat().st_ino == Path("/proc/self/ns/net").stat().st_ino:
        pass
    asked(["ip", "link", "add", "lan0", "type", "veth", "peer", "name", "lan1", "netns", there])
    asked(["ip", "address", "add", f"{HOST}/24", "dev", "lan0"])
    asked(["ip", "link", "set", "lan0", "up"])
    asked(inside(neighbour.pid, "ip", "address", "add", f"{NEIGHBOUR}/24", "dev", "lan1"))
    asked(inside(neighbour.pid, "ip", "link", "set", "lan1", "up"))
    return neighbour


@contextlib.contextmanager
def running(argv: list[str]) -> Iterator[None]:
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


class Networks(Kind):
    """Two containers of one stack, and what passes between them and to them."""

    name = "net"

    def __init__(self) -> None:
        self._neighbour: subprocess.Popen[bytes] | None = None

    def fits(self, contender: Contender) -> bool:
        return has_programs("iperf3", "wrk", "nginx", "ip")

    def run(self, contender: Contender, directory: Path, samples: Samples) -> None:
        self._neighbour = self._neighbour or meet_neighbour()
        path = self.project(contender, directory, pair())
        timed(contender, path, contender.compose("up", "-d"))
        one, two = contender.pid("bench-one"), contender.pid("bench-two")
        address = address_of(one)
        self._throughput(contender, samples, one, two, address)
        self._requests(contender, samples, one, two, address, path)
        self._names(contender, samples, two, directory)
        timed(contender, path, contender.compose("down", "-t", "0"))

    def _throughput(
        self, contender: Contender, samples: Samples, one: int, two: int, address: str
    ) -> None:
        assert self._neighbour is not None
        with running(inside(one, "iperf3", "-s", "-p", str(STREAM))):
            client = ["iperf3", "-J", "-t", SECONDS, "-p", str(STREAM), "-c"]
            for what, argv in (
                ("container to container", inside(two, *client, address)),
                ("a published port, from the LAN", inside(self._neighbour.pid, *client, HOST)),
                ("a published port, host's address", [*client, HOST]),
                ("a published port, 127.0.0.1", [*client, LOOPBACK]),
            ):
                told = json.loads(_until_it_listens(argv))
                rate = told["end"]["sum_received"]["bits_per_second"] / 1e9
                samples.add(f"network: {what}, Gbit/s", contender, rate)

    def _requests(
        self,
        contender: Contender,
        samples: Samples,
        one: int,
        two: int,
        address: str,
        path: Path,
    ) -> None:
        place = path / "pages"
        place.mkdir(exist_ok=True)
        (place / "page").write_bytes(b"x" * 1024)
        conf = place / "conf"
        conf.write_text(_NGINX.format(place=place, port=_PAGES))
        # Each on a processor of its own: where the scheduler puts the two changes more than
        # any network.
        here, there = _two_processors()
        with running(inside(one, *here, "nginx", "-c", str(conf))):
            client = [*there, "wrk", "-t", "1", "-c", "16", "-d", "1"]
            for what, argv in (
                ("container to container", inside(two, *client, f"http://{address}:{_PAGES}/page")),
                ("a published port, host's address", [*client, f"http://{HOST}:{_PAGES}/page"]),
                ("a published port, 127.0.0.1", [*client, f"http://{LOOPBACK}:{_PAGES}/page"]),
            ):
                # The best of a few: who else wants the processors.
                told = [_until_it_listens(argv) for _ in range(TRIES)]
                lines = [x for text in told for x in text.splitlines() if "Requests/sec" in x]
                rate = max(float(line.split()[1]) for line in lines)
                samples.add(f"network: {what}, requests/s", contender, rate)

    def _names(self, contender: Contender, samples: Samples, two: int, directory: Path) -> None:
        lines = Path(f"/proc/{two}/root/etc/resolv.conf").read_text().splitlines()
        server = next(x.split()[1] for x in lines if x.startswith("nameserver"))
        asker = [sys.executable, str(Path(__file__).with_name("asker.py"))]
        ask = inside(two, *asker, server, "bench-one")
        if why := _silent(ask):
            # Podman's is not there now and then after many networks came and went.
            sys.stderr.write(f"net: {contender.name}'s resolver at {server}: {why}: no names\n")
            return
        for when in ("", " while images unpack"):
            with _unpacking(contender, directory) if when else contextlib.nullcontext():
                rate, half, tail = map(float, asked([*ask, QUESTIONS]).split())
            samples.add(f"network: names{when}, answers/s", contender, rate)
            samples.add(f"network: names{when}, p50, us", contender, half)
            samples.add(f"network: names{when}, p99, us", contender, tail)


class Connect(Kind):
    """A running container joins a network and leaves it."""

    name = "connect"

    def run(self, contender: Contender, directory: Path, samples: Samples) -> None:
        path = self.project(contender, directory, pair())
        timed(contender, path, contender.compose("up", "-d"))
        timed(contender, path, contender.engine("network", "create", "bench-more"))
        for _ in range(JOINS):
            for verb, row in (("connect", "connect a container"), ("disconnect", "disconnect it")):
                argv = contender.engine("network", verb, "bench-more", "bench-two")
                samples.add(f"network: {row}", contender, timed(contender, path, argv))
        timed(contender, path, contender.engine("network", "rm", "bench-more"))
        timed(contender, path, contender.compose("down", "-t", "0"))


class Ports(Kind):
    """A service with 500 published ports, beside the same one without.

    One round only: of the peers, one takes minutes to take them away again.
    """

    name = "ports"
    is_single = True

    def run(self, contender: Contender, directory: Path, samples: Samples) -> None:
        ports = f"['20000-{20000 + PORTS - 1}:20000-{20000 + PORTS - 1}']"
        # The first one warms caches and is not counted.
        for row, more in (("", ""), ("no", ""), (f"{PORTS}", f", ports: {ports}")):
            text = f"services:\n  one: {{image: '${{IMAGE}}', {SLEEP}{more}}}\n"
            path = self.project(contender, directory, text)
            up = timed(contender, path, contender.compose("up", "-d"), limit=LIMIT)
            what = f"network: one service, {row} published ports, at most {LIMIT} s"
            if row:
                samples.add(f"{what}: up -d", contender, up)
            _remove_all(contender, path)


class Crowd(Kind):
    """300 containers on one bridge: how fast they come, and how many, within a limit.

    Minutes; only when it is asked for by name.
    """

    name = "crowd"
    on_request = True
    is_single = True

    def run(self, contender: Contender, directory: Path, samples: Samples) -> None:
        text = "services:\n" + "".join(
            f"  s{i:03}: {{image: '${{IMAGE}}', {SLEEP}}}\n" for i in range(MEMBERS)
        )
        path = self.project(contender, directory, text)
        took = timed(contender, path, contender.compose("up", "-d"), limit=LIMIT)
        there = _ids(contender)
        what = f"network: {MEMBERS} containers on one bridge, at most {LIMIT} s"
        samples.add(f"{what}: came, containers", contender, len(there))
        samples.add(f"{what}: up -d, containers/s", contender, len(there) / took)
        _remove_all(contender, path)


def _ids(contender: Contender, *more: str) -> list[str]:
    environment = {**os.environ, **contender.environment}
    argv = contender.engine("container", "ls", "-q", *more)
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.split()


def _remove_all(contender: Contender, path: Path) -> None:
    if there := _ids(contender, "-a"):
        timed(contender, path, contender.removal(*there))


def _silent(ask: list[str]) -> str:
    """Why a resolver does not answer, for some seconds; "" when it does."""
    done = None
    for _ in range(50):
        done = subprocess.run([*ask, "1"], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return ""
    return done.stderr.strip().rpartition("\n")[2] if done else ""


def _two_processors() -> tuple[list[str], list[str]]:
    """What a command begins with that is to run on one processor, and on another."""
    usable = sorted(os.sched_getaffinity(0))
    return ["taskset", "-c", str(usable[0])], ["taskset", "-c", str(usable[-1])]


def address_of(pid: int) -> str:
    told = json.loads(asked(inside(pid, "ip", "-j", "-4", "address", "show", "dev", "eth0")))
    return str(told[0]["addr_info"][0]["local"])


def _until_it_listens(argv: list[str]) -> str:
    """What the client says; asked again while its server is still starting."""
    for _ in range(50):
        done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
        if done.returncode == 0 and "unable to connect" not in done.stdout:
            return done.stdout
    raise SystemExit(f"bench: {' '.join(argv)}:\n{done.stdout}{done.stderr}")


@contextlib.contextmanager
def _unpacking(contender: Contender, directory: Path) -> Iterator[None]:
    """Imports an image of many files again and again meanwhile."""
    archive = directory / "unpacked.tar"
    if not archive.exists():
        asked(["tar", "-C", "/usr", "-cf", str(archive), "lib/python3.11", "share/perl"])
    client, _ = _client(contender)
    place = archive.parent
    is_over = threading.Event()

    def work() -> None:
        while not is_over.is_set():
            timed(contender, place, (*client, "import", str(archive), "unpacked:1"))

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
        timed(contender, place, (*client, *_remove(contender), "unpacked:1"))
