"""One container as the shim knows it, and one exec: from the fork to the exit record."""

from __future__ import annotations

import _socket
import os
import time
from _json import encode_basestring_ascii

from stackctl.linux import process
from stackctl.runtime.shim import protocol
from stackctl.runtime.shim.logs import LogWriter
from stackctl.runtime.shim.reserve import Reserve
from stackctl.runtime.shim.streams import EPOLLIN, STDERR, STDOUT, Outputs, Poller

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Message = dict[str, Any]
    #: Sends a message (with descriptors) to whoever asked; drops it when that one has gone.
    Tell = Callable[..., None]


class Launch:
    """A forked child on its way to exec: its control socket and what it said.

    `on_spawned(pid)`, `on_terminal(fd)`, `on_executed()`, `on_failed(message)`, `on_exit(status)`
    are called in this order, each at most once; on_failed instead of on_executed.
    The process itself becomes ours to wait for when its parent, the child, is reaped.
    """

    def __init__(
        self,
        poller: Poller,
        reserve: Reserve,
        order: Message,
        fds: tuple[int, ...],
        owner: Container | Exec,
    ) -> None:
        """`order` and `fds` as child.main takes them."""
        self._reserve = reserve
        self._poller = poller
        self._owner = owner
        self.pid = 0
        self.pidfd = -1
        self.is_ours = False
        self._failure: Message | None = None
        #: What the user should know of a start that went well.
        self.notices: list[str] = []
        self._executing = False
        self._told_go = False
        self._given_up = False
        self._helper, self._control = reserve.take(order, fds)
        self._control.setblocking(False)
        poller.watch(self._control.fileno(), EPOLLIN, self._message)
        self._helper_fd = os.pidfd_open(self._helper)
        poller.watch(self._helper_fd, EPOLLIN, self._helper_ended)

    def go(self) -> None:
        """The network is there; passed on once the helper has gone (see PR_SET_PDEATHSIG)."""
        self._told_go = True
        if self.is_ours:
            self._send_go()

    def abort(self) -> None:
        """Give up a process that has not executed yet."""
        self._given_up = True
        if self.is_ours and self.pidfd >= 0:
            process.pidfd_send_signal(self.pidfd, process.SIGKILL)

    def signal(self, signum: int) -> None:
        """To the process, unless it has ended."""
        if self.pidfd >= 0:
            process.pidfd_send_signal(self.pidfd, signum)
        elif self.pid and not self.is_ours:
            os.kill(self.pid, signum)  # nobody has reaped it: the number is still its own

    def _send_go(self) -> None:
        try:
            self._control.send(b"go", _socket.MSG_NOSIGNAL)
        except OSError:
            pass  # it has ended; its message or exit tells

    def _message(self, _events: int) -> bool:
        """Handle one message; False when there was none."""
        try:
            received = protocol.receive(self._control)
        except BlockingIOError:
            return False
        if received is None:
            self._close_control()
            return False
        message, fds = received
        match message["message"]:
            case "spawned":
                self.pid = message["pid"]
                self._owner.on_spawned(self.pid)
            case "terminal":
                self._owner.on_terminal(fds[0])
            case "executing":
                self._executing = True
            case "notice":
                self.notices.append(message["text"])
            case "failed":
                self._failure = message
        return True

    def _helper_ended(self, _events: int) -> None:
        self._poller.unwatch(self._helper_fd)
        os.close(self._helper_fd)
        _, status = os.waitpid(self._helper, 0)
        self._reserve.known.discard(self._helper)
        self._hear_out()
        if status and self._failure is None and not self._executing:
            self._failure = {
                "step": "start",
                "errno": 0,
                "text": "the process that set it up was killed",
            }
        if self._reserve.has_strays:
            self._reserve.reap_strays()
        if not self.pid:
            if self._control.fileno() >= 0:
                # Killed between its fork and its word of it. What it forked holds the other
                # end, waits for `go`, and ends when there is nobody to give it.
                self._close_control()
                self._reserve.reap_strays()
            return
        self._reserve.known.add(self.pid)
        self.is_ours = True
        self.pidfd = os.pidfd_open(self.pid)
        self._poller.watch(self.pidfd, EPOLLIN, self._process_ended)
        if self._given_up or self._failure is not None:
            process.pidfd_send_signal(self.pidfd, process.SIGKILL)
        elif self._told_go:
            self._send_go()

    def _process_ended(self, _events: int) -> None:
        self._poller.unwatch(self.pidfd)
        os.close(self.pidfd)
        self.pidfd = -1
        _, status = os.waitpid(self.pid, 0)
        self._reserve.known.discard(self.pid)
        self._hear_out()
        if self._control.fileno() >= 0:  # a fork of it (init's) still holds the other end
            self._close_control()
        self._owner.on_exit(status)

    def _hear_out(self) -> None:
        """Take all that is in the control socket: last words come before an end."""
        while self._control.fileno() >= 0 and self._message(0):
            pass

    def _close_control(self) -> None:
        self._poller.unwatch(self._control.fileno())
        self._control.close()
        self._settle()

    def _settle(self) -> None:
        """The control socket is closed: everything went well, or somebody said why not."""
        if self._failure is not None:
            self._owner.on_failed(self._failure)
        elif self._executing:
            self._owner.on_executed()
        else:
            self._owner.on_failed(
                {"step": "start", "errno": 0, "text": "the process ended before it was set up"}
            )


