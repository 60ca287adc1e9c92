"""Runtime: starts, ends and watches containers through their shims.

Nothing here blocks the loop: the work of a start is the shim's child's, slow
file work goes to threads. What is true is what shims and kernel say; records
are compared with it in `adopt`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import signal
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from stackctl.errors import Conflict, ContainerError
from stackctl.linux import process
from stackctl.model.container import Limits, Status
from stackctl.model.image import Snapshot
from stackctl.model.record import ContainerRecord, ProcessRef
from stackctl.runtime import bundle as bundles
from stackctl.runtime import execs, exits, labels, procfs, settings
from stackctl.runtime.archive import Archive
from stackctl.runtime.attachments import Attachments
from stackctl.runtime.bundle import StartRequest, shim_name
from stackctl.runtime.cgroups.driver import CgroupDriver, driver
from stackctl.runtime.execs import ExecRequest
from stackctl.runtime.exits import Alive, ExitInfo, Lost
from stackctl.runtime.givenup import GivenUpStarts
from stackctl.runtime.pool import ShimPool
from stackctl.runtime.preparation import check, prepare, start_message
from stackctl.runtime.procfs import ProcessRow, has_default_action, is_runnable, rows
from stackctl.runtime.session import STDOUT, Session
from stackctl.runtime.shim import protocol
from stackctl.runtime.shims import GivenUp, Shim, ShimGone, ShimProgram
from stackctl.runtime.stats import Stats, look
from stackctl.state.paths import Paths

#: Seconds that a container has to stop when nobody says anything (ContainerConfig.stop_grace).
_USUAL_GRACE = 10.0
#: Seconds in which a shim tells why a container has ended that was not quite up.
_LAST_WORD = 2.0

__all__ = [
    "Alive",
    "ExecRequest",
    "ExitInfo",
    "Lost",
    "ProcessRow",
    "Runtime",
    "Session",
    "StartRequest",
    "Stats",
]

Attach = Callable[[ProcessRef], Awaitable[None]]


def _log_notice(container_id: str, text: str) -> None:
    """Where nobody listens, the daemon's log at least says it."""
    logging.getLogger(__name__).warning("container %s: %s", container_id[:12], text)


