"""The client against the server: verbs, streams, errors, archives."""

from __future__ import annotations

import io
import json
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Callable

import pytest

from stackctl.api.client import Client
from stackctl.errors import EngineUnreachable, InternalError, NotPermitted, RemoteError
from stackctl.state.paths import Paths
from support.fake_engine import STAT, Served
from support.waiting import wait_until


def test_a_call_gives_the_result(client: Client) -> None:
    assert client.call("count", {"n": 3}) == {"type": "result", "exit_code": 3}
    assert client.call("count", {"n": 0})["exit_code"] == 3


def test_a_body_comes_back_as_it_was(client: Client) -> None:
    body = {"text": "äöü \U0001f600 \udc80 \0", "nested": {"a": [1, 2.5, None, True]}}
    assert next(iter(client.stream("echo", body))) == {"type": "row", **body}


@pytest.mark.parametrize(("count", "size"), [(1, 0), (10_000, 10), (5, 1_000_000)])
def test_a_stream_is_complete_and_in_order(client: Client, count: int, size: int) -> None:
    *logs, result = client.stream("count", {"n": count, "size": size})
    assert [m["number"] for m in logs] == list(range(count))
    assert {len(m["line"]) for m in logs} == {size}
    assert result["type"] == "result"


def test_a_message_comes_as_soon_as_it_exists(client: Client, served: Served) -> None:
    stream = client.stream("forever", {})
    assert next(stream) == {"type": "step", "state": "running"}
    assert served.engine.open == 1
    stream.close()
    wait_until(lambda: served.engine.open == 0)


def test_messages_can_be_polled_beside_other_things(client: Client) -> None:
    with client.stream("count", {"n": 2000, "size": 100}) as stream:
        got = stream.poll_messages()
        while not got or got[-1]["type"] != "result":
            assert select.select([stream], [], [], 10)[0]
            got += stream.poll_messages()
    assert [m["number"] for m in got[:-1]] == list(range(2000))


def test_polling_without_news_gives_nothing(client: Client) -> None:
    with client.stream("forever", {}) as stream:
        next(stream)
        assert stream.poll_messages() == []
        assert not stream.done


def test_polling_gives_what_came_before_an_error_and_then_raises(client: Client) -> None:
    with client.stream("late", {}) as stream:
        first = next(stream)
        with pytest.raises(RemoteError):
            while stream.poll_messages() == []:
                select.select([stream], [], [], 10)
    assert first == {"type": "step"}


def test_an_error_before_the_first_message_keeps_its_kind(client: Client) -> None:
    with pytest.raises(RemoteError, match="port 80 is taken") as caught:
        client.stream("conflict", {})
    assert (caught.value.kind, caught.value.hint) == ("conflict", "by nginx")


def test_an_error_later_ends_the_stream(client: Client) -> None:
    stream = client.stream("late", {})
    assert next(stream) == {"type": "step"}
    with pytest.raises(RemoteError) as caught:
        next(stream)
    assert caught.value.kind == "stack-files"
    assert [str(e) for e in caught.value.errors] == ["stack.yaml:3:5: what is this"]
    assert list(stream) == []


@pytest.mark.parametrize("verb", ["bug", "late-bug"])
def test_a_bug_is_told_as_one(client: Client, served: Served, verb: str) -> None:
    with pytest.raises(RemoteError, match="ZeroDivisionError: of course") as caught:
        client.call(verb, {})
    assert caught.value.kind == "internal"
    assert client.call("count", {"n": 1})


@pytest.mark.parametrize("verb", ["silent", "nothing"])
def test_a_verb_without_a_result_is_an_error(client: Client, verb: str) -> None:
    with pytest.raises(RemoteError, match="no result"):
        client.call(verb, {})


def test_an_unknown_verb_is_not_found(client: Client) -> None:
    with pytest.raises(RemoteError) as caught:
        client.call("dance", {})
    assert caught.value.kind == "not-found"


def test_without_an_engine(paths: Paths) -> None:
    with pytest.raises(EngineUnreachable) as caught:
        Client.connect(paths, start=False)
    assert "stackctl daemon" in caught.value.hint


def test_with_a_stale_socket(paths: Paths) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(paths.socket))
    with pytest.raises(EngineUnreachable):
        Client.connect(paths, start=False)


def test_somebody_else_on_the_socket(paths: Paths) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(paths.socket))
        listener.listen()
        client = Client.connect(paths, start=False)
        accepted, _ = listener.accept()
        accepted.sendall(b"SSH-2.0-OpenSSH\r\n\r\n")
        with pytest.raises(EngineUnreachable, match="no engine"):
            client.call("ps", {})
        accepted.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"ty',
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_an_engine_that_dies_in_an_answer(paths: Paths, answer: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(paths.socket))
        listener.listen()
        client = Client.connect(paths, start=False)
        accepted, _ = listener.accept()
        accepted.sendall(answer)
        accepted.shutdown(socket.SHUT_WR)
        with pytest.raises((EngineUnreachable, InternalError)):
            client.call("ps", {})
        accepted.close()


