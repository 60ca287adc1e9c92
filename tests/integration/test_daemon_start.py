"""The daemon's process: started once, away from its caller, gone without a trace.

Root only: the daemon refuses to run otherwise. The engine inside is a fake.
"""

from __future__ import annotations

import fcntl
import json
import os
import resource
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from stackctl.api.client import Client
from stackctl.api.launch import daemon_environment, launch
from stackctl.errors import EngineUnreachable, MachineError, RemoteError
from stackctl.state.paths import Paths
from support.fake_daemon import ENTRY
from support.waiting import wait_until


@pytest.fixture
def paths(tmp_path: Path) -> Iterator[Paths]:
    paths = Paths(tmp_path / "root", tmp_path / "run")
    yield paths
    pid = holder(paths)
    if pid:
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not alive(pid))


@pytest.fixture(autouse=True)
def quick_to_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment is what a daemon's launch takes its settings from."""
    monkeypatch.setenv("STACKCTL_IDLE_SECONDS", "30")


def holder(paths: Paths) -> int:
    """Pid of the daemon that holds the lock; 0 when nobody does."""
    try:
        with open(paths.daemon_lock) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(file.read() or "0")
    except FileNotFoundError:
        pass
    return 0


def alive(pid: int) -> bool:
    """Zombies do not count: init reaps them when it comes to it."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] not in ("Z", "X")


def connect(paths: Paths) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.connect(str(paths.socket))
    except BaseException:
        sock.close()
        raise
    return sock


def started(paths: Paths) -> Client:
    first = launch(paths, lambda: connect(paths), entry=ENTRY)
    return Client(lambda: connect(paths), first=first, again=False)


def log_lines(paths: Paths) -> list[dict[str, object]]:
    return [json.loads(line) for line in paths.daemon_log.read_text().splitlines()]


def test_a_daemon_starts_answers_and_leaves_when_asked(paths: Paths) -> None:
    client = started(paths)
    assert client.call("count", {"n": 1})["exit_code"] == 3
    pid = holder(paths)
    assert alive(pid)
    client.call("shutdown", {})
    wait_until(lambda: not alive(pid))
    assert not paths.socket.exists()
    assert holder(paths) == 0
    assert [line["message"] for line in log_lines(paths)] == ["ready", "leaving"]


def test_a_daemon_is_nobodys_child_and_holds_nothing_of_its_callers(paths: Paths) -> None:
    # A lock of a script, say, that its children inherit.
    reader, leak = os.pipe()
    os.set_inheritable(leak, True)
    try:
        started(paths)
    finally:
        os.close(leak)
    pid = holder(paths)
    with open(reader, "rb") as ended:
        os.set_blocking(reader, False)
        assert ended.read() == b"", "nobody else has its other end"
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    assert int(fields[1]) != os.getpid()
    assert int(fields[3]) == pid, "a session of its own"
    assert Path(f"/proc/{pid}/comm").read_text() == "stackctl-daemon\n"
    assert os.readlink(f"/proc/{pid}/cwd") == "/"
    assert os.readlink(f"/proc/{pid}/fd/0") == "/dev/null"
    for number in (1, 2):
        assert os.readlink(f"/proc/{pid}/fd/{number}") == str(paths.daemon_log)
    groups = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    assert {line.split(":", 2)[2] for line in groups} == {"/"}


def test_a_daemon_is_bound_by_nothing_that_binds_its_caller(paths: Paths) -> None:
    """Else all containers, of all callers, would be."""
    processors = os.sched_getaffinity(0)
    files = resource.getrlimit(resource.RLIMIT_NOFILE)
    os.sched_setaffinity(0, {min(processors)})
    resource.setrlimit(resource.RLIMIT_NOFILE, (300, files[1]))
    try:
        started(paths)
    finally:
        os.sched_setaffinity(0, processors)
        resource.setrlimit(resource.RLIMIT_NOFILE, files)
    pid = holder(paths)
    assert os.sched_getaffinity(pid) == os.sched_getaffinity(1)
    usual = resource.prlimit(1, resource.RLIMIT_NOFILE)[0]
    assert resource.prlimit(pid, resource.RLIMIT_NOFILE)[0] >= min(usual, files[1])
    assert os.getpriority(os.PRIO_PROCESS, pid) == os.getpriority(os.PRIO_PROCESS, 1)


def test_the_log_and_the_lock_are_for_root_alone(paths: Paths) -> None:
    started(paths)
    for path in (paths.daemon_log, paths.daemon_lock, paths.root, paths.run):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0


def test_the_callers_environment_stays_the_callers(tmp_path: Path) -> None:
    paths = Paths(tmp_path / "a", tmp_path / "b")
    given = {"PATH": "/bin", "AWS_SECRET": "x", "PYTHONPATH": "/evil", "https_proxy": "p"}
    assert daemon_environment(paths, given) == {
        "PATH": "/bin",
        "https_proxy": "p",
        "STACKCTL_ROOT": str(paths.root),
        "STACKCTL_RUN": str(paths.run),
    }


def test_two_who_start_at_once_start_one(paths: Paths) -> None:
    clients: list[Client] = []
    threads = [threading.Thread(target=lambda: clients.append(started(paths))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [c.call("count", {"n": 1})["exit_code"] for c in clients] == [3] * 4
    assert [line["message"] for line in log_lines(paths)] == ["ready"]


def test_after_a_kill_the_next_command_starts_another(paths: Paths) -> None:
    started(paths)
    first = holder(paths)
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: not alive(first))
    assert paths.socket.exists()
    with pytest.raises(EngineUnreachable):
        Client.connect(paths, start=False)
    assert started(paths).call("count", {"n": 1})
    assert holder(paths) not in (0, first)


def test_a_second_daemon_takes_over_from_one_that_leaves(paths: Paths) -> None:
    client = started(paths)
    first = holder(paths)
    stream = client.stream("forever", {})
    next(stream)
    os.kill(first, signal.SIGTERM)
    wait_until(lambda: not paths.socket.exists())
    # The first may hold its lock still: the second waits for it.
    assert started(paths).call("count", {"n": 1})
    assert holder(paths) not in (0, first)
    with pytest.raises(RemoteError, match="shutting down"):
        next(stream)


def test_it_leaves_by_itself_when_nobody_calls(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STACKCTL_IDLE_SECONDS", "0.2")
    client = started(paths)
    pid = holder(paths)
    client.call("count", {"n": 1})
    wait_until(lambda: not alive(pid))
    assert not paths.socket.exists()


def test_it_stays_while_somebody_listens(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STACKCTL_IDLE_SECONDS", "0.1")
    client = started(paths)
    pid = holder(paths)
    stream = client.stream("forever", {})
    next(stream)
    for _ in range(3):
        assert client_of(paths).call("count", {"n": 1})
    assert alive(pid)
    stream.close()
    wait_until(lambda: not alive(pid))


def client_of(paths: Paths) -> Client:
    return Client.connect(paths, start=False)


@pytest.mark.parametrize(
    ("behaviour", "message", "hint"),
    [
        ("broken", "made of cheese", "eat it"),
        ("bug", "ZeroDivisionError: of course", "daemon.log"),
        ("crash", "ended while it started", "daemon.log"),
    ],
)
def test_a_daemon_that_cannot_start_says_why(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, behaviour: str, message: str, hint: str
) -> None:
    monkeypatch.setenv("STACKCTL_TEST_DAEMON", behaviour)
    with pytest.raises((RemoteError, EngineUnreachable), match=message) as caught:
        started(paths)
    assert hint in caught.value.hint
    wait_until(lambda: holder(paths) == 0)


def test_a_setting_that_is_wrong_is_told(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STACKCTL_IDLE_SECONDS", "soon")
    with pytest.raises(RemoteError, match="STACKCTL_IDLE_SECONDS"):
        started(paths)


def test_directories_that_cannot_be_used_are_told_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    paths = Paths(tmp_path / "file" / "root", tmp_path / "run")
    with pytest.raises(MachineError, match="a file is in its way"):
        started(paths)


ATTEMPT = """
import sys
from pathlib import Path
from stackctl.api.client import Client
from stackctl.errors import StackctlError
from stackctl.state.paths import Paths
try:
    Client.connect(Paths(Path(sys.argv[1]), Path(sys.argv[2])), start=True)