class Runtime:
    """All containers of one engine. `on_exit` is called on the loop, once an end."""

    def __init__(
        self,
        paths: Paths,
        on_exit: Callable[[ExitInfo], None],
        *,
        cgroups: CgroupDriver | None = None,
        on_notice: Callable[[str, str], None] = _log_notice,
        program: ShimProgram | None = None,
    ) -> None:
        """`on_notice(container id, text)`: a start went well, but not quite as asked."""
        self._paths = paths
        self._on_notice = on_notice
        self._on_exit = on_exit
        self._cgroups = cgroups
        self._pool = ShimPool(paths, program or ShimProgram(), self._event, self._shim_gone)
        self._ready: dict[str, asyncio.Future[ProcessRef]] = {}
        self._started: dict[str, ProcessRef] = {}
        self._attachments = Attachments()
        self._execs: dict[int, Session] = {}
        self._next_exec = 0
        #: Name of the shim that holds a container.
        self._homes: dict[str, str] = {}
        #: Ends that were told before the start was.
        self._early: dict[str, ExitInfo] = {}
        self._given_up = GivenUpStarts()
        #: Running ones that have no pid namespace of their own.
        self._in_foreign_pids: set[str] = set()
        self._closing = False
        self._tasks: set[asyncio.Task[None]] = set()

    # -- life of the engine

    async def open(self) -> None:
        """Get ready: the engine's directories and control group."""
        if self._cgroups is None:
            self._cgroups = driver()
        self._cgroups.prepare_engine_group(self._paths.cgroup)
        for directory in (self._paths.run / "c", self._paths.run / "shim"):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._pool.keep_spare()

    async def close(self) -> None:
        """Leave; shims and containers go on."""
        self._closing = True
        self._pool.close()
        for session in [*self._execs.values(), *self._attachments]:
            session.end_streams()
            session.fail("the engine is leaving")
        for task in self._tasks:
            task.cancel()

    async def adopt(self, records: Iterable[ContainerRecord]) -> dict[str, Alive | ExitInfo | Lost]:
        """What is true of `records` now: reconnect to shims, end what has lost its own.

        Only containers that are, or were when the last engine looked, alive appear.
        """
        by_shim: dict[str, list[ContainerRecord]] = {}
        for record in records:
            by_shim.setdefault(shim_name(record), []).append(record)
        answers = await asyncio.gather(*(self._adopt(n, r) for n, r in by_shim.items()))
        found: dict[str, Alive | ExitInfo | Lost] = {}
        for answer in answers:
            found.update(answer)
        known = {record.id for group in by_shim.values() for record in group}
        for container_id in self.cgroups.containers(self._paths.cgroup) - known:
            await asyncio.to_thread(self._sweep, container_id)
        return found

    async def _adopt(
        self, name: str, records: list[ContainerRecord]
    ) -> dict[str, Alive | ExitInfo | Lost]:
        held: dict[str, dict[str, Any]] = {}
        with contextlib.suppress(OSError, ShimGone):
            shim = self._pool.connect(name)
            reply = await shim.call({"op": "list"})
            self._pool.watch(reply["pid"])
            held = {c["id"]: c for c in reply["containers"]}
        found: dict[str, Alive | ExitInfo | Lost] = {}
        for record in records:
            state = held.get(record.id)
            if state is not None and state["state"] == "running":
                ref = ProcessRef(pid=state["pid"], start_time=state["start_time"])
                self._started[record.id] = ref
                self._homes[record.id] = name
                self._note_sharing(record)
                paused = record.status is Status.PAUSED  # the freezer keeps what was asked for
                found[record.id] = Alive(process=ref, paused=paused)
            elif not record.status.is_alive:
                continue
            elif state is not None and state["exit"]:
                found[record.id] = self._exit_info(state["exit"])
            else:
                found[record.id] = await self._lost(record)
        return found

    async def _lost(self, record: ContainerRecord) -> ExitInfo | Lost:
        """No shim knows it: perhaps it ended before its shim did; if not, it ends now."""
        await asyncio.to_thread(self._end, record)
        raw = exits.read(self._paths.container_run(record.id) / protocol.EXIT)
        return self._exit_info(raw) if raw else Lost(container_id=record.id)

    @property
    def cgroups(self) -> CgroupDriver:
        assert self._cgroups is not None, "open() comes first"
        return self._cgroups

    # -- shims

    def _shim_gone(self, name: str) -> None:
        """Killed, or it left because it had nothing: containers of a dead shim are ended."""
        if not self._closing:
            self._keep(asyncio.get_running_loop().create_task(self._end_orphans(name)))

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _end_orphans(self, name: str) -> None:
        for container_id in [i for i, n in self._homes.items() if n == name]:
            ref = self._started.get(container_id)
            if ref is None:
                continue
            await asyncio.to_thread(self._end_process, container_id, ref)
            if container_id not in self._started:
                continue
            raw = exits.read(self._paths.container_run(container_id) / protocol.EXIT)
            info = self._exit_info(raw) if raw else exits.unknown(container_id)
            self._ended(info)

    async def ensure_shim(self, name: str) -> Shim:
        """The shim of a stack, started when there is none. Returns before it is up."""
        return await self._pool.ensure(name)

    async def close_stack(self, name: str) -> None:
        """The last container of a stack has gone: its shim leaves."""
        await self._pool.close_stack(name)

    async def close_all(self) -> None:
        """No container is left in the engine: every shim leaves."""
        await self._pool.close_all()

    # -- start

    def check_limits(self, limits: Limits) -> None:
        """Raises UsageError, MachineError for what no container of this machine can have."""
        self.cgroups.check(limits)

    def check_start(self, record: ContainerRecord) -> None:
        """Asks, and makes nothing, what `start` would refuse: limits, devices, labels, sysctls.

        Raises StackctlError as `start` does.
        """
        check(record, self._paths, self.cgroups)

    async def start(self, request: StartRequest, attach: Attach) -> ProcessRef:
        """Start a container; returns once its program has been executed.

        `attach(process)` is awaited when its network namespace exists, while the
        child goes on. Raises ContainerError naming the step (exit_code 126 or
        127 when the program cannot be executed), or what `attach` raised.
        """
        record = request.record
        try:
            said = labels.checked(record.config)
            shim = await self._pool.ensure(shim_name(record))
            said += prepare(request, self._paths, self.cgroups)
        except BaseException:
            self._attachments.drop_waiting(record.id)
            raise
        self._homes[record.id] = shim.name
        loop = asyncio.get_running_loop()
        ready = self._ready[record.id] = loop.create_future()
        sessions = self._attachments.take_waiting(record.id)
        reply = shim.post(start_message(record, self._paths))
        attaching = [
            asyncio.ensure_future(self._attachments.hook_up(shim, record, session, theirs))
            for session, theirs in sessions
        ]
        try:
            await asyncio.wait((ready, reply), return_when=asyncio.FIRST_COMPLETED)
            if ready.done():
                try:
                    await attach(ready.result())
                except Exception as error:
                    if isinstance(error, ContainerError):
                        # It has ended by itself: the shim is about to say why.
                        await asyncio.wait((reply,), timeout=_LAST_WORD)
                    await self._given_up.undo(shim, record.id, reply)
                    cause = reply.exception()
                    failed = isinstance(cause, ContainerError) and not isinstance(cause, GivenUp)
                    if failed and cause is not None:
                        # It had failed before: that is why its network could not be attached.
                        raise cause from error
                    raise
                shim.tell({"op": "go", "id": record.id})
            started = await asyncio.shield(reply)
        except asyncio.CancelledError:
            if not self._early.pop(record.id, None):  # it ran, and has ended already
                await self._given_up.undo(shim, record.id, reply)
            raise
        except ShimGone as error:
            await asyncio.to_thread(self._end, record)
            raise ContainerError(
                "the shim ended while the container was starting",
                hint=f"see {self._paths.root / 'shim.log'}",
            ) from error
        finally:
            self._ready.pop(record.id, None)
            ready.cancel()
            if not self._ready:
                self._pool.replace_spare()
            await asyncio.gather(*attaching, return_exceptions=True)
        ref = ProcessRef(pid=started["pid"], start_time=started["start_time"])
        self._started[record.id] = ref
        self._note_sharing(record)
        for text in (*said, *started["notices"]):
            self._on_notice(record.id, text)
        if early := self._early.pop(record.id, None):
            self._ended(early)
        return ref

    # -- events

    def _event(self, shim: Shim, message: dict[str, Any], fds: list[int]) -> None:
        match message["event"]:
            case "ready":
                future = self._ready.get(message["id"])
                if future is not None and not future.done():
                    future.set_result(
                        ProcessRef(pid=message["pid"], start_time=message["start_time"])
                    )
            case "exit":
                info = self._exit_info(message)
                if self._given_up.has_ended(message["id"]):
                    self._attachments.end(info)
                elif message["started"]:
                    if message["id"] in self._ready:
                        self._early[message["id"]] = info
                    else:
                        self._ended(info)
                else:
                    self._attachments.end(info)
            case "terminal":
                session = self._execs.get(message["session"])
                if session is not None and fds:
                    session.add(STDOUT, os.dup(fds[0]))
                    session.stdin.give(fds.pop(0))
            case "exec-exit":
                session = self._execs.pop(message["session"], None)
                if session is not None:
                    session.finish(message["exit_code"])
        for fd in fds:
            os.close(fd)

    def _note_sharing(self, record: ContainerRecord) -> None:
        if not settings.namespaces(record.config) & process.CLONE_NEWPID:
            self._in_foreign_pids.add(record.id)

    def _ended(self, info: ExitInfo) -> None:
        self._started.pop(info.container_id, None)
        if info.container_id in self._in_foreign_pids:
            # The end of its first process is nobody else's end there.
            self._in_foreign_pids.discard(info.container_id)
            ending = asyncio.to_thread(self.cgroups.kill, self._paths.cgroup, info.container_id)
            self._keep(asyncio.get_running_loop().create_task(_discarded(ending)))
        self._attachments.end(info)
        self._on_exit(info)

    def _exit_info(self, raw: dict[str, Any]) -> ExitInfo:
        oom = self.cgroups.oom_killed(self._paths.cgroup, raw["id"])
        return exits.from_message(raw, oom_killed=oom)

    # -- while it runs

    async def signal(self, record: ContainerRecord, signum: int) -> None:
        """Send a signal to the container's first process. Conflict when it is not running."""
        try:
            with procfs.pidfd_of(self._ref(record)) as pidfd:
                process.pidfd_send_signal(pidfd, signum)
        except ProcessLookupError:
            raise Conflict(f"container {record.config.name} is not running") from None

    async def kill(self, record: ContainerRecord) -> None:
        """End all of its processes; its exit is told as any other.

        The first process takes its whole pid namespace with it (pid_namespaces(7)).
        """
        with contextlib.suppress(ProcessLookupError), procfs.pidfd_of(self._ref(record)) as pidfd:
            process.pidfd_send_signal(pidfd, signal.SIGKILL)
        if record.id in self._in_foreign_pids:
            await self.kill_group(record)

    async def kill_group(self, record: ContainerRecord) -> None:
        """The same by its control group, for what `kill` did not end (a frozen container)."""
        await asyncio.to_thread(self.cgroups.kill, self._paths.cgroup, record.id)

    def is_in_vain(self, record: ContainerRecord, signum: int, grace: float) -> bool:
        """Whether nobody need wait `grace` seconds for what this signal does, as the kernel
        drops it: the first process has no handler.

        The first process of a pid namespace has no default actions: what it does not
        catch never reaches it (pid_namespaces(7)). More time than usual is somebody's wish,
        who has it: the process may end by itself within it.
        """
        if signum == signal.SIGKILL or grace > _USUAL_GRACE:
            return False
        return has_default_action(self._ref(record).pid, signum)

    async def pause(self, record: ContainerRecord) -> None:
        await asyncio.to_thread(self.cgroups.freeze, self._paths.cgroup, record.id)

    async def unpause(self, record: ContainerRecord) -> None:
        await asyncio.to_thread(self.cgroups.thaw, self._paths.cgroup, record.id)

    async def processes(self, record: ContainerRecord) -> list[ProcessRow]:
        """What runs in it now, for `top`."""
        pids = self.cgroups.processes(self._paths.cgroup, record.id)
        base = 0 if bundles.shares_host_ids(record.config) else record.id_base
        return await asyncio.to_thread(rows, pids, base)

    async def any_computes(self, records: Iterable[ContainerRecord]) -> bool:
        """Whether any process of these has something to do just now, and waits for nothing."""

        def look() -> bool:
            group = self._paths.cgroup
            pids = (pid for r in records for pid in self.cgroups.processes(group, r.id))
            return any(map(is_runnable, pids))

        return await asyncio.to_thread(look)

    async def update(self, record: ContainerRecord, limits: Limits) -> None:
        """Change a running container's limits; what is None stays as it is.

        Raises UsageError or MachineError for what cannot be; Conflict when it is not running.
        """
        self._running(record)
        await asyncio.to_thread(self.cgroups.update, self._paths.cgroup, record.id, limits)

    async def stats(self, record: ContainerRecord) -> Stats:
        """What it uses now. Conflict when it is not running."""
        ref = self._running(record)
        pid = None if record.config.network_mode == "host" else ref.pid
        usage = await asyncio.to_thread(self.cgroups.usage, self._paths.cgroup, record.id)
        return look(usage, pid)

    async def forget(self, record: ContainerRecord) -> None:
        """After its end: the shim drops it, its run-time files and control groups go."""
        self._started.pop(record.id, None)
        self._attachments.drop_waiting(record.id)
        name = self._homes.pop(record.id, shim_name(record))
        shim = self._pool.get(name)
        if shim is not None:
            with contextlib.suppress(ShimGone, ContainerError):
                await shim.call({"op": "forget", "id": record.id})
        await asyncio.to_thread(self._sweep, record.id)
        if shim is not None and name == record.id:
            await self.close_stack(name)  # a single container's shim has no other

    def _running(self, record: ContainerRecord) -> ProcessRef:
        ref = self._started.get(record.id)
        if ref is None:
            raise Conflict(f"container {record.config.name} is not running")
        return ref

    def _ref(self, record: ContainerRecord) -> ProcessRef:
        ref = self._started.get(record.id) or record.process
        if ref is None:
            raise Conflict(f"container {record.config.name} is not running")
        return ref

    # -- exec and attach

    async def exec(self, record: ContainerRecord, request: ExecRequest) -> Session:
        """Run another process in the container; returns once it has been executed.

        Raises Conflict when the container is not running or paused, ContainerError
        as `start` does.
        """
        shim = self._pool.get(self._homes.get(record.id, ""))
        if shim is None or record.id not in self._started:
            raise Conflict(f"container {record.config.name} is not running")
        if record.status is Status.PAUSED:
            raise Conflict(f"container {record.config.name} is paused")
        session, theirs = execs.streams(request)
        self._next_exec += 1
        number = self._next_exec
        self._execs[number] = session
        session.on_signal = lambda signum: shim.tell(
            {"op": "signal-exec", "session": number, "signal": int(signum)}
        )
        try:
            wanted = execs.wanted(request)
            message = {"op": "exec", "id": record.id, "session": number, "request": wanted}
            reply = await shim.call(message, theirs)
            session.pid = int(reply.get("pid") or 0)
        except BaseException as error:
            self._execs.pop(number, None)
            session.end_streams()
            if isinstance(error, ShimGone):
                raise Conflict(f"container {record.config.name} has lost its shim") from error
            raise
        finally:
            for fd in theirs:
                os.close(fd)
        return session

    async def attach(self, record: ContainerRecord) -> Session:
        """The main process's streams from now on.

        Before the start it waits for the first byte: nothing of the output is lost.
        """
        shim = self._pool.get(self._homes.get(record.id, ""))
        if shim is None or record.id not in self._started:
            return self._attachments.wait(record)
        return await self._attachments.join(shim, record)

    def archive(
        self, record: ContainerRecord, snapshot: Snapshot, volumes: Mapping[str, str]
    ) -> Archive:
        """The container's files, for `cp`; `snapshot` and `volumes` as for a start."""
        return Archive(self._paths, record, self._started.get(record.id), snapshot, volumes)

    # -- ends

    def _end(self, record: ContainerRecord) -> None:
        """Whatever of it is alive dies now. Blocking."""
        if record.process is not None:
            self._end_process(record.id, record.process)
        else:
            self.cgroups.kill(self._paths.cgroup, record.id)

    def _end_process(self, container_id: str, ref: ProcessRef) -> None:
        with contextlib.suppress(ProcessLookupError), procfs.pidfd_of(ref) as pidfd:
            process.pidfd_send_signal(pidfd, signal.SIGKILL)
        self.cgroups.kill(self._paths.cgroup, container_id)

    def _sweep(self, container_id: str) -> None:
        """Control groups and run-time files of a container that has ended. Blocking."""
        self.cgroups.kill(self._paths.cgroup, container_id)
        self.cgroups.remove(self._paths.cgroup, container_id)
        shutil.rmtree(self._paths.container_run(container_id), ignore_errors=True)


async def _discarded(work: Awaitable[object]) -> None:
    await work