class Container:
    """The main process of one container and its streams."""

    def __init__(
        self,
        poller: Poller,
        reserve: Reserve,
        message: Message,
        tell: Tell,
        on_end: Callable[[], None],
    ) -> None:
        self.id: str = message["id"]
        self._poller = poller
        self._run: str = message["run"]
        self._tty: bool = message["tty"]
        self._tell = tell
        self._on_end = on_end
        self._seq: int = message["seq"]
        self._error = ""
        self._given_up = False
        self.state = "starting"
        self.start_time = 0
        self.exit: Message | None = None
        log = LogWriter(message["log"], message["log_size"], message["log_files"])
        self.outputs = Outputs(poller, log, framed=not self._tty)
        #: Writing end of stdin, or the terminal's master; -1 without.
        self.stdin = -1
        self._when_running: list[Callable[[], None]] = []
        self.bundle = os.path.join(self._run, protocol.BUNDLE)
        self._launch = self._start(reserve, message)

    @property
    def pid(self) -> int:
        return self._launch.pid

    def _start(self, reserve: Reserve, message: Message) -> Launch:
        ends: dict[int, int] = {}
        if not self._tty:
            for number, stream in ((1, STDOUT), (2, STDERR)):
                reader, ends[number] = os.pipe2(os.O_CLOEXEC)
                self.outputs.add(reader, stream)
            if message["stdin"]:
                ends[0], self.stdin = os.pipe2(os.O_CLOEXEC)
        order = {"bundle": self.bundle, "stdio": list(ends)}
        try:
            return Launch(self._poller, reserve, order, tuple(ends.values()), self)
        finally:
            for fd in ends.values():
                os.close(fd)

    def go(self) -> None:
        self._launch.go()

    def abort(self) -> None:
        """Give the start up, also when it has gone well by the time that we hear it."""
        if self.state in ("starting", "running"):
            self._error = "the start was given up"
            self._given_up = True
            self._launch.abort()

    def close_stdin(self) -> None:
        if self.stdin >= 0 and not self._tty:
            os.close(self.stdin)
            self.stdin = -1

    def when_running(self, act: Callable[[], None]) -> None:
        """Call `act` once the program has been executed, or has failed to be; maybe at once."""
        if self.state == "starting":
            self._when_running.append(act)
        else:
            act()

    def _is_settled(self) -> None:
        acts, self._when_running = self._when_running, []
        for act in acts:
            act()

    def describe(self) -> Message:
        return {
            "id": self.id,
            "state": self.state,
            "pid": self.pid,
            "start_time": self.start_time,
            "exit": self.exit,
        }

    def on_spawned(self, pid: int) -> None:
        self.start_time = process.start_time(pid)
        self._tell({"event": "ready", "id": self.id, "pid": pid, "start_time": self.start_time})

    def on_terminal(self, fd: int) -> None:
        self.stdin = fd
        self.outputs.add(os.dup(fd), STDOUT)

    def on_executed(self) -> None:
        self.state = "running"
        self._tell(
            {
                "seq": self._seq,
                "pid": self.pid,
                "start_time": self.start_time,
                "notices": self._launch.notices,
            }
        )
        self._is_settled()

    def on_failed(self, failure: Message) -> None:
        self.state = "failed"
        self._error = self._error or f"{failure['step']}: {failure['text']}"
        error = {**failure, "message": self._error, "given_up": self._given_up}
        self._tell({"seq": self._seq, "error": error})
        self._is_settled()
        if not self.pid:
            self._end(126, 0)

    def on_exit(self, status: int) -> None:
        code = os.waitstatus_to_exitcode(status)
        self._end(code if code >= 0 else 128 - code, -code if code < 0 else 0)

    def _end(self, code: int, signum: int) -> None:
        self.outputs.drain()
        if self.stdin >= 0:
            os.close(self.stdin)
            self.stdin = -1
        failed = self.state == "failed"
        self.state = "exited"
        self.exit = {
            "id": self.id,
            "exit_code": code,
            "signal": signum,
            "finished_at": time.time(),
            "error": self._error,
        }
        self._record(self.exit)
        self._tell({"event": "exit", **self.exit, "started": not failed})
        self._on_end()

    def _record(self, exit: Message) -> None:
        """Write exit.json before anybody is told: a daemon that is away finds it there."""
        path = os.path.join(self._run, protocol.EXIT)
        text = (
            f'{{"id":"{self.id}","exit_code":{exit["exit_code"]},"signal":{exit["signal"]},'
            f'"finished_at":{exit["finished_at"]!r},'
            f'"error":{encode_basestring_ascii(exit["error"])}}}\n'
        )
        try:
            fd = os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            whole = os.write(fd, text.encode()) == len(text.encode())
            os.close(fd)
            if whole:  # half a record would say less than none
                os.rename(path + ".new", path)
        except OSError:
            pass  # the directory was removed under us: whoever did knows


