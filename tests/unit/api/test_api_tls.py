"""TCP: nothing without a certificate of the engine's authority, and all that a socket can."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import pytest

from stackctl.api.certificates import client_context, server_context
from stackctl.api.client import Client
from stackctl.api.http import Limits
from stackctl.errors import EngineUnreachable, NotPermitted, UsageError
from stackctl.state.endpoints import RemoteEngine, TlsFiles
from support.certificates import Authority
from support.fake_engine import Served
from support.waiting import wait_until

PING = b"GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n"


@dataclass
class Secured:
    served: Served
    port: int
    authority: Authority
    client: TlsFiles

    def engine(self, files: TlsFiles | None = None) -> RemoteEngine:
        return RemoteEngine("127.0.0.1", self.port, files or self.client)

    def connected(self) -> ssl.SSLSocket:
        raw = socket.create_connection(("127.0.0.1", self.port), 20)
        return client_context(self.client).wrap_socket(raw, server_hostname="127.0.0.1")


@pytest.fixture
def secured(serve: Callable[..., Served], tmp_path: Path) -> Secured:
    served = serve(limits=Limits(head_seconds=0.3, idle_seconds=5, waiting=16))
    authority = Authority(tmp_path / "ours")
    context = server_context(authority.issue("127.0.0.1", "localhost"))
    port = served.on_loop(served.server.listen_tls("127.0.0.1", 0, context))
    return Secured(served, port, authority, authority.issue("client"))


@pytest.fixture
def client(secured: Secured) -> Iterator[Client]:
    client = Client.connect_remote(secured.engine())
    yield client
    client.close()


def test_verbs_and_archives_as_on_the_socket(client: Client, secured: Secured) -> None:
    assert client.call("echo", {"x": 1})["exit_code"] == 0
    with client.stream("count", {"n": 300, "size": 10_000}) as messages:
        assert sum(1 for _ in messages) == 301
    stat, content = client.archive_get("c", "/f")
    with content:
        assert stat["name"] == "c:/f" and len(content.read()) == 64 * 65536
    upload = b"u" * 3_000_000
    client.archive_put("c", "/", BytesIO(upload))
    assert secured.served.engine.uploaded == upload


def test_a_session_ends_its_input_and_hears_the_rest(client: Client, secured: Secured) -> None:
    """Three megabytes there and back; the end of input goes alone, the answer comes behind it."""
    session = client.open_session("exec", {"tty": True})
    text = b"x" * 3_000_000
    got = bytearray()

    def read() -> None:
        while data := session.socket.recv(65536):
            got.extend(data)

    reader = threading.Thread(target=read)
    reader.start()
    session.socket.sendall(text)
    session.socket.shutdown(socket.SHUT_WR)
    reader.join(30)
    assert bytes(got) == text
    session.close()
    wait_until(lambda: secured.served.engine.sessions[0].closed)


def test_a_client_that_goes_away_ends_what_served_it(client: Client, secured: Secured) -> None:
    messages = client.stream("forever", {})
    assert next(messages)["type"] == "step"
    messages.close()
    wait_until(lambda: secured.served.engine.open == 0)


def strangers(secured: Secured, tmp_path: Path) -> dict[str, ssl.SSLContext]:
    other = Authority(tmp_path / "other")
    without = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    without.load_verify_locations(secured.client.authority)
    old = client_context(secured.client)
    with pytest.warns(DeprecationWarning):
        old.minimum_version = ssl.TLSVersion.TLSv1
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    return {
        "no certificate": without,
        "another authority's": client_context(other.issue("x", trusted=secured.authority)),
        "an old protocol": old,
    }


def test_without_a_certificate_of_ours_nothing_is_answered(
    secured: Secured, tmp_path: Path
) -> None:
    for who, context in strangers(secured, tmp_path).items():
        raw = socket.create_connection(("127.0.0.1", secured.port), 20)
        with pytest.raises((ssl.SSLError, ConnectionError)), raw:
            sock = context.wrap_socket(raw, server_hostname="127.0.0.1")
            sock.sendall(PING)
            assert not sock.recv(4096), who
            raise ConnectionError
    # Plain HTTP: an alert in TLS at the most, not a word of an answer.
    with socket.create_connection(("127.0.0.1", secured.port), 20) as plain:
        plain.sendall(PING)
        answer = b""
        with contextlib.suppress(ConnectionError):
            while piece := plain.recv(4096):
                answer += piece
        assert b"HTTP" not in answer
    with secured.connected() as sock:
        sock.sendall(PING)
        assert sock.recv(4096).startswith(b"HTTP/1.1 200")


def test_our_client_says_what_is_wrong(secured: Secured, tmp_path: Path) -> None:
    other = Authority(tmp_path / "other")
    foreign = other.issue("foreign", trusted=secured.authority)
    with pytest.raises(NotPermitted, match="refuses this connection"):
        Client.connect_remote(secured.engine(foreign)).call("echo", {})
    with pytest.raises(EngineUnreachable, match="cannot be trusted"):
        Client.connect_remote(secured.engine(other.issue("distrustful")))
    elsewhere = RemoteEngine("127.0.0.2", secured.port, secured.client)
    with pytest.raises(EngineUnreachable, match=r"no engine answers at tcp://127\.0\.0\.2"):
        Client.connect_remote(elsewhere)
    with pytest.raises(UsageError, match=r"ca\.pem cannot be read"):
        Client.connect_remote(secured.engine(TlsFiles.of(tmp_path)))
    wrong = TlsFiles(secured.client.authority, secured.client.certificate, foreign.key)
    with pytest.raises(UsageError, match="cannot be used for TLS"):
        Client.connect_remote(secured.engine(wrong))


def test_who_never_shakes_hands_is_let_go(secured: Secured) -> None:
    """In time, and before that when there are too many: the engine keeps its descriptors."""
    with contextlib.ExitStack() as crowd:
        socks = [
            crowd.enter_context(socket.create_connection(("127.0.0.1", secured.port), 20))
            for _ in range(40)
        ]
        for sock in socks:
            with contextlib.suppress(ConnectionError):
                assert sock.recv(1) == b""
    with secured.connected() as sock:
        sock.sendall(PING)
        assert sock.recv(4096).startswith(b"HTTP/1.1 200")