except StackctlError as error:
    print(error.kind, "|", error, "|", error.hint)
"""


def attempt(root: Path, run: Path, *prefix: str) -> str:
    """What somebody in other circumstances is told who needs an engine."""
    command = [*prefix, sys.executable, "-c", ATTEMPT, str(root), str(run)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_who_is_not_root_is_told() -> None:
    nowhere = Path("/no-such-place")
    told = attempt(nowhere, nowhere, "setpriv", "--reuid=65534", "--clear-groups")
    assert told.startswith("not-permitted | stackctl needs root")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("ro", "machine | cannot use {root}: Read-only file system"),
        ("size=64k", "out-of-space | no space left for the engine's records in {root}/state.db"),
    ],
)
def test_a_disk_that_cannot_be_written_is_told(tmp_path: Path, options: str, expected: str) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = f'mount -t tmpfs -o {options} none {disk}; exec "$@"'
    root = disk / "root"
    told = attempt(root, tmp_path / "run", "unshare", "-m", "sh", "-c", mounted, "sh")
    assert told.startswith(expected.format(root=root))
    assert "STACKCTL_ROOT" in told or "free some space" in told


def run_foreground(paths: Paths, *arguments: str) -> subprocess.Popen[str]:
    package = Path(__file__).resolve().parent.parent.parent
    return subprocess.Popen(
        [sys.executable, "-c", ENTRY, str(package), *arguments],
        env={**os.environ, "STACKCTL_ROOT": str(paths.root), "STACKCTL_RUN": str(paths.run)},
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_in_the_foreground_it_ends_on_a_signal(paths: Paths, number: signal.Signals) -> None:
    process = run_foreground(paths)

    def answers() -> bool:
        try:
            return bool(client_of(paths).call("count", {"n": 1}))
        except EngineUnreachable:
            return False  # the socket is there a moment before anybody listens

    wait_until(answers)
    process.send_signal(number)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 0
    assert [json.loads(line)["message"] for line in errors.splitlines()] == ["ready", "leaving"]
    assert not paths.socket.exists()


def test_a_second_engine_in_the_same_directories_is_refused(paths: Paths, tmp_path: Path) -> None:
    started(paths)
    pid = holder(paths)
    second = run_foreground(paths)
    _, errors = second.communicate(timeout=20)
    assert second.returncode != 0
    assert f"another engine (pid {pid})" in errors
    # Nor one that shares only the records.
    third = run_foreground(Paths(paths.root, tmp_path / "other"))
    _, errors = third.communicate(timeout=20)
    assert third.returncode != 0
    assert f"another engine uses {paths.root}" in errors
    assert client_of(paths).call("count", {"n": 1})


def test_killed_during_its_start_nothing_is_in_the_way(paths: Paths) -> None:
    for delay in (0.0, 0.03, 0.06, 0.1):
        process = run_foreground(paths)
        try:
            process.wait(delay)
        except subprocess.TimeoutExpired:
            process.kill()
        process.communicate()
    assert started(paths).call("count", {"n": 1})
