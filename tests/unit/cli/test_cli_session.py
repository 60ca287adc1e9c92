"""exec and run: frames, terminals, half-close, exit codes. The process is a thread."""

from __future__ import annotations

import os
import pty
import signal
import socket
import struct
import termios
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stackctl.cli.session import Demultiplexer, Standard, interact
from stackctl.errors import InternalError

Process = Callable[[socket.socket], None]


def _frame(stream: int, data: bytes) -> bytes:
    return struct.pack(">BxxxL", stream, len(data)) + data


def _all(connection: socket.socket) -> bytes:
    parts = []
    while data := connection.recv(65536):
        parts.append(data)
    return b"".join(parts)


@given(
    st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=50)), max_size=10),
    st.integers(1, 20),
)
def test_frames_survive_any_cut(frames: list[tuple[int, bytes]], size: int) -> None:
    data = b"".join(_frame(*frame) for frame in frames)
    demultiplexer = Demultiplexer()
    found = []
    for start in range(0, len(data), size):
        found += demultiplexer.feed(data[start : start + size])
    assert found == frames


def test_no_frame_is_an_error() -> None:
    with pytest.raises(InternalError):
        list(Demultiplexer().feed(b"HTTP/1.1"))


class _Pipes:
    """Standard descriptors made of files; `typed` is what the user sends."""

    def __init__(self, directory: Path, typed: bytes = b"") -> None:
        (directory / "in").write_bytes(typed)
        self.out = directory / "out"
        self.err = directory / "err"
        self.standard = Standard(
            stdin=os.open(directory / "in", os.O_RDONLY),
            stdout=os.open(self.out, os.O_WRONLY | os.O_CREAT),
            stderr=os.open(self.err, os.O_WRONLY | os.O_CREAT),
        )

    def close(self) -> None:
        for descriptor in (self.standard.stdin, self.standard.stdout, self.standard.stderr):
            os.close(descriptor)


def _session(engine: Any, process: Process, tty: bool = False) -> Any:
    engine.process = process
    engine.tty = tty
    engine.answers["session-wait"] = [{"type": "result", "exit_code": 7}]
    return engine.open_session("exec", {})


def test_streams_are_parted_and_the_exit_code_is_the_process_s(engine: Any, tmp_path: Path) -> None:
    def process(connection: socket.socket) -> None:
        connection.sendall(_frame(1, b"out") + _frame(2, b"err") + _frame(1, b"put"))
        connection.close()

    pipes = _Pipes(tmp_path)
    session = _session(engine, process)
    assert interact(engine, session, pipes.standard, stdin=False) == 7
    assert (pipes.out.read_bytes(), pipes.err.read_bytes()) == (b"output", b"err")
    assert engine.bodies("session-wait") == [{"id": "s1"}]
    pipes.close()


def test_input_goes_through_whole_and_is_half_closed(engine: Any, tmp_path: Path) -> None:
    """A filter that answers as it reads: with both pipes full nobody may wait for the other."""
    typed = os.urandom(1 << 21)

    def process(connection: socket.socket) -> None:
        while data := connection.recv(65536):
            connection.sendall(_frame(1, data))
        connection.sendall(_frame(1, b"the end"))
        connection.close()

    pipes = _Pipes(tmp_path, typed)
    assert interact(engine, _session(engine, process), pipes.standard, stdin=True) == 7
    assert pipes.out.read_bytes() == typed + b"the end"
    pipes.close()


def test_a_process_that_ends_early_does_not_wait_for_input(engine: Any) -> None:
    """`exec web true` with a terminal or an open pipe as input."""
    reader, writer = os.pipe()

    def process(connection: socket.socket) -> None:
        connection.close()

    standard = Standard(stdin=reader)
    assert interact(engine, _session(engine, process), standard, stdin=True) == 7
    os.close(reader)
    os.close(writer)


@pytest.fixture
def terminal() -> Any:
    outer, inner = pty.openpty()
    termios.tcsetwinsize(inner, (24, 80))
    yield outer, inner
    os.close(outer)
    os.close(inner)


def _raw(engine: Any) -> threading.Event:
    """Set once the terminal is raw: its size is told then, for the first time."""
    event = threading.Event()

    def resize(_: object) -> list[dict[str, Any]]:
        event.set()
        return [{"type": "result", "exit_code": 0}]

    engine.answers["session-resize"] = resize
    return event


def test_a_terminal_is_raw_meanwhile_and_restored(engine: Any, terminal: Any) -> None:
    outer, inner = terminal
    before = termios.tcgetattr(inner)
    seen: list[Any] = []
    raw = _raw(engine)

    def process(connection: socket.socket) -> None:
        assert raw.wait(20)
        os.write(outer, b"\x03")  # Ctrl-C is a key like any other
        seen.append(connection.recv(1))
        seen.append(termios.tcgetattr(inner)[3] & (termios.ECHO | termios.ICANON | termios.ISIG))
        connection.sendall(b"raw \x01\x00\x00bytes")
        connection.close()

    standard = Standard(stdin=inner, stdout=inner, stderr=inner)
    assert interact(engine, _session(engine, process, tty=True), standard, stdin=True) == 7
    assert seen == [b"\x03", 0]
    assert os.read(outer, 100) == b"raw \x01\x00\x00bytes"
    assert termios.tcgetattr(inner) == before


