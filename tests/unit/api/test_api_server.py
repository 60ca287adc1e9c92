"""The server against clients that are slow, odd, hostile, or simply Docker's."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stackctl.api.http import Limits
from stackctl.errors import MachineError
from stackctl.state.paths import Paths
from support.fake_engine import Served
from support.waiting import wait_until

PING = b"GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n"


@contextlib.contextmanager
def connected(served: Served) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(20)
        sock.connect(str(served.path))
        yield sock


def read_to_end(sock: socket.socket) -> bytes:
    parts = []
    with contextlib.suppress(ConnectionError):
        while piece := sock.recv(65536):
            parts.append(piece)
    return b"".join(parts)


def ask(served: Served, request: bytes) -> bytes:
    """Everything that comes back until the server closes (asked to by half-closing)."""
    with connected(served) as sock:
        with contextlib.suppress(ConnectionError):
            sock.sendall(request)
        sock.shutdown(socket.SHUT_WR)
        return read_to_end(sock)


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def post(verb: str, body: bytes = b"{}", extra: bytes = b"") -> bytes:
    return b"POST /stackctl/v1/%b HTTP/1.1\r\nHost: x\r\n%bContent-Length: %d\r\n\r\n%b" % (
        verb.encode(),
        extra,
        len(body),
        body,
    )


def ping(served: Served) -> None:
    with connected(served) as sock:
        sock.sendall(PING)
        answer = sock.recv(65536)
        assert answer.startswith(b"HTTP/1.1 200") and answer.endswith(b"OK")


def test_ping_speaks_as_docker_does(served: Served) -> None:
    for request in (PING, PING.replace(b"/_ping", b"/v1.43/_ping")):
        head, _, body = ask(served, request).partition(b"\r\n\r\n")
        assert body == b"OK"
        assert b"api-version: 1.51" in head.lower()
        assert b"ostype: linux" in head.lower()
    head, _, body = ask(served, PING.replace(b"GET", b"HEAD")).partition(b"\r\n\r\n")
    assert status(head) == 200 and not body and b"api-version" in head.lower()


def test_the_socket_is_roots_and_its_groups(served: Served) -> None:
    assert stat.S_IMODE(served.path.stat().st_mode) == 0o660


def test_a_connection_serves_many_requests(served: Served) -> None:
    with connected(served) as sock:
        for _ in range(3):
            sock.sendall(PING)
            assert sock.recv(65536).endswith(b"OK")


def test_requests_may_come_all_at_once(served: Served) -> None:
    answer = ask(served, PING * 5 + post("count", b'{"n": 1}') + PING)
    assert answer.count(b"HTTP/1.1 200") == 7
    assert answer.count(b'"type":"result"') == 1


def test_a_request_may_come_in_single_bytes(served: Served) -> None:
    with connected(served) as sock:
        for byte in post("count", b'{"n": 1}'):
            sock.sendall(bytes([byte]))
        sock.shutdown(socket.SHUT_WR)
        assert b'"exit_code":3' in read_to_end(sock)


def test_a_chunked_body_and_an_expected_hundred(served: Served) -> None:
    with connected(served) as sock:
        sock.sendall(
            b"POST /stackctl/v1/count HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
            b"Expect: 100-continue\r\nConnection: close\r\n\r\n"
        )
        assert sock.recv(100).startswith(b"HTTP/1.1 100")
        sock.sendall(b'4\r\n{"n"\r\n4\r\n: 1}\r\n0\r\n\r\n')
        assert b'"exit_code":3' in read_to_end(sock)


def test_http_1_0_gets_an_answer_and_an_end(served: Served) -> None:
    with connected(served) as sock:
        sock.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
        assert read_to_end(sock).endswith(b"OK")


@pytest.mark.parametrize(
    ("request_bytes", "expected"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"GET\r\n\r\n", 400),
        (b"GET /_ping HTTP/1.1\r\n\r\n", 400),
        (b"GET /_ping HTTP/1.1\r\nHost: x\r\nbad header\r\n\r\n", 400),
        (b"GET /_ping HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (
            b"POST /stackctl/v1/echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"GET /stackctl/v1/echo HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (b"POST /stackctl/v1/ HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 404),
        (b"GET /containers/c/archive HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (post("echo", b"[]"), 400),
        (post("echo", b"{nonsense"), 400),
        (post("echo", b"[" * 100_000), 400),
        (post("echo", b"\xff\xfe"), 400),
        (post("conflict"), 409),
        (post("dance"), 404),
        (post("bug"), 500),
        (b"GET /_ping HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 200_000 + b"\r\n\r\n", 431),
        (b"GET /" + b"a" * 200_000, 431),
    ],
)
def test_what_is_wrong_gets_its_status(served: Served, request_bytes: bytes, expected: int) -> None:
    answer = ask(served, request_bytes)
    assert status(answer) == expected
    assert json.loads(answer.partition(b"\r\n\r\n")[2])
    ping(served)


def test_our_errors_and_dockers_have_their_own_shapes(served: Served) -> None:
    ours = json.loads(ask(served, post("conflict")).partition(b"\r\n\r\n")[2])
    assert ours["type"] == "error" and ours["error"]["kind"] == "conflict"
    request = b"HEAD /containers/c/archive?path=/missing HTTP/1.1\r\nHost: x\r\n\r\n"
    assert status(ask(served, request)) == 404
    theirs = ask(served, request.replace(b"HEAD", b"GET"))
    assert json.loads(theirs.partition(b"\r\n\r\n")[2]) == {"message": "no such path: /missing"}


def test_what_is_waited_for_is_told_before_the_first_message(served: Served) -> None:
    def told(body: bytes) -> list[Any]:
        answer = ask(served, post("waits", body))
        assert status(answer) == 200
        return [json.loads(line) for line in answer.splitlines() if line.startswith(b"{")]

    waiting = {"type": "warning", "text": "waiting", "unbegun": True}
    assert told(b"{}")[:2] == [waiting, {"type": "result", "exit_code": 0}]
    # An error is no status any more.
    first, last = told(b'{"fails": true}')
    assert (first, last["error"]["message"]) == (waiting, "nobody writes")


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300) | st.binary(max_size=60).map(lambda tail: PING[:-2] + tail))
@example(b"\r\n" * 50)
def test_any_bytes_get_an_answer_or_an_end(served: Served, request_bytes: bytes) -> None:
    ask(served, request_bytes)


def test_the_server_is_well_after_any_bytes(served: Served) -> None:
    for piece in (b"", b"\0" * 1000, PING[:10], post("echo")[:-1], os.urandom(2000)):
        ask(served, piece)
    ping(served)
    wait_until(lambda: served.tasks() == 0)


def test_a_body_beyond_the_limit_is_refused(serve: Callable[..., Served]) -> None:
    served = serve(limits=Limits(body_bytes=1000))
    assert status(ask(served, post("echo", b'{"a": "%b"}' % (b"x" * 5000)))) == 413
    chunked = (
        b"POST /stackctl/v1/echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        + b"400\r\n"
        + b"x" * 1024
        + b"\r\n"
    )
    assert status(ask(served, chunked * 1)) == 413


def test_a_body_that_does_not_come_is_given_up(serve: Callable[..., Served]) -> None:
    served = serve(limits=Limits(body_seconds=0.1, discard_seconds=0.1))
    with connected(served) as sock:
        sock.sendall(post("echo", b"{}" * 10)[:-5])
        assert status(read_to_end(sock)) == 408


def test_a_head_that_does_not_come_is_given_up(serve: Callable[..., Served]) -> None:
    served = serve(limits=Limits(head_seconds=0.1, idle_seconds=0.1))
    with connected(served) as slow, connected(served) as silent:
        slow.sendall(PING[:-2])
        assert status(read_to_end(slow)) == 408
        assert read_to_end(silent) == b""
    with connected(served) as kept:
        kept.sendall(PING)
        assert read_to_end(kept).endswith(b"OK")


def test_drops_do_not_put_the_deadline_off(serve: Callable[..., Served]) -> None:
    served = serve(limits=Limits(head_seconds=0.2))
    with connected(served) as sock, contextlib.suppress(ConnectionError):
        sock.sendall(b"GET /_ping HTTP/1.1\r\n")
        sock.setblocking(False)
        sent = 0

        def closed() -> bool:
            nonlocal sent
            with contextlib.suppress(BlockingIOError):
                sock.sendall(b"X: y\r\n")
                sent += 1
            try:
                return bool(sock.recv(100))
            except BlockingIOError:
                return False

        wait_until(closed)


def test_ping_answers_while_two_hundred_are_slow(served: Served) -> None:
    with contextlib.ExitStack() as stack:
        for number in range(200):
            sock = stack.enter_context(connected(served))
            sock.sendall(PING[: number % len(PING)])
        ping(served)
        # None of them has cost a task.
        wait_until(lambda: served.tasks() == 0)


def test_of_too_many_the_oldest_that_wait_are_closed(serve: Callable[..., Served]) -> None:
    served = serve(limits=Limits(lobby=20))
    with contextlib.ExitStack() as stack:
        busy = stack.enter_context(connected(served))
        busy.sendall(post("forever"))
        assert busy.recv(10)
        socks = [stack.enter_context(connected(served)) for _ in range(50)]
        for sock in socks[:30]:
            assert read_to_end(sock) == b""
        socks[-1].sendall(PING)
        assert socks[-1].recv(65536).endswith(b"OK")
        assert served.engine.open == 1


def test_a_client_that_does_not_read_costs_bounded_memory(served: Served) -> None:
    with connected(served) as sock:
        sock.sendall(post("flood"))
        sock.recv(1000)
        wait_until(lambda: served.engine.open == 1)
        ping(served)
        connections = served.server._connections
        slow = wait_until(lambda: [c for c in tuple(connections) if c._writing_paused])
        assert slow[0]._transport.get_write_buffer_size() < 1024 * 1024
    wait_until(lambda: served.engine.open == 0)
    wait_until(lambda: served.tasks() == 0)


@pytest.mark.parametrize("verb", ["forever", "never", "flood"])
def test_a_client_that_goes_closes_the_verb(served: Served, verb: str) -> None:
    for _ in range(20):
        with connected(served) as sock:
            sock.sendall(post(verb))
            wait_until(lambda: served.engine.open > 0)
    wait_until(lambda: served.engine.open == 0)
    wait_until(lambda: served.tasks() == 0)


def test_a_client_that_only_has_no_more_to_say_gets_its_answer(served: Served) -> None:
    with connected(served) as sock:
        sock.sendall(post("forever"))
        sock.shutdown(socket.SHUT_WR)
        assert b"running" in sock.recv(65536)
        ping(served)
        assert served.engine.open == 1
    wait_until(lambda: served.engine.open == 0)


def test_who_is_busy_is_counted(served: Served) -> None:
    ping(served)
    ping(served)
    wait_until(lambda: served.busy[-1:] == [0])
    assert set(served.busy) == {0, 1}


def test_a_stale_socket_is_replaced(paths: Paths, serve: Callable[..., Served]) -> None:
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(paths.socket))
    ping(serve())


def test_a_path_too_long_is_a_sentence(served: Served, tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="too long") as caught:
        served.on_loop(served.server.listen(tmp_path / ("x" * 120)))
    assert "STACKCTL_RUN" in caught.value.hint
    with pytest.raises(MachineError, match="cannot listen") as caught:
        served.on_loop(served.server.listen(tmp_path / "no" / "such"))


@pytest.mark.parametrize("header", [b"Origin: http://site.example", b"Sec-Fetch-Site: cross-site"])
def test_web_pages_are_sent_away(served: Served, header: bytes) -> None:
    assert status(ask(served, post("echo", extra=header + b"\r\n"))) == 403
    assert status(ask(served, PING.replace(b"Host: x", header))) in (400, 403)
    ping(served)


@pytest.mark.parametrize(
    ("host", "answered"),
    [
        ("localhost", True),
        ("localhost:2375", True),
        ("127.0.0.1:2375", True),
        ("[::1]:2375", True),
        ("", True),
        # docker since 24, before, over ssh; clients of Go's before 1.20; bollard; a proxy's name
        ("api.moby.localhost", True),
        ("docker", True),
        ("docker.example.com", True),
        ("%2Fvar%2Frun%2Fdocker.sock", True),
        ("/run/stackctl/engine.sock", True),
        ("2f7661722f72756e2f646f636b65722e736f636b:0", True),
        ("socket-proxy:2375", True),
        # a site whose name was made to point here
        ("site.example", False),
        ("site.example:2375", False),
        ("site.example.:2375", False),
        ("127.0.0.1.site.example", False),
        ("localhost.site.example:80", False),
        ("docker.example.com.site.example", False),
    ],
)
def test_a_site_that_points_its_name_here_gets_nothing(
    served: Served, host: str, answered: bool
) -> None:
    answer = ask(served, PING.replace(b"Host: x", b"Host: " + host.encode()))
    assert status(answer) == (200 if answered else 403)
    assert answered or b"is not called" in answer
