"""Who asks is served before those who only connect, and nobody is lost."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from stackctl.api.http import Limits
from stackctl.api.lobby import Lobby

CROWD = 300


class Seat(asyncio.Protocol):
    """Answers what it gets with how many had been seated by then."""

    taken: list[Seat]

    def __init__(self, taken: list[Seat]) -> None:
        self.taken = taken

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.taken.append(self)

    def data_received(self, data: bytes) -> None:
        self.transport.write(b"%d" % len(self.taken))


class Scene:
    """A lobby, those who come to it, and those who were seated."""

    def __init__(self, directory: Path, clients: contextlib.ExitStack) -> None:
        self.path = str(directory / "s")
        self.clients = clients
        self.taken: list[Seat] = []
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.bind(self.path)
        self.sock.listen(1024)
        self.sock.setblocking(False)

    def client(self, text: bytes = b"") -> socket.socket:
        made = self.clients.enter_context(socket.socket(socket.AF_UNIX))
        made.connect(self.path)
        made.sendall(text)
        made.setblocking(False)
        return made

    def open(self, **limits: float) -> Lobby:
        lobby = Lobby(self.sock, lambda: Seat(self.taken), Limits(**limits))  # type: ignore[arg-type]
        self.clients.callback(lobby.close)
        self.clients.callback(lambda: [seat.transport.abort() for seat in self.taken])
        return lobby


async def said(sock: socket.socket) -> bytes:
    return await asyncio.get_running_loop().sock_recv(sock, 1000)


Play = Callable[[Callable[[Scene], object]], None]


@pytest.fixture
def play(tmp_path: Path) -> Play:
    """Runs a scenario in a loop of its own."""

    def run(scenario: Callable[[Scene], object]) -> None:
        async def whole() -> None:
            with contextlib.ExitStack() as clients:
                await scenario(Scene(tmp_path, clients))  # type: ignore[misc]

        asyncio.run(asyncio.wait_for(whole(), 30))

    return run


def test_who_asks_does_not_wait_for_those_who_say_little(play: Play) -> None:
    async def scenario(scene: Scene) -> None:
        little = [scene.client(b"GET / HT"[: number % 9]) for number in range(CROWD)]
        asks = scene.client(b"GET /_ping HTTP/1.1\r\n\r\n")
        lobby = scene.open()
        assert await said(asks) == b"1"
        # None of the others has cost a transport, and each is served when it goes on.
        assert len(scene.taken) == 1 and lobby.occupied
        for place in (0, 8, CROWD - 1):
            little[place].send(b"\r\n\r")
        for place in (0, 8, CROWD - 1):
            little[place].send(b"\n")
            assert int(await said(little[place])) >= 2

    play(scenario)


def test_what_can_be_no_head_waits_for_no_more_of_it(play: Play) -> None:
    """Seated, since the parser says what is wrong; who has ended its half is let go."""

    async def scenario(scene: Scene) -> None:
        scene.open()
        for text in (b"GET /\n\n", b"\x16\x03\x01", b"X" * 20000):
            assert await said(scene.client(text))
        before = len(scene.taken)
        for text in (b"", b"GET / HTTP/1.1\r\n"):
            ended = scene.client(text)
            ended.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionResetError):
                assert await said(ended) == b""
        assert len(scene.taken) == before

    play(scenario)


def test_of_too_many_the_longest_waiting_are_let_go(play: Play) -> None:
    async def scenario(scene: Scene) -> None:
        made = [scene.client(b"G" * (number >= 50)) for number in range(100)]
        lobby = scene.open(lobby=40)
        for one in made[:60]:
            with contextlib.suppress(ConnectionResetError):
                assert await said(one) == b""
        for one in made[60:]:
            one.send(b"\r\n\r\n")
            assert await said(one)
        assert len(scene.taken) == 40 and not lobby.occupied

    play(scenario)


def test_nobody_waits_beyond_the_deadlines(play: Play) -> None:
    """One timer for all: the silent have theirs, a head that has begun another."""

    async def scenario(scene: Scene) -> None:
        silent = scene.client()
        begun = [scene.client(b"GET / HTTP/1.1\r\n") for _ in range(100)]
        lobby = scene.open(head_seconds=0.05, idle_seconds=1000)
        for one in begun:
            assert (await said(one)).startswith(b"HTTP/1.1 408 ")
            assert await said(one) == b""
        assert lobby.occupied
        lobby.hurry(0.05)
        assert await said(silent) == b""
        assert not lobby.occupied and not scene.taken

    play(scenario)
