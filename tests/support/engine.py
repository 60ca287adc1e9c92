"""An engine of a test's own: its directories, its command line, its end."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stackctl.state.paths import Paths
from support import census
from support.census import Census, Process
from support.powers import find_program, programs_path
from support.waiting import WaitedInVain, wait_until

#: The `stackctl` of the environment that runs the tests.
STACKCTL = str(Path(sys.executable).with_name("stackctl"))

MEMORY = "/dev/shm"
#: Bytes that four tests at once do not fill.
ENOUGH_MEMORY = 6 << 30

#: How long a command of the CLI may take, in seconds.
COMMAND_LIMIT = 60.0


@dataclass(frozen=True, slots=True)
class Result:
    """A command that has ended."""

    argv: tuple[str, ...]
    code: int
    out: str
    err: str
    elapsed: float

    @property
    def text(self) -> str:
        return self.out + self.err

    def expect(self, code: int = 0) -> Result:
        assert self.code == code, f"exit code {self.code}, not {code}: {self}"
        return self

    def __str__(self) -> str:
        return (
            f"{' '.join(self.argv)}  -> {self.code} ({self.elapsed:.2f} s)\n"
            f"--- stdout\n{self.out}\n--- stderr\n{self.err}"
        )


@dataclass(slots=True)
class Engine:
    """Directories of one engine, and how to drive it from outside."""

    paths: Paths
    before: Census
    home: Path
    extra: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """The caller's environment, without what would name another engine or project."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("STACKCTL_", "COMPOSE_", "DOCKER_"))
        }
        return {
            **kept,
            "PATH": programs_path(),
            "STACKCTL_ROOT": str(self.paths.root),
            "STACKCTL_RUN": str(self.paths.run),
            **self.extra,
        }

    def run(
        self,
        *argv: str,
        cwd: Path | str | None = None,
        env: Mapping[str, str] | None = None,
        stdin: str | None = None,
        limit: float = COMMAND_LIMIT,
        prefix: Sequence[str] = (),
    ) -> Result:
        """Runs `stackctl argv...` to its end. A command that outlasts `limit` fails the test."""
        command = (*prefix, STACKCTL, *argv)
        started = time.monotonic()
        try:
            done = subprocess.run(
                command,
                cwd=cwd,
                env={**self.environment, **(env or {})},
                input=stdin,
                stdin=subprocess.DEVNULL if stdin is None else None,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=limit,
                check=False,
            )
        except subprocess.TimeoutExpired as late:
            raise AssertionError(
                f"{' '.join(command)} did not end within {limit:g} s\n"
                f"--- stdout\n{_text(late.stdout)}\n--- stderr\n{_text(late.stderr)}\n"
                f"{self.logs()}"
            ) from None
        return Result(
            argv=("stackctl", *argv),
            code=done.returncode,
            out=done.stdout,
            err=done.stderr,
            elapsed=time.monotonic() - started,
        )

    def ok(self, *argv: str, **options: object) -> Result:
        """Runs a command that has to succeed."""
        result = self.run(*argv, **options)  # type: ignore[arg-type]
        if result.code != 0:
            raise AssertionError(f"{result}\n{self.logs()}")
        return result

    @contextlib.contextmanager
    def start(
        self,
        *argv: str,
        cwd: Path | str | None = None,
        env: Mapping[str, str] | None = None,
        prefix: Sequence[str] = (),
    ) -> Iterator[subprocess.Popen[str]]:
        """A command that goes on beside the test; killed at the end if it still runs."""
        process = subprocess.Popen(
            (*prefix, STACKCTL, *argv),
            cwd=cwd,
            env={**self.environment, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.communicate(timeout=10)

    # What runs

    def processes(self) -> list[Process]:
        return census.processes(self.paths)

    def census(self) -> Census:
        return census.look(self.paths)

    def daemon_pids(self) -> list[int]:
        return [p.pid for p in self.processes() if _role(p) == "daemon"]

    def shim_pids(self) -> list[int]:
        return [p.pid for p in self.processes() if _role(p) == "shim" and not _is_child(p)]

    def spare_pids(self) -> list[int]:
        """The shim that waits for its work: there soon after the last start."""
        return [p.pid for p in self.processes() if _role(p) == "spare" and not _is_child(p)]

    def forked_ahead(self, shim: int) -> list[int]:
        """The child of `shim` that waits for its order: there when nothing starts."""
        return [p.pid for p in self.processes() if _is_child(p) and _parent(p.pid) == shim]

    def keeper_pids(self) -> list[int]:
        return [p.pid for p in self.processes() if _role(p) == "keeper"]

    def container_processes(self) -> list[Process]:
        return [p for p in self.processes() if _role(p) == ""]

    def logs(self) -> str:
        """The ends of what daemon and shims have written."""
        parts = []
        for path in sorted(self.paths.root.glob("*.log")):
            text = path.read_text(errors="replace")[-4000:].replace("\\n", "\n")
            parts.append(f"--- {path.name}\n{text}")
        return "\n".join(parts)

    # Ends

    def kill(self, pids: Sequence[int], signum: int = signal.SIGKILL) -> None:
        """Sends a signal and waits until the processes are gone."""
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signum)
        wait_until(lambda: not any(map(_lives, pids)), 10, what=f"{pids} gone")

    def leave(self, limit: float = 15.0) -> None:
        """Asks the daemon to leave and waits until it has. Nothing happens when none runs."""
        pids = self.daemon_pids()
        if not pids:
            return
        if not _ask_to_leave(self.paths.socket):
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not any(map(_lives, pids)), limit, what="the daemon gone")

    def close(self) -> str:
        """Ends the engine; says what it left in the kernel that was not there before.

        Whatever it left is taken away then, so that no test stands on another's rubbish.
        """
        try:
            self.leave()
        except WaitedInVain as late:
            left = f"{late}\n{census.wait_for_nothing(self.paths, self.before, 0)}"
        else:
            left = census.wait_for_nothing(self.paths, self.before)
        if left:
            left += f"\n{self.logs()}"
            self.sweep()
        shutil.rmtree(self.home, ignore_errors=True)
        return left

    def sweep(self) -> None:
        """Takes away by force all that carries this engine's tag, and only that."""
        for _attempt in range(3):
            pids = [p.pid for p in self.processes()]
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(WaitedInVain):
                wait_until(lambda pids=pids: not any(map(_lives, pids)), 5)
        now = self.census()
        for target in sorted(now.mounts, reverse=True):
            subprocess.run(["umount", "-l", target], capture_output=True, check=False)
        ip, nft = find_program("ip"), find_program("nft")
        for link in now.links:
            if ip:
                subprocess.run([ip, "link", "del", link], capture_output=True, check=False)
        for item in now.nft:
            kind, _, where = item.partition(" ")
            if nft and kind == "table":
                subprocess.run([nft, "delete", "table", *where.split()], check=False)
        for directory in census.cgroups(self.paths.tag):
            with contextlib.suppress(OSError):
                directory.rmdir()


