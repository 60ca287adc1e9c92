"""Sessions: bytes both ways on one connection, each half with its own end."""

from __future__ import annotations

import os
import socket
import struct
import threading

import pytest

from stackctl.api.client import Client, SessionSocket
from stackctl.errors import RemoteError
from support.fake_engine import Served
from support.waiting import wait_until


def send(session: SessionSocket, data: bytes) -> threading.Thread:
    """Sends and half-closes while the caller reads."""

    def work() -> None:
        session.socket.sendall(data)
        session.socket.shutdown(socket.SHUT_WR)

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def read_all(session: SessionSocket) -> bytes:
    parts = []
    while piece := session.socket.recv(65536):
        parts.append(piece)
    return b"".join(parts)


def frames(data: bytes) -> dict[int, bytes]:
    out: dict[int, bytes] = {}
    while data:
        number, length = struct.unpack(">BxxxL", data[:8])
        assert length and len(data) >= 8 + length
        out[number] = out.get(number, b"") + data[8 : 8 + length]
        data = data[8 + length :]
    return out


@pytest.mark.parametrize("tty", [False, True])
def test_three_megabytes_both_ways(client: Client, served: Served, tty: bool) -> None:
    data = os.urandom(3 * 1024 * 1024).replace(b"!", b"?")
    session = client.open_session("exec", {"tty": tty})
    assert (session.id, session.tty) == ("s0", tty)
    sender = send(session, data)
    got = read_all(session)
    sender.join()
    assert (got if tty else frames(got)) == (data if tty else {1: data})
    session.close()
    wait_until(lambda: served.engine.sessions[0].closed)


def test_standard_error_has_its_own_frames(client: Client) -> None:
    session = client.open_session("exec", {})
    session.socket.sendall(b"!oops")
    assert session.socket.recv(100) == b"\x02\0\0\0\0\0\0\x04oops"
    session.close()


def test_the_output_may_end_before_the_input(client: Client, served: Served) -> None:
    session = client.open_session("exec", {"tty": True})
    session.socket.sendall(b"still open")
    assert session.socket.recv(100) == b"still open"
    served.on_loop(served.engine.sessions[0].end())
    assert session.socket.recv(100) == b""
    session.close()
    wait_until(lambda: served.engine.sessions[0].closed)


def test_a_process_that_does_not_read_does_not_block_the_client(
    client: Client, served: Served
) -> None:
    session = client.open_session("exec", {"tty": True, "deaf": True})
    sender = send(session, b"x" * 3_000_000)
    sender.join(20)
    assert not sender.is_alive()
    served.on_loop(served.engine.sessions[0].end())
    assert read_all(session) == b""
    session.close()


def test_a_client_that_goes_away_without_a_word(client: Client, served: Served) -> None:
    """Nothing is written, so only the hang-up tells it from a half-close."""
    session = client.open_session("attach", {})
    half = client.open_session("attach", {})
    half.socket.shutdown(socket.SHUT_WR)
    # A fake attach ends with its input; a real one does not.
    session.socket.close()
    wait_until(lambda: served.engine.sessions[0].closed)
    half.close()


def test_a_hundred_sessions_leave_nothing(client: Client, served: Served) -> None:
    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    client.call("count", {"n": 1})
    wait_until(lambda: served.tasks() == 0)
    before = descriptors()
    for number in range(100):
        session = client.open_session("attach", {})
        if number % 2:
            session.socket.sendall(b"half a word")
        session.close()
    wait_until(lambda: all(s.closed for s in served.engine.sessions))
    wait_until(lambda: served.tasks() == 0)
    wait_until(lambda: descriptors() <= before)


def test_an_error_before_the_upgrade_is_an_ordinary_one(client: Client) -> None:
    with pytest.raises(RemoteError, match="no such service: gone") as caught:
        client.open_session("exec", {"service": "gone"})
    assert caught.value.kind == "not-found"
