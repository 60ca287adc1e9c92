"""Who asks is served before those who only connect, and nobody is lost."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from pathlib import Path

from stackctl.api.lobby import Lobby

CROWD = 300


class Seat(asyncio.Protocol):
    """Answers a whole head with how many had been seated by then."""

    taken: list[Seat]

    def __init__(self, taken: list[Seat]) -> None:
        self.taken = taken

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.taken.append(self)

    def data_received(self, data: bytes) -> None:
        if b"\r\n\r\n" in data:
            self.transport.write(b"%d" % len(self.taken))


def listening(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    sock.listen(1024)
    sock.setblocking(False)
    return sock


def test_who_asks_does_not_wait_for_those_who_say_little(tmp_path: Path) -> None:
    async def scenario() -> None:
        taken: list[Seat] = []
        with contextlib.ExitStack() as clients:
            sock = listening(tmp_path / "s")

            def client(text: bytes) -> socket.socket:
                made = clients.enter_context(socket.socket(socket.AF_UNIX))
                made.connect(str(tmp_path / "s"))
                made.sendall(text)
                made.setblocking(False)
                return made

            for number in range(CROWD):
                client(b"GET / HT"[: number % 9])
            asks = client(b"GET /_ping HTTP/1.1\r\n\r\n")
            lobby = Lobby(sock, lambda: Seat(taken), CROWD)
            before = int(await asyncio.get_running_loop().sock_recv(asks, 100))
            assert before < CROWD // 2
            while lobby.occupied:
                await asyncio.sleep(0)
            assert len(taken) == CROWD + 1
            lobby.close()
            for seat in taken:
                seat.transport.abort()

    asyncio.run(asyncio.wait_for(scenario(), 30))


def test_of_too_many_the_longest_waiting_are_let_go(tmp_path: Path) -> None:
    async def scenario() -> None:
        taken: list[Seat] = []
        with contextlib.ExitStack() as clients:
            sock = listening(tmp_path / "s")
            made = []
            for _ in range(100):
                made.append(clients.enter_context(socket.socket(socket.AF_UNIX)))
                made[-1].connect(str(tmp_path / "s"))
                made[-1].setblocking(False)
            lobby = Lobby(sock, lambda: Seat(taken), 40)
            assert await asyncio.get_running_loop().sock_recv(made[0], 1) == b""
            while lobby.occupied:
                await asyncio.sleep(0)
            assert len(taken) == 40
            lobby.close()
            for seat in taken:
                seat.transport.abort()

    asyncio.run(asyncio.wait_for(scenario(), 30))