def new_engine(name: str, *, on_disk: bool = False) -> Engine:
    """Fresh directories on a short path (a socket's path holds 107 bytes).

    In memory where there is room: making and removing the thousand small files of a host
    image takes ext4 longer than many tests take.
    """
    short = re.sub(r"[^a-z0-9]+", "", name.lower().removeprefix("test_"))[:12]
    place = "/tmp" if on_disk or shutil.disk_usage(MEMORY).free < ENOUGH_MEMORY else MEMORY
    home = Path(tempfile.mkdtemp(prefix=f"sc-{short}-", dir=place))
    paths = Paths.from_environment(
        {"STACKCTL_ROOT": str(home / "root"), "STACKCTL_RUN": str(home / "run")}
    )
    return Engine(paths=paths, before=census.look(paths), home=home)


def _role(process: Process) -> str:
    """Which of the engine's own processes this is; "" for a container's or a client's.

    A container's init is a fork of its shim and looks like it, but lives in a
    process namespace of its own.
    """
    if process.contained:
        return ""
    if "/shim/spare-" in process.command:
        return "spare"
    for word, role in (("shim", "shim"), ("keeper", "keeper"), ("api.serve", "daemon")):
        if re.search(rf"stackctl\S*[.-]{re.escape(word)}", process.command):
            return role
    return ""


def _is_child(process: Process) -> bool:
    """A fork of a shim that has no order yet, or carries one out."""
    comm = Path(f"/proc/{_parent(process.pid)}/comm")
    try:
        return _role(process) in ("shim", "spare") and comm.read_text() == "stackctl-shim\n"
    except OSError:
        return False


def _parent(pid: int) -> int:
    """0: it has gone."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def _lives(pid: int) -> bool:
    """True while the process runs; a zombie that pid 1 has not reaped yet is dead."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def _ask_to_leave(path: Path) -> bool:
    """POST /stackctl/v1/shutdown; False when nobody answers."""
    request = (
        b"POST /stackctl/v1/shutdown HTTP/1.1\r\nHost: engine\r\nConnection: close\r\n"
        b"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
    )
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect(str(path))
            connection.sendall(request)
            return connection.recv(64).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


def _text(raw: bytes | str | None) -> str:
    return raw.decode(errors="replace") if isinstance(raw, bytes) else (raw or "")