def test_a_head_in_single_bytes_leaves_the_session_its_own(paths: Paths) -> None:
    head = (
        b"HTTP/1.1 101 UPGRADED\r\nX-Stackctl-Session: s1\r\n"
        b"Content-Type: application/vnd.docker.raw-stream\r\n\r\n"
    )
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(paths.socket))
        listener.listen()
        client = Client.connect(paths, start=False)
        accepted, _ = listener.accept()

        def answer() -> None:
            for byte in head + b"\r\n\r\nbytes of the session":
                accepted.sendall(bytes([byte]))

        thread = threading.Thread(target=answer)
        thread.start()
        session = client.open_session("attach", {})
        thread.join()
        assert (session.id, session.tty) == ("s1", True)
        assert session.socket.recv(100).startswith(b"\r\n\r\nbytes")
        session.close()
        accepted.close()


def test_an_engine_that_leaves_is_not_asked_to_begin_anything(served: Served, paths: Paths) -> None:
    """The request of a connection made just before gets 503, and can be repeated elsewhere."""
    client = Client.connect(paths, start=False)
    closing = threading.Thread(target=served.on_loop, args=[served.server.close()])
    closing.start()
    wait_until(lambda: not paths.socket.exists())
    with pytest.raises(RemoteError, match="leaving"):
        client.call("count", {"n": 1})
    closing.join()


def test_a_request_that_came_too_late_goes_to_the_next_engine(
    serve: Callable[..., Served], paths: Paths
) -> None:
    first = serve()

    def connected() -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(str(paths.socket))
        return sock

    def dial() -> socket.socket:
        serve()
        return connected()

    client = Client(dial, first=connected(), again=True)
    closing = threading.Thread(target=first.on_loop, args=[first.server.close()])
    closing.start()
    wait_until(lambda: not paths.socket.exists())
    assert client.call("count", {"n": 1})["exit_code"] == 3
    assert first.engine.open == 0
    closing.join()


def test_what_is_under_way_hears_that_the_engine_leaves(client: Client, served: Served) -> None:
    stream = client.stream("forever", {})
    next(stream)
    served.on_loop(served.server.close())
    with pytest.raises(RemoteError, match="shutting down"):
        next(stream)
    assert served.engine.open == 0


def test_shutdown_is_answered_and_passed_on(client: Client, served: Served) -> None:
    assert client.call("shutdown", {}) == {"type": "result", "exit_code": 0}
    assert served.asked_to_leave.wait(10)


def test_archives(client: Client, served: Served) -> None:
    path = "/etc/a b&c?=ü%"
    assert client.archive_stat("c1", path) == {**STAT, "name": f"c1:{path}"}
    stat, content = client.archive_get("c1", path)
    with content:
        assert stat["name"] == f"c1:{path}"
        assert content.read(10) == b"t" * 10
        assert content.read() == b"t" * (64 * 65536 - 10)
        assert content.read(5) == b""
    data = bytes(range(256)) * 8192
    client.archive_put("c1", "/tmp", io.BytesIO(data))
    assert served.engine.uploaded == data


def test_archive_errors(client: Client) -> None:
    for act in (
        lambda: client.archive_stat("c1", "/missing"),
        lambda: client.archive_get("c1", "/missing"),
        # Refused without being read: the client is still sending.
        lambda: client.archive_put("c1", "/missing", io.BytesIO(b"x" * 5_000_000)),
    ):
        with pytest.raises(RemoteError, match="no such path: /missing"):
            act()
    _, content = client.archive_get("c1", "/breaks")
    with pytest.raises(EngineUnreachable), content:
        content.read()


def test_who_is_not_allowed_gets_nothing(serve: Callable[..., Served], paths: Paths) -> None:
    served = serve(allow=lambda peer: False)
    client = Client.connect(paths, start=False)
    with pytest.raises(NotPermitted):
        client.call("count", {"n": 1})
    assert served.busy == []


def test_the_client_imports_little() -> None:
    """A command that asks a running engine pays for each of these modules."""
    code = (
        "import json, socket, sys; before = set(sys.modules); import stackctl.api.client; "
        "print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in json.loads(done.stdout)}
    assert not loaded & {
        "asyncio",
        "ssl",
        "http",
        "urllib",
        "h11",
        "subprocess",
        "email",
        "pydantic_core",
    }
