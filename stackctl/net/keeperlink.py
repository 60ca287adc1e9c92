"""The daemon's side of the keeper: start it, talk to it, start it again.

Synchronous, for the net thread. A keeper that died is started anew at the next
call; it takes up its table by itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from stackctl.errors import InternalError, MachineError
from stackctl.state.paths import Paths

#: Seconds for a fresh interpreter to come up on a machine under load.
_START_LIMIT = 20.0
_REPLY_LIMIT = 30.0

#: An argument that names the process for who looks at a list.
MARK = "stackctl.net.keeper"

_CODE = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from stackctl.net.keeper.main import main; main(sys.argv[2:])"
)


class KeeperLink:
    """One engine's keeper."""

    def __init__(self, paths: Paths, resolv_conf: str = "/etc/resolv.conf") -> None:
        self._paths = paths
        self._resolv_conf = resolv_conf
        self._socket: socket.socket | None = None
        self._buffer = b""
        self._number = 0
        self._starting: tuple[subprocess.Popen[bytes], int] | None = None

    @property
    def exists(self) -> bool:
        """A keeper's socket is there (its process may be dead)."""
        return self._paths.keeper_socket.exists()

    def start(self) -> None:
        """Sets a keeper going without waiting for it, unless one answers already."""
        if self._socket is None and self._starting is None and not self._connect():
            self._spawn()

    def _spawn(self) -> None:
        self._paths.run.mkdir(parents=True, exist_ok=True, mode=0o700)
        package = Path(__file__).resolve().parents[2]
        ready, ours = os.pipe()
        try:
            process = subprocess.Popen(
                [
                    *(sys.executable, "-I", "-S", "-c", _CODE, str(package)),
                    *(str(self._paths.run), str(ours), self._resolv_conf),
                    MARK,
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(ours,),
                cwd="/",
            )
        except OSError as error:
            os.close(ready)
            raise MachineError(f"the keeper cannot be started: {error}") from error
        finally:
            os.close(ours)
        self._starting = (process, ready)

    def _wait_started(self) -> None:
        if self._starting is None:
            return
        process, ready = self._starting
        self._starting = None
        try:
            arrived, _, _ = select.select([ready], [], [], _START_LIMIT)
            said = os.read(ready, 64) if arrived else b""
        finally:
            os.close(ready)
        process.wait()
        if not said:
            raise MachineError(
                "the keeper (DNS and port reservations) did not start",
                hint=f"is {self._paths.run} writable, and the machine very busy?",
            )

    def _connect(self) -> bool:
        link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        link.settimeout(_REPLY_LIMIT)
        try:
            link.connect(str(self._paths.keeper_socket))
        except OSError:
            link.close()
            return False
        self._socket, self._buffer = link, b""
        return True

    def _ensure(self) -> None:
        if self._socket is not None:
            return
        if self._starting is None and self._connect():
            return
        # A keeper that holds the lock may be about to leave: another start succeeds.
        for _ in range(3):
            if self._starting is None:
                self._spawn()
            self._wait_started()
            if self._connect():
                return
        raise MachineError("the keeper (DNS and port reservations) does not answer")

    def call(self, op: str, **fields: Any) -> dict[str, Any]:
        """One request; its answer. `ok` may be false only with `busy`; else InternalError."""
        for attempt in range(3):
            self._ensure()
            try:
                reply = self._exchange({"op": op, **fields})
            except OSError:
                self.disconnect()
                if attempt == 2:
                    raise
                continue
            if not reply.get("ok") and "busy" not in reply:
                raise InternalError(f"the keeper refused {op}: {reply.get('text')}")
            return reply
        raise InternalError("unreachable")

    def _exchange(self, request: dict[str, Any]) -> dict[str, Any]:
        link = self._socket
        if link is None:
            raise ConnectionError("no keeper")
        self._number += 1
        line = json.dumps({"id": self._number, **request}, separators=(",", ":"))
        link.sendall(line.encode() + b"\n")
        while b"\n" not in self._buffer:
            data = link.recv(1 << 18)
            if not data:
                raise ConnectionResetError("the keeper has died")
            self._buffer += data
        reply, _, self._buffer = self._buffer.partition(b"\n")
        answer: dict[str, Any] = json.loads(reply)
        return answer

    def witness(self) -> socket.socket | None:
        """Another connection, non-blocking: it becomes readable when the keeper dies."""
        link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        link.setblocking(False)
        try:
            link.connect(str(self._paths.keeper_socket))
        except OSError:
            link.close()
            return None
        return link

    def stop(self) -> None:
        """Ends a keeper that runs; none is started for it."""
        if self._starting is not None:
            self._wait_started()
        if self._socket is None and not self._connect():
            return
        with contextlib.suppress(OSError):
            self._exchange({"op": "stop"})
            # The end of the stream is the end of the process: its sockets are closed.
            if self._socket is not None:
                self._socket.recv(1)
        self.disconnect()

    def disconnect(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self._buffer = b""