class Exec:
    """One exec: stdio goes past the shim, only the end and a terminal's master come through."""

    def __init__(
        self,
        poller: Poller,
        reserve: Reserve,
        container: Container,
        message: Message,
        fds: list[int],
        tell: Tell,
        on_end: Callable[[], None],
    ) -> None:
        self.session: int = message["session"]
        self._seq: int = message["seq"]
        self._tell = tell
        self._on_end = on_end
        order = {
            "bundle": container.bundle,
            "stdio": [0, 1, 2][: len(fds)],
            "first": (container.pid, container.start_time),
            "request": message["request"],
        }
        self._launch = Launch(poller, reserve, order, tuple(fds), self)

    def belongs_to(self, tell: Tell) -> bool:
        return self._tell == tell

    def signal(self, signum: int) -> None:
        self._launch.signal(signum)

    def on_spawned(self, pid: int) -> None:
        pass

    def on_terminal(self, fd: int) -> None:
        self._tell({"event": "terminal", "session": self.session}, (fd,))
        os.close(fd)

    def on_executed(self) -> None:
        self._tell({"seq": self._seq, "pid": self._launch.pid})

    def on_failed(self, failure: Message) -> None:
        text = f"{failure['step']}: {failure['text']}"
        self._tell({"seq": self._seq, "error": {**failure, "message": text, "joining": True}})
        if not self._launch.pid:
            self._on_end()

    def on_exit(self, status: int) -> None:
        code = os.waitstatus_to_exitcode(status)
        self._tell(
            {
                "event": "exec-exit",
                "session": self.session,
                "exit_code": code if code >= 0 else 128 - code,
            }
        )
        self._on_end()