def test_a_resized_terminal_is_told(engine: Any, terminal: Any) -> None:
    _, inner = terminal
    resized = threading.Event()

    def resize(body: dict[str, Any]) -> list[dict[str, Any]]:
        if body["width"] == 40:
            resized.set()
        return [{"type": "result", "exit_code": 0}]

    def process(connection: socket.socket) -> None:
        connection.recv(1)
        termios.tcsetwinsize(inner, (10, 40))
        os.kill(os.getpid(), signal.SIGWINCH)
        assert resized.wait(20)
        connection.close()

    session = _session(engine, process, tty=True)
    engine.answers["session-resize"] = resize
    os.write(terminal[0], b"x")
    interact(engine, session, Standard(stdin=inner, stdout=inner, stderr=inner), stdin=True)
    assert engine.bodies("session-resize") == [
        {"id": "s1", "width": 80, "height": 24},
        {"id": "s1", "width": 40, "height": 10},
    ]
    assert signal.getsignal(signal.SIGWINCH) is signal.SIG_DFL


def test_told_to_end_it_restores_the_terminal(engine: Any, terminal: Any) -> None:
    _, inner = terminal
    before = termios.tcgetattr(inner)
    raw = _raw(engine)

    def process(connection: socket.socket) -> None:
        assert raw.wait(20)
        os.kill(os.getpid(), signal.SIGTERM)
        _all(connection)

    session = _session(engine, process, tty=True)
    standard = Standard(stdin=inner, stdout=inner, stderr=inner)
    assert interact(engine, session, standard, stdin=True) == 128 + signal.SIGTERM
    assert termios.tcgetattr(inner) == before


def test_signals_are_passed_on_without_a_terminal(engine: Any, tmp_path: Path) -> None:
    passed: list[int] = []
    heard = threading.Event()

    def process(connection: socket.socket) -> None:
        assert connection.recv(1)  # what was typed is copied once the handlers are there
        os.kill(os.getpid(), signal.SIGINT)
        assert heard.wait(20)
        connection.close()

    def pass_on(signum: int) -> None:
        passed.append(signum)
        heard.set()

    pipes = _Pipes(tmp_path, b"x")
    session = _session(engine, process)
    assert interact(engine, session, pipes.standard, stdin=True, on_signal=pass_on) == 7
    assert passed == [signal.SIGINT]
    pipes.close()


def _quiet(connection: socket.socket) -> None:
    connection.close()


def test_exec_sends_what_was_asked(cli: Any, engine: Any) -> None:
    engine.process = _quiet
    engine.answers["session-wait"] = [{"type": "result", "exit_code": 3}]
    outcome = cli(
        *("exec", "-T", "-e", "A=1", "-e", "HERE", "-u", "app", "-w", "/x", "--index", "2"),
        *("web", "ls", "-la", "--index", "9"),
        environment={"HERE": "yes"},
    )
    assert outcome.code == 3
    (body,) = engine.bodies("exec")
    assert body["command"] == ["ls", "-la", "--index", "9"]
    assert (body["service"], body["index"]) == ("web", 2)
    assert body["env"] == ["A=1", "HERE=yes"]
    assert (body["user"], body["workdir"], body["tty"]) == ("app", "/x", False)


def test_docker_s_habits_are_understood(cli: Any, engine: Any) -> None:
    engine.process = _quiet
    engine.answers["session-wait"] = [{"type": "result", "exit_code": 0}]
    assert cli("exec", "-it", "web", "sh").code == 0
    assert engine.bodies("exec")[0]["stdin"] is True
    assert engine.bodies("exec")[0]["tty"] is False  # there is no terminal here


def test_exec_detached_waits_for_nothing(cli: Any, engine: Any) -> None:
    engine.process = _quiet
    assert cli("exec", "-d", "web", "sleep", "9").code == 0
    assert engine.bodies("exec")[0]["stdin"] is False
    assert not engine.bodies("session-wait")


def test_run_makes_then_attaches(cli: Any, engine: Any, shop: Any) -> None:
    engine.process = _quiet
    own = {"number": 7, "op": "CreateContainer", "target": "shop-job-run-1", "service": "job"}
    plan = {**shop[0], "steps": [*shop[0]["steps"], {**own, "after": [], "cause": ""}]}
    step = {"type": "step", **own, "state": "done", "elapsed": 0.1, "text": ""}
    result = {"type": "result", "exit_code": 0, "container": "c1", "name": "shop-job-run-1"}
    engine.answers |= {
        "run": [plan, *shop[1:-1], step, result],
        "session-wait": [{"type": "result", "exit_code": 4}],
    }
    outcome = cli("run", "--rm", "-p", "8080:80", "-v", "/a:/b", "job", "make", "--all")
    assert outcome.code == 4
    assert "job-run" not in outcome.err  # only what it needed is news
    assert "db-1             started (0.06 s)" in outcome.err
    (body,) = engine.bodies("run")
    assert body["command"] == ["make", "--all"]
    assert (body["rm"], body["ports"], body["volumes"]) == (True, ["8080:80"], ["/a:/b"])
    assert engine.bodies("attach")[0]["container"] == "c1"
    assert engine.bodies("attach")[0]["start"] is True


def test_run_keeps_the_services_command_when_none_is_given(cli: Any, engine: Any) -> None:
    engine.answers["run"] = [{"type": "result", "container": "c1", "name": "shop-job-run-1"}]
    outcome = cli("run", "-d", "job")
    assert outcome.out == "c1\n"
    assert engine.bodies("run")[0]["command"] is None
    assert not engine.bodies("attach")
